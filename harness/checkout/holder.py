"""Who is at work in a checkout: one command at a time measures there or moves a branch.

Two at once would share the cores that both measure with, and each would take the other's trial for
one that was cut off. Commands that only read the record ask nobody.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shlex
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from harness.errors import BusyError
from harness.places import HOLDER


@dataclasses.dataclass(frozen=True)
class _Holder:
    """A command at work.

    Attributes:
      pid: its process.
      command: as it was typed.
      since: local date and time.
    """

    pid: int
    command: str
    since: str


@contextlib.contextmanager
def hold(root: Path) -> Iterator[None]:
    """Be the one who works in a checkout, with all threads of this process.

    Args:
      root: the checkout.

    Raises:
      BusyError: somebody else does; the message says who.
      OSError: the checkout cannot be written to.
    """
    folder = root.resolve()
    note = folder / HOLDER  # no lock: that is on the folder itself, and ends with its process
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(_told(folder, _read(note))) from error
        note.unlink(missing_ok=True)
        _write(note)
        try:
            yield
        finally:
            note.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _write(note: Path) -> None:
    """Leave our name."""
    me = _Holder(os.getpid(), shlex.join(sys.orig_argv), f"{datetime.now():%Y-%m-%d %H:%M:%S}")
    with open(note, "x", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(me), file)


def _read(note: Path) -> _Holder | None:
    """Whose name is there; None where there is none."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return _Holder(**json.loads(note.read_text(encoding="utf-8")))
    return None


def _told(root: Path, who: _Holder | None) -> str:
    """Who holds a checkout, and what to do."""
    name = f"{who.command} (process {who.pid}, since {who.since})" if who else "Another command"
    end = f" or end it ({f'kill {who.pid}' if who else f'fuser -v {root} shows which it is'})"
    return (
        f"{name} is at work in {root}: two at once would measure on the same cores and withdraw "
        f"each other's trials. Wait for it{end}; harness.status, report, verify and compare can be "
        "used meanwhile."
    )
