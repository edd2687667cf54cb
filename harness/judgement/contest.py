"""The experiments of a branch: measure the incumbent, try a challenger, keep it or set it back.

Every step is planned from the ledger and the branch's refs alone. A step is one run, and its row
says what it decided; what was killed between two steps goes on where it stood. Several trials may
go on at a time, in threads: each is judged against whoever is the incumbent when its run ends.
"""

import contextlib
import dataclasses
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from harness import places
from harness.checkout import branch as branches
from harness.checkout.branch import Branch, Refs
from harness.errors import (
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
from harness.judgement import experiment, rulings, verdict
from harness.judgement.experiment import Part, Summary
from harness.judgement.history import NAME_LENGTH, Conditions, History
from harness.judgement.replicates import Replicates, Runner
from harness.measurement import sites
from harness.measurement.sites import Site
from harness.places import LEDGER
from harness.record import life
from harness.record.entries import Role, Run, Verdict
from harness.record.ledger import Ledger
from harness.system import words

LOST_RUNS = (WorkerError, StandstillError, EndedError)
"""Ends of a run after which it is made again without anybody's asking."""

FAILURES_IN_A_ROW = 3
"""Runs of an incumbent that fail or are lost one after the other, which ends the command."""

GIVEN_UP = 10
"""Runs of an incumbent that fail or are lost while it is measured, after which the command ends:
each of the lost ones asks for more runs, and where many are lost there would be no end."""

FAILED = (TrainingError, PolicyError)
"""Ends of an incumbent's run that are not told as errors: a few bad seeds must not end a night."""

FEW = 5
"""Scores of which all are shown, and no interval is given."""


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
        ended = []
        for challenger in self.branch.trials():
            if (run := past.verdict(challenger)) is not None:
                self._apply(challenger, run)
                ended.append(run)
        if past.runs and self.branch.edit_of(past.incumbent) != self.branch.edit_of("tip"):
            raise InputError(
                f"A commit on {self.branch.name} has changed {places.EDITABLE} without having "
                f"been judged. Take it back (git revert) and offer the edit as a challenger "
                "instead, or begin a new branch from here with --init."
            )
        return ended

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
        """Run the incumbent until it has so many runs that no decision was made on; all of them.

        Raises:
          HarnessError: one of them failed.
        """
        with self._measuring:
            return self._fill(lambda past: past.lacking(count), "calibration").fresh()

    def _fill(self, lacking: Callable[[History], list[int]], message: str) -> History:
        """Make fresh runs of the incumbent, as many at a time as there are slots."""
        in_a_row = bad = 0
        while True:
            past = self.read()
            commit = past.incumbent if past.runs else self.branch.tip()
            first = range(1, verdict.fresh_runs(0) + 1)
            numbers = lacking(past) if past.runs else [*first]
            if not numbers:
                return past
            parts = [self.replicates.part(Role.INCUMBENT, commit, commit, n) for n in numbers]
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
        """Run a replicate of the incumbent; what it has failed with."""
        try:
            self.replicates.make(self.read(), part, message)
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
        if edit == self.branch.edit_of("tip"):
            raise InputError(
                f"{before}{places.EDITABLE} is the incumbent's: there is nothing to try. Edit "
                "it first."
            )
        past = self.measured(self.read())
        for pending in self.branch.trials():
            if self.branch.edit_of(pending) == edit and self.branch.follows_tip(pending):
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
        self._apply(challenger, run)
        if failure is not None:
            raise failure
        if run.verdict == Verdict.KEEP:
            past = self.measured(past)
        scores = past.scores(Role.CHALLENGER, challenger)
        return Outcome(challenger, run.verdict, run.reason, scores, past.fresh(), last)

    def _step(self, past: History, challenger: str, message: str) -> Summary | None:
        """One replicate of the challenger or, beside it, of the incumbent."""
        scores = past.scores(Role.CHALLENGER, challenger)
        number = past.next_beside(challenger)
        due = number <= len(scores) // verdict.RUNS_PER_REMEASUREMENT
        if due and rulings.judge(past, challenger, scores).step == Role.INCUMBENT:
            beside = self.replicates.part(Role.INCUMBENT, past.incumbent, challenger, number)
            with contextlib.suppress(*FAILED):
                self.replicates.make(past, beside, "the incumbent, for comparison")
            return None
        part = self.replicates.part(Role.CHALLENGER, challenger, challenger, len(scores) + 1)
        return self.replicates.make(past, part, message)

    def _apply(self, challenger: str, run: Run) -> None:
        """Move the branch, or put the incumbent's file back, as a run has decided."""
        with self._lock:
            if run.verdict == Verdict.KEEP:
                self.branch.keep(challenger)
            else:
                self.branch.discard(challenger, run.run_id)


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


def estimate(scores: list[float]) -> str:
    """An incumbent's estimate in words: mean and 95 % interval; all values where they are few."""
    mean = statistics.fmean(scores)
    if len(scores) < FEW:
        return f"{mean:,.2f} ({', '.join(f'{score:,.2f}' for score in scores)})"
    low, high = verdict.interval(scores)
    return f"{mean:,.2f} ({low:,.2f} to {high:,.2f}, {len(scores)} runs)"
