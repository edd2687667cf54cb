"""The experiments of a branch: measure the incumbent, try edits on the lead, prove the lead.

Every step is planned from the ledger and the branch's refs alone. A step is one run, and its row
says what it decided; what was killed between two steps goes on where it stood. Several trials may
go on at a time, in threads: each is compared with whoever leads when its run ends.
"""

import dataclasses
import itertools
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import places
from harness.checkout import branch as branches
from harness.checkout.branch import Branch, Refs
from harness.errors import HarnessError, InputError, LedgerError
from harness.judgement import experiment, search, stopping
from harness.judgement.batches import LOST_RUNS, Batches
from harness.judgement.experiment import Part
from harness.judgement.history import Conditions, History
from harness.judgement.progress import NAME_LENGTH
from harness.judgement.proof import Proof
from harness.judgement.replicates import Replicates, Runner
from harness.judgement.summaries import Summary
from harness.measurement import sites
from harness.measurement.sites import Site
from harness.places import LEDGER
from harness.record import life
from harness.record.entries import Entry, Role, Run, SetBack, Simpler, Verdict
from harness.record.ledger import Ledger
from harness.system import words


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a challenger fared.

    Attributes:
      challenger: its commit.
      verdict: a final one.
      reason: in words.
      scores: of its replicates.
      incumbent: scores of the incumbent that its estimate rests on; after a keep the new one's.
      last: the summary of the challenger's last run; None where none has a score.
    """

    challenger: str
    verdict: Verdict
    reason: str
    scores: list[float]
    incumbent: list[float]
    last: Summary | None


class Contest:
    """An experiment branch at work.

    Args:
      branch: that is checked out.
      conditions: of its runs.
      confinement: of `sandbox`.
      run: makes one run.
      site: where runs are measured; here if None.
    """

    def __init__(
        self,
        branch: Branch,
        conditions: Conditions,
        confinement: str,
        run: Runner = experiment.run,
        site: Site | None = None,
    ) -> None:
        self.branch = branch
        self.conditions = conditions
        self.site = site or sites.here()
        self.replicates = Replicates(branch, conditions, confinement, run, self.site)
        self._batches = Batches(branch, self.replicates, self.site)
        self._proof = Proof(branch, self._batches, self.site, self._follow)
        self._lock = threading.RLock()  # on the branch's refs and the working tree
        self._measuring = threading.Lock()  # the incumbent: by one thread, in all slots

    def read(self) -> History:
        """What was measured, as the ledger has it now."""
        return self.replicates.read()

    def settle(self) -> list[Run]:
        """Finish what a kill has left half done, and make sure that the tip is the incumbent.

        Returns:
          The runs whose verdicts had not come into effect.

        Raises:
          InputError: a commit that was not judged has changed the training file, or the branch's
            rows are gone.
          BusyError: a run of another process goes on.
        """
        life.bury(self.branch.root, self.branch.name, self.replicates.rule_on_killed)
        past = self.read()
        if not past.runs:
            self.branch.check_unworked()
        ended = self._follow() if past.runs else []
        for challenger in self.branch.trials():
            if (run := past.verdict(challenger)) is not None:
                if run.verdict == Verdict.KEEP:  # of a branch without leads
                    self.branch.keep(challenger)
                else:
                    self._set_aside(challenger, run)
                ended.append(run)
        if past.runs:
            incumbent = self.branch.edit_of(past.incumbent)
            if incumbent != self.branch.edit_of("tip"):
                raise InputError(
                    f"A commit on {self.branch.name} has changed {places.EDITABLE} without having "
                    f"been judged. Take it back (git revert) and offer the edit as a challenger "
                    "instead, or begin a new branch from here with --init."
                )
            self.branch.show()
        return ended

    def _follow(self) -> list[Run]:
        """Bring the refs to where the ledger is; the runs that had not come into effect.

        One after the other, each from what the ledger has then: the lead may have moved since a
        run of another slot was ruled on.
        """
        with self._lock:
            past, done = self.read(), []
            if past.progress().falling is not None:
                past = self.replicates.conclude(self._set_back)
            there = past.progress()
            if there.proved == there.incumbent and not self.branch.proves(there.incumbent):
                self.branch.confirm(self.branch.whole(there.incumbent))
                done += [run for run in past.runs if run.verdict == Verdict.KEEP][-1:]
            steps = self.branch.steps()
            agreed = _agreed(steps, there.stack)
            if agreed < len(steps):
                self.branch.set_back(len(steps) - agreed, past.last_run(steps[-1]))
            for name in there.stack[agreed:]:
                challenger = self.branch.whole(name)
                if challenger not in self.branch.trials():  # it was set aside
                    self.branch.retry(challenger)
                self.branch.accept(challenger)
                done += [run for run in [past.verdict(name)] if run is not None]
            return done

    def _set_back(self, past: History) -> Entry:
        """The row that has the lead fall back as far as is due after a run."""
        there = past.progress()
        fallen = there.falling
        assert fallen is not None
        # What measured that run says how far: there may be another instrument since.
        outlook = past.measured_by(fallen.harness).outlook()
        count = search.falls(outlook)
        if fallen.status.at_fault and there.lead == fallen.challenger == fallen.commit:
            count = max(count, 1)
        names = (there.incumbent, *there.stack)
        stayed = f"The lead stays, {outlook.ahead():+.2f} deviations ahead of the incumbent."
        fell = f"The lead fell back by {words.counted(count, 'edit')}: {fallen.reason}"
        if not fallen.status.at_fault:
            fell += f" To stay it had to be {outlook.needed(there.lead):+.2f} ahead."
        lead = names[len(names) - 1 - count]
        reason = fell if count else stayed
        circumstances = self.replicates.circumstances(past, "lead")
        return SetBack(**circumstances, challenger=lead, reason=reason)

    def measure(self) -> list[float]:
        """Make the runs that the incumbent's estimate lacks; all of them.

        Raises:
          HarnessError: one of them failed.
        """
        return self.measured(self.read()).fresh()

    def measured(self, past: History) -> History:
        """The same, from what was read a moment ago; what is known then.

        Raises:
          HarnessError: as `measure`.
        """
        if past.runs and not past.missing():
            return past
        with self._measuring:
            return self._batches.fill(History.missing, "the incumbent")

    def repeat(self, count: int) -> list[float]:
        """Run the incumbent until it has so many runs beside those of decisions; all of them.

        Raises:
          HarnessError: one of them failed.
        """
        with self._measuring:
            past = self._batches.fill(lambda past: past.lacking(count), "calibration")
            return past.scores(Role.INCUMBENT, past.incumbent)

    def transfer(self, commit: str, task: str) -> None:
        """Try a commit's file on a task, unless it was; nothing is decided by it.

        Raises:
          HarnessError: the run failed.
        """
        past = self.read()
        if past.transferred(commit, task) is None:
            part = self.replicates.part(Role.TRANSFER, commit, commit, 1)
            self.replicates.run(past, task, "auto", part, "transfer")

    def beside(self, parts: Sequence[Part], message: str) -> list[HarnessError | None]:
        """Make runs that decide nothing, at once where there are slots; what each failed with."""
        with self._measuring:
            return [*self._batches.at_once(parts, message)]

    def challenge(self, message: str, edit: bytes | None = None) -> Outcome:
        """Try a training file, to its verdict, and nothing else meanwhile.

        Args:
          message: of its commit, and for the ledger. A trial of the same file that goes on keeps
            the one that its commit has.
          edit: the file; that of the working tree if None.

        Raises:
          InputError: it is the incumbent's.
          HarnessError: its run failed; the edit was reverted if that was its own fault.
        """
        before = "".join(
            f"The last trial has ended as {run.verdict}: {run.reason} Its file is in git under "
            f"{self.branch.discarded(run.run_id)}. "
            for run in self.settle()
        )
        edit = self.branch.edit() if edit is None else edit
        for whose in ("lead", "tip"):
            if edit == self.branch.edit_of(whose):
                name = (
                    "the lead's" if whose == "lead" and self.branch.stack() else "the incumbent's"
                )
                raise InputError(
                    f"{before}{places.EDITABLE} is {name}: there is nothing to try. Edit it first."
                )
        past = self.measured(self.read())
        for pending in self.branch.trials():
            if self.branch.edit_of(pending) == edit and self.branch.follows_lead(pending):
                return self.pursue(pending, self.branch.description(pending), past)
            self.withdraw(pending, past)
        return self.pursue(self.enter(edit, message, self.branch.read(), past), message, past)

    def ready(self, refs: Refs, past: History) -> tuple[Refs, History]:
        """Branch and history, once the incumbent's estimate lacks nothing.

        Args:
          refs: as they were read a moment ago.
          past: as it was read after them.

        Raises:
          HarnessError: as `measure`.
        """
        while self.measured(past) is not past:
            refs, past = self.branch.read(), self.read()
        return refs, past

    def enter(self, edit: bytes, message: str, refs: Refs, past: History) -> str:
        """Put a training file on trial; its commit.

        Args:
          edit: the file.
          message: of its commit.
          refs: of the branch.
          past: what was measured, read after them.
        """
        with self._lock:
            number = len(refs.trials) + past.number("")
            text = (
                words.plain(message).strip() or "An edit without a message"
            )  # numbered: no two trials are one commit
            return self.branch.propose(edit, f"{text}\n\nChallenger: {number}", refs)

    def withdraw(self, challenger: str, past: History) -> None:
        """End a trial without a verdict; its commit stays reachable."""
        runs = [run for run in past.runs if challenger.startswith(run.challenger)]
        with self._lock:
            self.branch.discard(challenger, runs[-1].run_id if runs else challenger[:NAME_LENGTH])

    def pursue(self, challenger: str, message: str, past: History | None = None) -> Outcome:
        """Go on with a trial, to its verdict.

        Args:
          challenger: its commit.
          message: for the ledger.
          past: what was measured, as it was read a moment ago; it is read if None.

        Raises:
          HarnessError: as `challenge`.
        """
        last: Summary | None = None
        failure: HarnessError | None = None
        past = past or self.read()
        while (run := past.verdict(challenger)) is None:
            past = self.measured(past)
            try:
                last = self._step(past, challenger, message) or last
            except LedgerError:
                raise  # with a word on where the score is; the ledger cannot be asked any more
            except HarnessError as error:
                past = self.read()
                if past.verdict(challenger) is not None:
                    failure = error
                elif not isinstance(error, LOST_RUNS):
                    raise  # not its fault: it stays on trial
            else:
                past = self.read()
        if run.verdict == Verdict.ACCEPT:
            self._follow()
        # A lead that falls takes along what was accepted on it a moment before.
        if run.verdict != Verdict.ACCEPT or challenger in self.branch.trials():
            self._set_aside(challenger, run)
        if failure is not None:
            raise failure
        scores = past.scores(Role.CHALLENGER, challenger)
        return Outcome(challenger, run.verdict, run.reason, scores, past.fresh(), last)

    def _step(self, past: History, challenger: str, message: str) -> Summary | None:
        """One more run of an edit; the first one may be stopped."""
        number = len(past.scores(Role.CHALLENGER, challenger)) + 1
        part = self.replicates.part(Role.CHALLENGER, challenger, challenger, number)
        past = self._weighed(past, challenger)
        may_stop = self.conditions.stopping and number == 1
        root = self.branch.root
        stops = stopping.stops_of_edit(root, past, part.challenger) if may_stop else ()
        return self.replicates.make(past, part, message, stops)

    def _weighed(self, past: History, challenger: str) -> History:
        """What was measured, with a word on an edit that is simpler: before its first run."""
        there, name = past.progress(), challenger[:NAME_LENGTH]
        if name in there.made_on or name in there.simplified:
            return past
        lines = self.branch.simpler(challenger, there.lead)
        if lines is None:
            return past
        reason = f"{lines[0]} lines of code instead of the lead's {lines[1]}"
        return self.replicates.conclude(
            lambda there: Simpler(
                **self.replicates.circumstances(there, "simpler"), challenger=name, reason=reason
            )
        )

    def advance(
        self, left: float = math.inf, closing: bool = False, past: History | None = None,
        asked: bool = False,
    ) -> list[str]:  # fmt: skip
        """What is due between two edits: a confirmation, or another run of the lead.

        Args:
          left: runs that there is time for.
          closing: whether the night ends after that.
          past: what was measured, as it was read a moment ago; it is read if None.
          asked: whether a person asks for a confirmation: then also for one that was just made.

        Returns:
          What came of it, in words; empty where nothing was due.

        Raises:
          HarnessError: a run failed that says nothing of the files.
        """
        if past is not None and not self._proof.is_due(past, left, closing, asked):
            return []
        with self._measuring:
            return [*self._proof.advance(left, closing, asked)]

    def look_again(self) -> str | None:
        """Run the best edit of those set aside once more; what came of it, None if none is."""
        with self._measuring:
            past = self._batches.fill(History.missing, "the incumbent")
            there, files = past.progress(), past.files()
            if there.begun is not None:  # after a kill: it comes to its end first
                return None
            aside = [name for name in there.aside if files[name].made_on == there.lead]
            hopes = stopping.hopes(self.branch.root, past)
            name = search.second_look(past.outlook(), aside, hopes)
            if name is None:
                return None
            number = len(past.scores(Role.CHALLENGER, name)) + 1
            part = self.replicates.part(Role.CHALLENGER, name, name, number)
            if (failure := self._batches.attempt(part, "a second look")) is not None:
                return f"a second look failed: {str(failure).splitlines()[0]}"
            self._follow()
            run = self.read().verdict(name)
            return f"a second look: {run.reason if run else ''}"

    def _set_aside(self, challenger: str, run: Run) -> None:
        """Put the lead's file back, and keep the edit in reach."""
        with self._lock:
            self.branch.discard(challenger, run.run_id)


def _agreed(steps: Sequence[Sequence[str]], stack: Sequence[str]) -> int:
    """How many of the edits that git has ahead of the incumbent are the ledger's, from the first.

    Args:
      steps: of git, as `Branch.steps`.
      stack: of the ledger, with short names.
    """
    pairs = zip(steps, stack, strict=False)
    same = (any(commit.startswith(name) for commit in step) for step, name in pairs)
    return sum(itertools.takewhile(bool, same))


def known(branch: Branch, instrument: str | None = None) -> History:
    """What the ledger says of a branch to who measures with an instrument; here if None."""
    there = Ledger(branch.root / LEDGER).read()
    return History(there.entries, branch.name, instrument or sites.here().instrument)


def resume(
    root: Path, confine: Callable[[str | None], str], run: Runner, site: Site | None = None
) -> Contest | None:
    """The contest of the experiment branch that is checked out; None elsewhere.

    Args:
      root: the checkout.
      confine: gives the confinement that a branch was begun with, or an error.
      run: makes one run.
      site: where; here if None.

    Raises:
      InputError: the branch was worked on, and its rows are gone.
    """
    tag = branches.current(root)
    if tag is None:
        return None
    branch = Branch(root, tag)
    conditions = known(branch, site.instrument if site else None).conditions
    if conditions is None:
        branch.check_unworked()
        return None
    return Contest(branch, conditions, confine(conditions.sandbox), run, site)
