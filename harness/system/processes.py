"""Child processes that can be ended with everything they started."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""prctl options (Linux): the signal that we get when our parent ends; orphaned descendants become
our children instead of init's."""

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill`, a terminal that closes: what a user or a batch system ends us with."""

TERM_GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL."""


def adopt_orphans() -> None:
    """Keep descendants in sight when their parent ends (Linux only; elsewhere a no-op)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with(parent: int) -> None:
    """Get SIGTERM when our parent ends, or now if it has ended already (Linux; else a no-op)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def heed(handler: Callable[[int, Any], object]) -> None:
    """Handle the signals that end us, but for those that we were started to ignore.

    nohup has a program ignore a terminal that closes, and a shell has one in the background ignore
    Ctrl-C: who starts us so wants us to go on.
    """
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore the signals that end us, for as long as something must be finished.

    They reach the main thread only; in another one there is nothing to ignore.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def start(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a child in a session of its own, so that the terminal's Ctrl-C reaches only us."""
    return subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, **options)


def end_all(grace: float = TERM_GRACE) -> None:
    """End every descendant of this process, wherever it has moved, and wait until all are gone."""
    for process in _descendants():
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + grace
    while _descendants() and time.monotonic() < deadline:
        time.sleep(0.01)
    empty_looks = 0
    while empty_looks < 2:  # one that forks as we look is met by the next look
        remaining = _descendants()
        empty_looks = 0 if remaining else empty_looks + 1
        for process in remaining:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.01)


def _descendants() -> list[psutil.Process]:
    """Descendants that are not wholly gone; ended children of ours are reaped on the way."""
    return [p for p in psutil.Process().children(recursive=True) if not _reaped(p.pid)]


def _reaped(pid: int) -> bool:
    """Whether this is a child of ours that has ended, its last thread included."""
    with contextlib.suppress(ChildProcessError):  # not our child: its parent reaps it, or we later
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
