"""Takes what it was not given: cores, memory that counts as nobody's, others' turn to be ended."""

import ctypes
import os
import platform
from pathlib import Path

from tests.adversaries import works

CLONE_NEWUSER, CLONE_NEWUTS, SIGCHLD, IPC_PRIVATE = 0x10000000, 0x4000000, 17, 0
CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def clone_into_a_user_namespace():
    """A child that has all capabilities in a namespace of its own."""
    child = libc.syscall(CLONE, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return child > 0


ATTEMPTS = {
    "cores": lambda: os.sched_setaffinity(0, range(os.cpu_count())),
    "memory of nobody": lambda: os.close(os.memfd_create("weights")),
    "attached to nobody": lambda: libc.shmget(IPC_PRIVATE, 4096, 0o600) >= 0,
    "another to be ended first": lambda: Path("/proc/self/oom_score_adj").write_text("1000"),
    "a user namespace": clone_into_a_user_namespace,
    "a namespace": lambda: libc.unshare(CLONE_NEWUTS) == 0,
}


def attempt():
    taken = [name for name, way in ATTEMPTS.items() if works(way)]
    print(taken)
    return bool(taken)
