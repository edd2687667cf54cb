"""Cores that one worker of a machine has for itself, while it lives."""

import os
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import InputError

CLAIM_SECONDS = 10.0
"""In which a worker that has died must have let go of its cores."""


def claim(count: int, patience: float = CLAIM_SECONDS) -> dict[int, FileLock]:
    """Cores that no other worker on this machine has, by number, with the locks that hold them.

    Whoever lets go of a lock, by its end at the latest, lets go of the core.

    Args:
      count: how many.
      patience: seconds to wait for them.

    Raises:
      InputError: fewer are free.
    """
    folder = Path(tempfile.gettempdir(), f"autorl-cores-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    cores = os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1)
    deadline = time.monotonic() + patience
    while True:
        held: dict[int, FileLock] = {}
        for core in sorted(cores):
            lock = _locked(folder / str(core)) if len(held) < count else None
            if lock is not None:
                held[core] = lock
        if len(held) == count:
            return held
        for lock in held.values():
            lock.release()
        if time.monotonic() > deadline:
            raise InputError(f"A run needs {count} cores, but {len(held)} are free here.")
        time.sleep(0.1)


def _locked(path: Path) -> FileLock | None:
    """A file's lock; None where another one has it."""
    # Not a soft one where the system has no locks: the file of a killed process would stay.
    lock = FileLock(path, mode=0o600, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock
