"""Which runs go on, and the last rows of those whose harness was killed."""

import contextlib
import dataclasses
import fcntl
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import BusyError
from harness.places import ERROR, LEDGER, run_folder
from harness.record.entries import ALONE, Run, Status, Verdict
from harness.record.ledger import Ledger
from harness.record.snapshot import Snapshot
from harness.system import processes, storage

RULING = threading.Lock()
"""Held from a ruling to its row: what one run decides, the next one knows."""

_OURS: set[str] = set()
"""The runs of this process that go on, by their ids."""


@dataclasses.dataclass(frozen=True)
class Ruling:
    """What a run's row says of it.

    Attributes:
      status, verdict, reason: as in `entries.Run`.
    """

    status: Status
    verdict: Verdict = Verdict.NONE
    reason: str = ""


def unjudged(there: Snapshot, status: Status, score: float | None) -> Ruling:
    """The ruling on a run that belongs to no branch."""
    return Ruling(status)


def bury(
    root: Path,
    branch: str = ALONE,
    judge: Callable[[Snapshot, Run], Ruling] = lambda there, run: Ruling(Status.INTERRUPTED),
) -> None:
    """Write the last rows of runs whose harness was killed.

    Args:
      root: the checkout.
      branch: whose runs; `-` for those of none.
      judge: gives the ruling on one, from what the ledger holds and its first row.

    Raises:
      LedgerError: the ledger is damaged.
      BusyError: a run of another process goes on.
    """
    ledger = Ledger(root / LEDGER)
    with processes.uninterrupted(), RULING:
        killed = [run for run in ledger.read().open() if run.run_id not in _OURS]
        for run in killed:
            if goes_on(root, run):
                raise BusyError(
                    f"The run {run.run_id} of {run.branch if run.branch != ALONE else 'no branch'} "
                    "has no end, and its process is there, at work or stopped: what is measured "
                    f"beside it could be chosen from. Wait for it, or kill the process that holds "
                    f"{run_folder(root, run.run_id)} (fuser shows which)."
                )
        for run in killed:
            if run.branch != branch:
                continue
            ledger.conclude(functools.partial(_ended, run, judge))
            with contextlib.suppress(OSError):
                storage.replace(run_folder(root, run.run_id) / ERROR, "The harness was killed.\n")


def _ended(run: Run, judge: Callable[[Snapshot, Run], Ruling], there: Snapshot) -> Run:
    """The last row of a run, from its first one."""
    ruling = judge(there, run)
    return dataclasses.replace(
        run, status=ruling.status, verdict=ruling.verdict, reason=ruling.reason
    )


def goes_on(root: Path, run: Run) -> bool:
    """Whether the harness of a run that has no end is there."""
    try:
        with alive(run_folder(root, run.run_id)):
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def ours(run_id: str) -> Iterator[None]:
    """Know a run for one of this process while it goes on."""
    _OURS.add(run_id)
    try:
        yield
    finally:
        _OURS.discard(run_id)


@contextlib.contextmanager
def alive(folder: Path) -> Iterator[None]:
    """Hold a run's folder: the kernel lets go of it with the process, whatever ends that.

    Raises:
      BlockingIOError: somebody holds it.
    """
    held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)
