"""Who is at work in a checkout: one command at a time measures there or moves a branch.

Two at once would share the cores that both measure with, and each would take the other's trial for
one that was cut off. Commands that only read the record ask nobody; who works can be asked.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from harness.errors import BusyError
from harness.places import HOLDER
from harness.system import words

LOOK = 0.2
"""Seconds in which a look at who works is over: whoever comes to work waits as long for it."""


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
        if not _locked(fd):
            raise BusyError(_told(folder, _read(note)))
        note.unlink(missing_ok=True)
        _write(note)
        try:
            yield
        finally:
            note.unlink(missing_ok=True)
    finally:
        os.close(fd)


def at_work(root: Path) -> str:
    """Who works in a checkout, in words; empty where nobody does."""
    folder = root.resolve()
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # others who look are in nobody's way
    except BlockingIOError:
        return words.line(_named(_read(folder / HOLDER)))
    finally:
        os.close(fd)
    return ""


def _locked(fd: int) -> bool:
    """Lock a folder for this process alone, unless another one works there."""
    deadline = time.monotonic() + LOOK
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK / 10)
        else:
            return True


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


def _named(who: _Holder | None) -> str:
    """A command at work, in words."""
    return f"{who.command} (process {who.pid}, since {who.since})" if who else "Another command"


def _told(root: Path, who: _Holder | None) -> str:
    """Who holds a checkout, and what to do."""
    end = f" or end it ({f'kill {who.pid}' if who else f'fuser -v {root} shows which it is'})"
    return (
        f"{_named(who)} is at work in {root}: two at once would measure on the same cores and "
        f"cancel each other's trials. Wait for it{end}; harness.status, report, verify and "
        "compare can be used meanwhile."
    )
