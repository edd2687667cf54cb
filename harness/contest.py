"""The experiments of a branch: measure the incumbent, try a challenger, keep it or set it back.

Every step is planned from the ledger and the branch's refs alone. A step is one run, and its row
says what it decided; what was killed between two steps goes on where it stood. Several trials may
go on at a time, in threads: each is judged against whoever is the incumbent when its run ends.
"""

import dataclasses
import statistics
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import branch as branches
from harness import experiment, integrity, measurement, objective, verdict, words
from harness.branch import Branch
from harness.errors import HarnessError, InputError, PolicyError, TrainingError, WorkerError
from harness.experiment import Part, Request, Ruling, Summary
from harness.history import CHALLENGER, INCUMBENT, NAME_LENGTH, TRANSFER, Conditions, History
from harness.ledger import FILE, LOST, Ledger
from harness.measurement import Site

LOSSES = 3
"""Workers that may die over one replicate, and runs of an incumbent that may fail in a row: after
that it is the file."""

AGAIN = (WorkerError, TrainingError, PolicyError)
"""Ends of an incumbent's run after which it is made again: a few bad seeds must not end a night."""

FEW = 5
"""Scores of which all are shown, and no interval is given."""

Run = Callable[[Request], Summary]
"""Makes one run: `experiment.run`, with or without a display."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a challenger fared.

    Attributes:
      challenger: its commit.
      verdict: `keep`, `discard` or `inconclusive`.
      reason: in words.
      scores: of its replicates.
      incumbent: scores of the incumbent that its estimate rests on; after a keep the new one's.
      last: the summary of the challenger's last run; None where none has a score.
    """

    challenger: str
    verdict: str
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
        run: Run = experiment.run,
        site: Site | None = None,
    ) -> None:
        self.branch = branch
        self.conditions = conditions
        self.site = site or measurement.here()
        self._confinement = confinement
        self._run = run
        self._lock = threading.RLock()  # on the branch's refs and the working tree
        self._measuring = threading.Lock()  # the incumbent: by one thread, in all slots

    @property
    def history(self) -> History:
        """What was measured, as the ledger has it now."""
        return history(self.branch, self.site.instrument)

    def settle(self) -> None:
        """Finish what a kill has left half done, and make sure that the tip is the incumbent.

        Raises:
          InputError: a commit that was not judged has changed the training file.
        """
        past = self.history
        for challenger in self.branch.trials:
            if (row := past.verdict(challenger)) is not None:
                self._apply(challenger, row.verdict, row.run_id)
        if past.rows and self.branch.edit_of(past.incumbent) != self.branch.edit_of("tip"):
            raise InputError(
                f"A commit on {self.branch.name} has changed {integrity.EDITABLE} without having "
                f"been judged. Take it back (git revert) and offer the edit as a challenger "
                "instead, or begin a new branch from here with --init."
            )

    def measure(self) -> list[float]:
        """Make the runs that the incumbent's estimate lacks; all of them.

        Raises:
          HarnessError: one of them failed.
        """
        with self._measuring:
            self._fill(History.missing, "the incumbent")
        return self.history.fresh()

    def repeat(self, count: int) -> list[float]:
        """Run the incumbent until it has so many runs that no decision was made on; all of them.

        Raises:
          HarnessError: one of them failed.
        """
        with self._measuring:
            self._fill(lambda past: past.lacking(count), "calibration")
        return self.history.fresh()

    def _fill(self, lacking: Callable[[History], list[int]], message: str) -> None:
        """Make fresh runs of the incumbent, as many at a time as there are slots."""
        before: list[int] = []
        fruitless = 0
        lost: HarnessError | None = None
        while True:
            past = self.history
            commit = past.incumbent if past.rows else self.branch.tip
            first = range(1, verdict.fresh_runs(0) + 1)
            numbers = lacking(past) if past.rows else [*first]
            fruitless = fruitless + 1 if numbers == before else 0
            ran_before = any(row.scored for row in past.rows)
            if lost and (fruitless == LOSSES or not (ran_before or isinstance(lost, WorkerError))):
                raise lost
            if not numbers:
                return
            parts = [self._part(INCUMBENT, commit, commit, n) for n in numbers]
            before, lost = numbers, self._at_once(parts, message)

    def _at_once(self, parts: Sequence[Part], message: str) -> HarnessError | None:
        """Run replicates, beside each other where there are slots; what one of them failed with.

        Raises:
          HarnessError: one failed that is not to be made again.
        """
        if self.site.slots == 1:
            try:
                for part in parts:
                    self._replicate(part, message)
            except AGAIN as failure:
                return failure
            return None
        with ThreadPoolExecutor(self.site.slots) as pool:
            runs = [pool.submit(self._replicate, part, message) for part in parts]
            try:
                errors = [error for run in runs if (error := run.exception())]
            except KeyboardInterrupt:
                self.site.stop()
                raise
        for error in errors:
            if not isinstance(error, AGAIN):
                raise error
        return next((error for error in errors if isinstance(error, AGAIN)), None)

    def transfer(self, commit: str, task: str) -> None:
        """Try a commit's file on a task, unless it was; nothing is decided by it.

        Raises:
          HarnessError: the run failed.
        """
        if self.history.transferred(commit, task) is None:
            part = self._part(TRANSFER, commit, commit, 1)
            self._run(self._request(task, "auto", part, "transfer"))

    def challenge(self, message: str, edit: bytes | None = None) -> Outcome:
        """Try a training file, to its verdict, and nothing else meanwhile.

        Args:
          message: of its commit, and for the ledger.
          edit: the file; that of the working tree if None.

        Raises:
          InputError: it is the incumbent's.
          HarnessError: its run failed; it has been set back where that was its own fault.
        """
        self.settle()
        edit = self.branch.edit if edit is None else edit
        if edit == self.branch.edit_of("tip"):
            raise InputError(
                f"{integrity.EDITABLE} is the incumbent's: there is nothing to try. Edit it first."
            )
        self.measure()
        for pending in self.branch.trials:
            if self.branch.edit_of(pending) == edit and self.branch.follows_tip(pending):
                return self.pursue(pending, message)
            self.withdraw(pending)
        return self.pursue(self.enter(edit, message), message)

    def enter(self, edit: bytes, message: str) -> str:
        """Put a training file on trial; its commit."""
        with self._lock:
            number = len(self.branch.trials) + self.history.number("")
            text = (
                words.plain(message).strip() or "An edit without a message"
            )  # numbered: no two trials are one commit
            return self.branch.propose(edit, f"{text}\n\nChallenger: {number}")

    def withdraw(self, challenger: str) -> None:
        """End a trial without a verdict; its commit stays reachable."""
        runs = [row for row in self.history.rows if challenger.startswith(row.challenger)]
        with self._lock:
            self.branch.discard(challenger, runs[-1].run_id if runs else challenger[:NAME_LENGTH])

    def pursue(self, challenger: str, message: str) -> Outcome:
        """Go on with a trial, to its verdict.

        Args:
          challenger: its commit.
          message: for the ledger.

        Raises:
          HarnessError: as `challenge`.
        """
        last: Summary | None = None
        failure: HarnessError | None = None
        while (row := self.history.verdict(challenger)) is None:
            self.measure()
            try:
                last = self._step(challenger, message) or last
            except HarnessError as error:
                if self.history.verdict(challenger) is not None:
                    failure = error
                elif not isinstance(error, WorkerError):
                    raise  # not its fault: it stays on trial
        self._apply(challenger, row.verdict, row.run_id)
        if failure is not None:
            raise failure
        if row.verdict == "keep":
            self.measure()
        past = self.history
        scores = past.scores(CHALLENGER, challenger)
        return Outcome(challenger, row.verdict, row.reason, scores, past.fresh(), last)

    def _step(self, challenger: str, message: str) -> Summary | None:
        """One replicate of the challenger or, beside it, of the incumbent."""
        past = self.history
        scores = past.scores(CHALLENGER, challenger)
        if scores and self._judge(past, challenger, scores).step == "incumbent":
            number = len(past.beside(challenger)) + 1
            beside = self._part(INCUMBENT, past.incumbent, challenger, number)
            self._replicate(beside, "the incumbent beside it")
            return None
        part = self._part(CHALLENGER, challenger, challenger, len(scores) + 1)
        return self._replicate(part, message)

    def _judge(self, past: History, challenger: str, scores: list[float]) -> verdict.Verdict:
        return verdict.judge(
            scores, past.before(challenger), past.beside(challenger), past.number(challenger),
            past.looks(challenger),
        )  # fmt: skip

    def _replicate(self, part: Part, message: str) -> Summary:
        """Run a replicate's tasks, those that are not there yet; the summary of the last."""
        there = self.history.replicate(part.role, part.challenger, part.replicate, part.commit)
        backends = dict(zip(self.conditions.tasks, self.conditions.backends, strict=True))
        for task in self.conditions.tasks:
            if task not in there:
                summary = self._run(self._request(task, backends[task], part, message))
        return summary

    def _part(self, role: str, commit: str, challenger: str, replicate: int) -> Part:
        return Part(
            branch=self.branch.name,
            role=role,
            commit=commit[:NAME_LENGTH],
            challenger=challenger[:NAME_LENGTH],
            replicate=replicate,
            objective=self.conditions.objective,
        )

    def _request(self, task: str, backend: str, part: Part, message: str) -> Request:
        return Request(
            root=self.branch.root,
            source=self.branch.edit_of(part.commit),
            task_id=task,
            backend=backend,
            seed=None,
            budget=self.conditions.budget,
            episodes=self.conditions.episodes,
            message=message,
            confinement=self._confinement,
            comparable=True,
            part=part,
            judge=lambda status, score: self._rule(part, task, status, score),
            site=self.site,
        )

    def _rule(self, part: Part, task: str, status: str, score: float | None) -> Ruling:
        """The ruling on a run, from the ledger so far and its own score."""
        if score is None:
            return _failed(part, status, self.history.losses(part.role, part.challenger))
        if part.role == TRANSFER:
            return Ruling("scored")
        past = self.history
        there = past.replicate(part.role, part.challenger, part.replicate, part.commit)
        returns = {**there, task: score}
        lacking = set(self.conditions.tasks) - set(returns)
        if lacking:
            return Ruling("scored", "go on", f"{len(lacking)} more tasks in this replicate.")
        if part.role == INCUMBENT:
            return Ruling("scored", "none" if part.commit == part.challenger else "go on")
        value = objective.score(self.conditions.tasks, returns)
        scores = [*past.scores(CHALLENGER, part.challenger), value]
        if past.missing() and len(scores) < verdict.MAX_REPLICATES:
            return Ruling("scored", "go on", "A new incumbent is being measured.")
        said = self._judge(past, part.challenger, scores)
        return (
            Ruling(said.step, said.step, said.reason)
            if said.final
            else (Ruling("scored", "go on", said.reason))
        )

    def _apply(self, challenger: str, outcome: str, run_id: str) -> None:
        """Move the branch, or put the incumbent's file back."""
        with self._lock:
            if outcome == "keep":
                self.branch.keep(challenger)
            else:
                self.branch.discard(challenger, run_id)


def _failed(part: Part, status: str, losses: int) -> Ruling:
    """The ruling on a run without a score: the end of a trial only where the file itself failed.

    Args:
      part: of the run.
      status: what it ended as.
      losses: of earlier runs of its role in this trial.
    """
    mortal = status == LOST and losses + 1 >= LOSSES
    if status not in ("crash", "timeout") and not mortal:
        return Ruling(status)
    if part.role == CHALLENGER:
        return Ruling(status, "discard", f"Replicate {part.replicate} ended as {status}.")
    if part.commit == part.challenger:
        return Ruling(status)
    reason = f"The incumbent's run beside it ended as {status}."
    return Ruling("inconclusive", "inconclusive", reason)


def history(branch: Branch, instrument: str | None = None) -> History:
    """What the ledger says of a branch to who measures with an instrument; here if None."""
    rows = Ledger(branch.root / FILE).rows()
    return History(rows, branch.name, instrument or measurement.instrument())


def resume(
    root: Path, confine: Callable[[bool], str], run: Run, site: Site | None = None
) -> Contest | None:
    """The contest of the experiment branch that is checked out; None elsewhere.

    Args:
      root: the checkout.
      confine: gives the confinement of a branch whose runs are confined, or are not.
      run: makes one run.
      site: where; here if None.
    """
    tag = branches.current(root)
    if tag is None:
        return None
    branch = Branch(root, tag)
    conditions = history(branch).conditions
    if conditions is None:
        return None
    return Contest(branch, conditions, confine(conditions.confined), run, site)


def estimate(scores: list[float]) -> str:
    """An incumbent's estimate in words: mean and 95 % interval; all values where they are few."""
    mean = statistics.fmean(scores)
    if len(scores) < FEW:
        return f"{mean:,.2f} ({', '.join(f'{score:,.2f}' for score in scores)})"
    low, high = verdict.interval(scores)
    return f"{mean:,.2f} ({low:,.2f} to {high:,.2f}, {len(scores)} runs)"
