"""Child processes that can be ended with everything they started."""

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PR_SET_CHILD_SUBREAPER = 36
"""prctl option (Linux): orphaned descendants become our children instead of init's."""

TERM_GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL."""


def adopt_orphans() -> None:
    """Keep descendants in sight when their parent ends (Linux only; elsewhere a no-op)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a child in a session of its own, so that the terminal's Ctrl-C reaches only us."""
    return subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, **options)


def end_all(grace: float = TERM_GRACE) -> None:
    """End every descendant of this process, wherever it has moved, and wait until all are gone."""
    for process in _descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    deadline = time.monotonic() + grace
    while _descendants() and time.monotonic() < deadline:
        time.sleep(0.01)
    while remaining := _descendants():  # one that forks as we look is met in the next round
        for process in remaining:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.01)


def harness_environment(**extra: str) -> dict[str, str]:
    """Our environment for a child: imports what we import, this copy of `harness` first."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join([root, str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep), "PYTHONUNBUFFERED": "1", **extra}


def _descendants() -> list[psutil.Process]:
    """Descendants that are not wholly gone; ended children of ours are reaped on the way."""
    return [p for p in psutil.Process().children(recursive=True) if not _reaped(p.pid)]


def _reaped(pid: int) -> bool:
    """Whether this is a child of ours that has ended, its last thread included."""
    with contextlib.suppress(ChildProcessError):  # not our child: its parent reaps it, or we later
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
