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

FILE = ".autorl-holder"
"""In the checkout, so that a container and its host see the same. There while somebody works; the
lock on it ends with its process, however that ends."""


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
    path = root.resolve() / FILE
    fd = _lock(path)
    try:
        me = _Holder(os.getpid(), shlex.join(sys.orig_argv), f"{datetime.now():%Y-%m-%d %H:%M:%S}")
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(dataclasses.asdict(me)).encode(), 0)
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.close(fd)


def _lock(path: Path) -> int:
    """A locked descriptor of the file that is at a path now.

    Raises:
      BusyError: somebody else has it.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, fd):
                return fd
        except BlockingIOError as error:
            who = _read(fd)
            os.close(fd)
            raise BusyError(_told(path.parent, who)) from error
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # whoever had it has just put it away: there is another one, or none


def _is_at(path: Path, fd: int) -> bool:
    """Whether a path still leads to an open file."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(fd))
    return False


def _read(fd: int) -> _Holder | None:
    """Who has written its name into the file; None where nobody has yet."""
    with contextlib.suppress(ValueError, TypeError):
        return _Holder(**json.loads(os.pread(fd, os.fstat(fd).st_size, 0)))
    return None


def _told(root: Path, who: _Holder | None) -> str:
    """Who holds a checkout, and what to do."""
    name = f"{who.command} (process {who.pid}, since {who.since})" if who else "Another command"
    end = f" or end it (kill {who.pid})" if who else ""
    return (
        f"{name} is at work in {root}: two at once would measure on the same cores and withdraw "
        f"each other's trials. Wait for it{end}; harness.status, report, verify and compare can be "
        "used meanwhile."
    )
