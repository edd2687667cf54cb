"""Takes what it was not given: cores, memory that counts as nobody's, others' turn to be ended."""

import ctypes
import os
import platform
from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish, works

CLONE_NEWUSER, SIGCHLD, IPC_PRIVATE = 0x10000000, 17, 0
clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def clone_into_a_user_namespace():
    """A child that has all capabilities in a namespace of its own."""
    child = libc.syscall(clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return child > 0


attempts = {
    "cores": lambda: os.sched_setaffinity(0, range(os.cpu_count())),
    "memory of nobody": lambda: os.close(os.memfd_create("weights")),
    "attached to nobody": lambda: libc.shmget(IPC_PRIVATE, 4096, 0o600) >= 0,
    "another to be ended first": lambda: Path("/proc/self/oom_score_adj").write_text("1000"),
    "a user namespace": clone_into_a_user_namespace,
    "a namespace": lambda: libc.unshare(0x4000000) == 0,
}
taken = [name for name, attempt in attempts.items() if works(attempt)]
print(taken)
finish(connect(), gained=bool(taken))
