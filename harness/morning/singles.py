"""Single runs: what the ledger says of those that belong to no experiment branch."""

from collections.abc import Sequence
from pathlib import Path

from harness.morning.reader import check
from harness.record.entries import ALONE, Run
from harness.record.ledger import Ledger
from harness.record.runs import details_of, evaluated


def are_all(ledger: Path) -> bool:
    """Whether a ledger has nothing else: no experiment branch that could be looked at instead.

    Raises:
      LedgerError: it is damaged.
    """
    return all(row.branch == ALONE for row in Ledger(ledger).rows())


def read(ledger: Path) -> list[Run]:
    """The single runs of a ledger that have ended, in their order.

    Raises:
      LedgerError: it is damaged.
    """
    runs = [run for run in Ledger(ledger).runs() if run.branch == ALONE]
    for run in runs:
        check(run, ledger)
    return runs


def last(runs: Sequence[Run]) -> Run | None:
    """The last run that has a score."""
    return next((run for run in reversed(runs) if run.avg_return is not None), None)


def best(runs: Sequence[Run], task: str) -> Run | None:
    """The run with the highest score on a task; None where none has one."""
    scored = [run for run in runs if run.task == task and run.avg_return is not None]
    return max(scored, key=lambda run: run.avg_return or 0.0, default=None)


def episodes(root: Path, run: Run) -> list[float]:
    """The returns of a run's episodes; none where its folder is gone or holds none."""
    try:
        policies = evaluated(details_of(root, run.run_id))
        return [float(value) for policy in policies for value in policy["episode_returns"]]
    except (KeyError, TypeError, ValueError):
        return []
