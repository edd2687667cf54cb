"""Single runs: what the ledger says of those that belong to no experiment branch."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from harness.morning.findings import check, details_of
from harness.record.entries import ALONE, stamp
from harness.record.ledger import Ledger


@dataclasses.dataclass(frozen=True)
class Single:
    """One run that has ended.

    Attributes:
      run_id: its folder in `runs/`.
      began: when, UTC.
      task: its id.
      budget: seconds of training.
      description: one line of the user's; may be empty.
      status: `scored`, or what it ended as.
      score: the average return; None where it has none.
      spread: the standard deviation between its episodes; likewise.
    """

    run_id: str
    began: datetime
    task: str
    budget: float
    description: str
    status: str
    score: float | None
    spread: float | None


def are_all(ledger: Path) -> bool:
    """Whether a ledger has nothing else: no experiment branch that could be looked at instead.

    Raises:
      LedgerError: it is damaged.
    """
    return all(row.branch == ALONE for row in Ledger(ledger).rows())


def read(ledger: Path) -> list[Single]:
    """The single runs of a ledger, in their order.

    Raises:
      LedgerError: it is damaged.
    """
    found = []
    for row in Ledger(ledger).runs():
        if row.branch != ALONE:
            continue
        check(row, ledger)
        found.append(
            Single(
                run_id=row.run_id,
                began=stamp(row),
                task=row.task,
                budget=row.budget,
                description=row.description,
                status=row.status,
                score=row.avg_return,
                spread=row.std_return,
            )
        )
    return found


def last(runs: Sequence[Single]) -> Single | None:
    """The last run that has a score."""
    return next((run for run in reversed(runs) if run.score is not None), None)


def best(runs: Sequence[Single], task: str) -> Single | None:
    """The run with the highest score on a task; None where none has one."""
    scored = [run for run in runs if run.task == task and run.score is not None]
    return max(scored, key=lambda run: run.score or 0.0, default=None)


def episodes(root: Path, run: Single) -> list[float]:
    """The returns of a run's episodes; none where its folder is gone or holds none."""
    try:
        return [float(value) for value in details_of(root, run.run_id)["episode_returns"]]
    except (KeyError, TypeError, ValueError):
        return []
