"""The experiments of a branch: measure the incumbent, try edits on the lead, prove the lead.

Every step is planned from the ledger and the branch's refs alone. A step is one run, and its row
says what it decided; what was killed between two steps goes on where it stood. Several trials may
go on at a time, in threads: each is compared with whoever leads when its run ends.
"""

import dataclasses
import itertools
import math
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

from harness import places
from harness.checkout import branch as branches
from harness.checkout import syntax
from harness.checkout.branch import Branch, Refs
from harness.contract.order import Stop
from harness.errors import (
    BusyError,
    EndedError,
    HarnessError,
    IncumbentError,
    InputError,
    LedgerError,
    PolicyError,
    StandstillError,
    TrainingError,
    WorkerError,
)
from harness.judgement import confirmation, experiment, search, stopping
from harness.judgement.experiment import Part, Summary
from harness.judgement.history import NAME_LENGTH, SEEN, Conditions, History, numbered
from harness.judgement.replicates import Replicates, Runner
from harness.judgement.stopping import Course
from harness.measurement import sites
from harness.measurement.sites import Site
from harness.places import LEDGER
from harness.record import life
from harness.record.entries import (
    ConfirmationBegun,
    Entry,
    Lots,
    Role,
    Run,
    SetBack,
    Simpler,
    Status,
    Verdict,
)
from harness.record.ledger import Ledger
from harness.system import words

LOST_RUNS = (WorkerError, StandstillError, EndedError)
"""Ends of a run after which it is made again without anybody's asking."""

FAILURES_IN_A_ROW = 3
"""Runs of an incumbent that fail or are lost one after the other, which ends the command."""

GIVEN_UP = 10
"""Runs of an incumbent that fail or are lost while it is measured, after which the command ends:
each of the lost ones asks for more runs, and where many are lost there would be no end."""

GIVEN_UP_REASON = "What measures has changed: the confirmation is given up, and the lead stays."
"""Of a confirmation that was begun with another instrument."""

FAILED = (TrainingError, PolicyError)
"""Ends of an incumbent's run that are not told as errors: a few bad seeds must not end a night."""


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
                past = self._append(self._set_back)
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
        lead = names[len(names) - 1 - count]
        reason = fell if count else stayed
        return SetBack(**self._circumstances(past, "lead"), challenger=lead, reason=reason)

    def _append(self, decide: Callable[[History], Entry]) -> History:
        """Add a row that follows from what the ledger holds; what it says with that."""
        of = self.replicates.of
        return of(Ledger(self.branch.root / LEDGER).conclude(lambda there: decide(of(there))))

    def _circumstances(self, past: History, name: str) -> dict[str, str]:
        """What rows that are no runs have, by their fields."""
        return {
            "run_id": f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}",
            "commit": past.incumbent,
            "branch": self.branch.name,
            "harness": self.site.instrument,
        }

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
            return self._fill(History.missing, "the incumbent")

    def repeat(self, count: int) -> list[float]:
        """Run the incumbent until it has so many runs beside those of decisions; all of them.

        Raises:
          HarnessError: one of them failed.
        """
        with self._measuring:
            past = self._fill(lambda past: past.lacking(count), "calibration")
            return past.scores(Role.INCUMBENT, past.incumbent)

    def _fill(self, lacking: Callable[[History], list[tuple[Role, int]]], message: str) -> History:
        """Make fresh runs of the incumbent, as many at a time as there are slots."""
        in_a_row = bad = 0
        while True:
            past = self.read()
            commit = past.incumbent if past.runs else self.branch.tip()
            first = range(1, search.BASELINE_RUNS + 1)
            numbers = lacking(past) if past.runs else [(Role.INCUMBENT, n) for n in first]
            if not numbers:
                return past
            parts = [self.replicates.part(role, commit, commit, n) for role, n in numbers]
            for failure in self._at_once(parts, message):
                if failure is None:
                    in_a_row = 0
                    continue
                in_a_row, bad = in_a_row + 1, bad + 1
                scored = any(run.scored for run in self.read().runs)
                hopeless = isinstance(failure, FAILED) and not scored
                if in_a_row == FAILURES_IN_A_ROW or bad == GIVEN_UP or hopeless:
                    raise _of_the_incumbent(failure) from failure

    def _at_once(self, parts: Sequence[Part], message: str) -> Iterator[HarnessError | None]:
        """Run replicates, beside each other where there are slots; what each has failed with.

        Raises:
          HarnessError: one ended as none that is to be made again does, nor one that counts.
        """
        if self.site.slots == 1:
            for part in parts:
                yield self._attempt(part, message)
            return
        with ThreadPoolExecutor(self.site.slots) as pool:
            runs = [pool.submit(self._attempt, part, message) for part in parts]
            try:
                wait(runs)
            except KeyboardInterrupt:
                self.site.stop()
                raise
        yield from [run.result() for run in runs]

    def _attempt(self, part: Part, message: str) -> HarnessError | None:
        """Run a replicate; what it has failed with. None of a confirmation that is over."""
        past = self.read()
        if part.role == Role.CONFIRMATION and past.progress().begun is None:
            return None
        try:
            self.replicates.make(past, part, message)
        except (*LOST_RUNS, *FAILED) as failure:
            return failure
        return None

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
            return [*self._at_once(parts, message)]

    def challenge(self, message: str, edit: bytes | None = None) -> Outcome:
        """Try a training file, to its verdict, and nothing else meanwhile.

        Args:
          message: of its commit, and for the ledger.
          edit: the file; that of the working tree if None.

        Raises:
          InputError: it is the incumbent's.
          HarnessError: its run failed; the edit was reverted if that was its own fault.
        """
        before = "".join(
            f"The last trial has ended as {run.verdict}: {run.reason} Its file is in git under "
            f"discarded/{run.run_id}. "
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
                return self.pursue(pending, message, past)
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
        stops = self._stops(past, part.challenger) if number == 1 else ()
        return self.replicates.make(past, part, message, stops)

    def _weighed(self, past: History, challenger: str) -> History:
        """What was measured, with a word on an edit that is simpler: before its first run."""
        there, name = past.progress(), challenger[:NAME_LENGTH]
        if name in there.made_on or name in there.simplified:
            return past
        lines = self.simpler(challenger, there.lead)
        if lines is None:
            return past
        reason = f"{lines[0]} lines of code instead of the lead's {lines[1]}"
        return self._append(
            lambda there: Simpler(
                **self._circumstances(there, "simpler"), challenger=name, reason=reason
            )
        )

    def simpler(self, one: str, other: str) -> list[int] | None:
        """The lines of code of two commits' files, where the first is simpler; None else."""
        sizes = [syntax.size(self.branch.edit_of(commit)) for commit in (one, other)]
        mine, theirs = sizes
        if mine is None or theirs is None or not mine.is_simpler(theirs):
            return None
        return [mine.lines, theirs.lines]

    def _stops(self, past: History, name: str) -> tuple[Stop, ...]:
        """Where a first run is stopped, from the runs of the branch that have finished."""
        if not self.conditions.stopping:
            return ()
        finished = self._courses(past)
        own = [course for run, course in finished if run.commit == past.lead]
        known = [course for _, course in finished]
        bar = past.outlook().bar(simpler=name in past.progress().simplified)
        return stopping.stops(known, bar, search.CHANCE, own=own)

    def _courses(self, past: History) -> list[tuple[Run, Course]]:
        """The runs that the search may see, as far as they have finished."""
        return [
            (run, course)
            for run in past.runs
            if run.harness == self.site.instrument
            and run.role in SEEN
            and (course := stopping.course(self.branch.root, run)) is not None
        ]

    def _hopes(self, past: History) -> dict[str, float]:
        """The scores to be expected of edits that were stopped, from what they had reported."""
        known = [course for _, course in self._courses(past)]
        found = {}
        for run in past.runs:
            if run.status == Status.STOPPED and run.challenger in past.progress().aside:
                told = stopping.stopped(self.branch.root, run)
                said = told and stopping.forecast(known, told.stop.share)
                if told and said:
                    found[run.challenger] = said.expected(told.reported)
        return found

    def advance(
        self, left: float = math.inf, closing: bool = False, past: History | None = None
    ) -> list[str]:
        """What is due between two edits: a confirmation, or another run of the lead.

        Args:
          left: runs that there is time for.
          closing: whether the night ends after that.
          past: what was measured, as it was read a moment ago; it is read if None.

        Returns:
          What came of it, in words; empty where nothing was due.

        Raises:
          HarnessError: a run failed that says nothing of the files.
        """
        if past is not None and not self._is_due(past, left, closing):
            return []
        with self._measuring:
            return [*self._advance(left, closing)]

    def _is_due(self, past: History, left: float, closing: bool) -> bool:
        """Whether anything is."""
        if past.progress().begun is not None or past.missing() or self._lacks_looks(past):
            return True
        refreshes = past.progress().in_a_row >= search.LONG_ASIDE and left > search.RESERVE
        return refreshes or self._due(past, left, closing) is not None

    def _advance(self, left: float, closing: bool) -> Iterator[str]:
        past = self.read()
        begun = past.progress().begun
        if begun is not None and begun.harness != self.site.instrument:
            past = self._append(self._given_up)
            yield f"confirmation {past.progress().confirmations}: {GIVEN_UP_REASON}"
            begun = None
        if begun is None:
            past = self._fill(History.missing, "the incumbent")
            for _ in range(search.LEAST_LOOKS):
                if not self._lacks_looks(past):
                    break
                yield self._run_lead(past)
                past = self.read()
            if past.progress().in_a_row >= search.LONG_ASIDE and left > search.RESERVE:
                yield self._run_lead(past)
                past = self.read()
            if self._lacks_looks(past) or self._due(past, left, closing) is None:
                return
            past = self._draw_lots(left, closing)
            yield f"confirmation {past.progress().confirmations}: the lead against the incumbent"
        yield self._prove(past)

    def _given_up(self, past: History) -> Entry:
        """The row that ends a confirmation of another instrument: runs of two are no comparison."""
        circumstances = self._circumstances(past, "lead")
        return SetBack(**circumstances, challenger=past.lead, reason=GIVEN_UP_REASON)

    def _lacks_looks(self, past: History) -> bool:
        """Whether the lead was accepted by runs that count no more, for want of its instrument."""
        there = past.progress()
        return bool(there.stack) and len(past.files()[there.lead].scores) < search.LEAST_LOOKS

    def look_again(self) -> str | None:
        """Run the best edit of those set aside once more; what came of it, None if none is."""
        with self._measuring:
            past = self._fill(History.missing, "the incumbent")
            there, files = past.progress(), past.files()
            if there.begun is not None:  # after a kill: it comes to its end first
                return None
            aside = [name for name in there.aside if files[name].made_on == there.lead]
            name = search.second_look(past.outlook(), aside, self._hopes(past))
            if name is None:
                return None
            number = len(past.scores(Role.CHALLENGER, name)) + 1
            part = self.replicates.part(Role.CHALLENGER, name, name, number)
            if (failure := self._attempt(part, "a second look")) is not None:
                return f"a second look failed: {str(failure).splitlines()[0]}"
            self._follow()
            run = self.read().verdict(name)
            return f"a second look: {run.reason if run else ''}"

    def _run_lead(self, past: History) -> str:
        """Run the lead once more, and set it back where that says so."""
        name = past.lead
        role = Role.CHALLENGER if past.progress().stack else Role.INCUMBENT
        number = len(past.scores(role, name)) + 1
        self._attempt(self.replicates.part(role, name, name, number), "the lead, once more")
        self._follow()
        return "the lead was run once more"

    def _draw_lots(self, left: float, closing: bool) -> History:
        """Fix a confirmation: its level, and who runs in which place.

        Raises:
          BusyError: there is one.
        """

        def drawn(past: History) -> Entry:
            if past.progress().begun is not None:
                raise BusyError("Another command has begun a confirmation on this branch.")
            lots = self._due(past, left, closing)
            if lots is None:
                raise BusyError("Another command has changed what leads on this branch.")
            circumstances = self._circumstances(past, "lots")
            return ConfirmationBegun(**circumstances, challenger=past.lead, lots=lots)

        self._follow()  # what another slot has accepted is confirmed as git has it
        return self._append(drawn)

    def _due(self, past: History, left: float, closing: bool) -> Lots | None:
        """What is fixed of a confirmation that is due: its level, and who runs in which place."""
        there, outlook = past.progress(), past.outlook()
        number = there.confirmations + 1
        level = there.level()
        if search.is_due(outlook, left, closing, level):
            blocks = _drawn(search.pairs(left, closing, level))
            jump = search.jump(outlook)
            return Lots(number, there.incumbent, level, jump, blocks)
        level = there.level(simpler=True)
        if not closing or not search.is_simpler_due(outlook, there.yardstick, left, level):
            return None
        lines = self.simpler(there.lead, there.incumbent)
        if lines is None:
            return None
        margin = past.margin()
        blocks = _drawn(confirmation.simpler_pairs(level))
        return Lots(number, there.yardstick, level, margin, blocks, margin, lines)

    def _prove(self, past: History) -> str:
        """Make the runs of a confirmation, block by block, to its end; what it has decided."""
        begun = past.progress().begun
        while begun is not None:
            assert begun.lots is not None
            parts = self._open_places(past, begun)
            for failure in self._at_once(parts, "side by side"):
                if failure is not None and not isinstance(failure, (*LOST_RUNS, *FAILED)):
                    raise failure
            past = self.read()
            begun = past.progress().begun
        self._follow()
        past = self._fill(History.missing, "the new incumbent")
        decided = (run for run in reversed(past.runs) if run.role == Role.CONFIRMATION)
        return next(run.reason for run in decided if run.verdict.final)

    def _open_places(self, past: History, begun: ConfirmationBegun) -> list[Part]:
        """The runs that the first incomplete block of a confirmation lacks, in their order."""
        assert begun.lots is not None
        place = 0
        for lots, scores in zip(begun.lots.blocks, past.places(begun), strict=True):
            lacking = [
                self.replicates.part(
                    Role.CONFIRMATION,
                    begun.challenger if is_lead else begun.lots.incumbent,
                    begun.challenger,
                    numbered(begun, number),
                )
                for number, (is_lead, score) in enumerate(
                    zip(lots, scores, strict=True), start=place + 1
                )
                if score is None
            ]
            if lacking:
                return lacking
            place += len(lots)
        return []

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


def _drawn(pairs: Sequence[int]) -> list[list[int]]:
    """The places of blocks by lot: 1 where the lead runs."""
    return [_shuffled([1] * count + [0] * count) for count in pairs]


def _shuffled(places: list[int]) -> list[int]:
    """The places of a block by lot."""
    secrets.SystemRandom().shuffle(places)
    return places


def _of_the_incumbent(failure: HarnessError) -> HarnessError:
    """An error, told as one that no edit is to blame for."""
    if isinstance(failure, FAILED):
        return IncumbentError(f"The incumbent's own runs fail; no edit is to blame. {failure}")
    return failure


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
