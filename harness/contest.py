"""The experiments of a branch: measure the incumbent, try a challenger, keep it or set it back.

Every step is planned from the ledger and the branch's refs alone. A step is one run, and its row
says what it decided; what was killed between two steps goes on where it stood.
"""

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path

from harness import branch as branches
from harness import experiment, integrity, objective, verdict
from harness.branch import Branch
from harness.errors import HarnessError, InputError
from harness.experiment import Part, Request, Ruling, Summary
from harness.history import CHALLENGER, INCUMBENT, NAME_LENGTH, TRANSFER, Conditions, History
from harness.ledger import FILE, Ledger

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
    """

    def __init__(
        self, branch: Branch, conditions: Conditions, confinement: str, run: Run = experiment.run
    ) -> None:
        self.branch = branch
        self.conditions = conditions
        self._confinement = confinement
        self._run = run
        self._ledger = Ledger(branch.root / FILE)

    @property
    def history(self) -> History:
        """What was measured, as the ledger has it now."""
        return history(self.branch)

    def settle(self) -> None:
        """Finish what a kill has left half done, and make sure that the tip is the incumbent.

        Raises:
          InputError: a commit that was not judged has changed the training file.
        """
        past = self.history
        challenger = self.branch.challenger
        if challenger is not None and (row := past.verdict(challenger)) is not None:
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
        commit = self.branch.tip if not self.history.rows else self.history.incumbent
        while not self.history.rows or self.history.missing() > 0:
            self._replicate(INCUMBENT, commit, commit, "the incumbent")
        return self.history.fresh()

    def repeat(self, count: int) -> list[float]:
        """Run the incumbent until it has so many runs that no decision was made on; all of them.

        Raises:
          HarnessError: one of them failed.
        """
        commit = self.history.incumbent
        while len(self.history.fresh()) < count:
            self._replicate(INCUMBENT, commit, commit, "calibration")
        return self.history.fresh()

    def transfer(self, commit: str, task: str) -> None:
        """Try a commit's file on a task, unless it was; nothing is decided by it.

        Raises:
          HarnessError: the run failed.
        """
        if self.history.transferred(commit, task) is None:
            part = self._part(TRANSFER, commit, commit, 1)
            self._run(self._request(task, "auto", part, "transfer"))

    def challenge(self, message: str, edit: bytes | None = None) -> Outcome:
        """Try a training file, to its verdict.

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
        challenger = self._on_trial(edit, message)
        last: Summary | None = None
        failure: HarnessError | None = None
        while (row := self.history.verdict(challenger)) is None:
            try:
                last = self._step(challenger, message) or last
            except HarnessError as error:
                if self.history.verdict(challenger) is None:
                    raise  # not its fault: it stays on trial
                failure = error
        self._apply(challenger, row.verdict, row.run_id)
        if failure is not None:
            raise failure
        if row.verdict == "keep":
            self.measure()
        past = self.history
        scores = past.scores(CHALLENGER, challenger)
        return Outcome(challenger, row.verdict, row.reason, scores, past.fresh(), last)

    def _on_trial(self, edit: bytes, message: str) -> str:
        """The commit of an edit: the one that is on trial already, or a new one."""
        pending = self.branch.challenger
        if pending is not None:
            if self.branch.edit_of(pending) == edit and self.branch.follows_tip(pending):
                return pending
            runs = [row for row in self.history.rows if pending.startswith(row.challenger)]
            self.branch.discard(pending, runs[-1].run_id if runs else pending[:NAME_LENGTH])
        number = self.history.number("")  # in the message, so that no two trials are one commit
        text = message or "An edit without a message"
        return self.branch.propose(edit, f"{text}\n\nChallenger: {number}")

    def _step(self, challenger: str, message: str) -> Summary | None:
        """One replicate of the challenger or, beside it, of the incumbent."""
        past = self.history
        scores = past.scores(CHALLENGER, challenger)
        if scores:
            said = self._judge(past, challenger, scores)
            if said.step == "incumbent":
                self._replicate(INCUMBENT, past.incumbent, challenger, "the incumbent beside it")
                return None
        return self._replicate(CHALLENGER, challenger, challenger, message)

    def _judge(self, past: History, challenger: str, scores: list[float]) -> verdict.Verdict:
        return verdict.judge(
            scores, past.before(challenger), past.beside(challenger), past.number(challenger)
        )

    def _replicate(self, role: str, commit: str, challenger: str, message: str) -> Summary:
        """Run one replicate's tasks, those that are not there yet; the summary of the last."""
        past = self.history
        number = len(past.scores(role, challenger)) + 1
        there = past.replicate(role, challenger, number)
        lacking = [task for task in self.conditions.tasks if task not in there]
        part = self._part(role, commit, challenger, number)
        backends = dict(zip(self.conditions.tasks, self.conditions.backends, strict=True))
        for task in lacking:
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
        )

    def _rule(self, part: Part, task: str, status: str, score: float | None) -> Ruling:
        """The ruling on a run, from the ledger so far and its own score."""
        if score is None:
            return _failed(part, status)
        if part.role == TRANSFER:
            return Ruling("scored")
        past = self.history
        returns = {**past.replicate(part.role, part.challenger, part.replicate), task: score}
        lacking = set(self.conditions.tasks) - set(returns)
        if lacking:
            return Ruling("scored", "go on", f"{len(lacking)} more tasks in this replicate.")
        if part.role == INCUMBENT:
            return Ruling("scored", "none" if part.commit == part.challenger else "go on")
        value = objective.score(self.conditions.tasks, returns)
        scores = [*past.scores(CHALLENGER, part.challenger), value]
        said = self._judge(past, part.challenger, scores)
        return (
            Ruling(said.step, said.step, said.reason)
            if said.final
            else (Ruling("scored", "go on", said.reason))
        )

    def _apply(self, challenger: str, outcome: str, run_id: str) -> None:
        """Move the branch, or put the incumbent's file back."""
        if outcome == "keep":
            self.branch.keep(challenger)
        else:
            self.branch.discard(challenger, run_id)


def _failed(part: Part, status: str) -> Ruling:
    """The ruling on a run without a score: the end of a trial only where the file itself failed."""
    if status not in ("crash", "timeout"):
        return Ruling(status)
    if part.role == CHALLENGER:
        return Ruling(status, "discard", f"Replicate {part.replicate} ended as {status}.")
    if part.commit == part.challenger:
        return Ruling(status)
    reason = f"The incumbent's run beside it ended as {status}."
    return Ruling("inconclusive", "inconclusive", reason)


def history(branch: Branch) -> History:
    """What the ledger says of a branch."""
    return History(Ledger(branch.root / FILE).rows(), branch.name, integrity.fingerprint())


def resume(root: Path, confine: Callable[[bool], str], run: Run) -> Contest | None:
    """The contest of the experiment branch that is checked out; None elsewhere.

    Args:
      root: the checkout.
      confine: gives the confinement of a branch whose runs are confined, or are not.
      run: makes one run.
    """
    tag = branches.current(root)
    if tag is None:
        return None
    branch = Branch(root, tag)
    conditions = history(branch).conditions
    if conditions is None:
        return None
    return Contest(branch, conditions, confine(conditions.confined), run)


def estimate(scores: list[float]) -> str:
    """An incumbent's estimate in words: mean and 95 % interval, all values where they are few."""
    mean = statistics.fmean(scores)
    low, high = verdict.interval(scores)
    return f"{mean:,.2f} ({low:,.2f} to {high:,.2f}, {len(scores)} runs)"
