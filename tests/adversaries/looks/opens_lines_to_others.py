"""Locks files that runs beside it can lock, watches who opens them, reads what all processes do."""

import ctypes
import fcntl
import os
import signal
from pathlib import Path

from tests.adversaries import works

READ_ALL, IN_OPEN, F_NOTIFY, DN_ACCESS = 3, 0x20, 1026, 1


def attempt():
    libc = ctypes.CDLL(None, use_errno=True)
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # what dnotify sends
    file, same = os.open(__file__, os.O_RDONLY), os.open(__file__, os.O_RDONLY)
    folder = os.open("/usr/lib", os.O_RDONLY)
    attempts = {
        "flock": lambda: _is_felt(file, same),
        "lockf": lambda: fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB),
        "inotify": lambda: libc.inotify_add_watch(libc.inotify_init1(0), b"/usr/lib", IN_OPEN) >= 0,
        "dnotify": lambda: fcntl.fcntl(folder, F_NOTIFY, DN_ACCESS),
        "kernel log": lambda: libc.klogctl(READ_ALL, ctypes.create_string_buffer(4096), 4096) >= 0,
        **{
            name: lambda name=name: bool(Path("/proc", name).read_text())
            for name in ("stat", "loadavg", "vmstat", "locks", "interrupts", "sys/fs/file-nr")
        },
    }
    opened = [name for name, way in attempts.items() if works(way)]
    print(opened)
    return bool(opened)


def _is_felt(file, same):
    """Whether a lock on a file is one to somebody else who has opened it."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        fcntl.flock(same, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
