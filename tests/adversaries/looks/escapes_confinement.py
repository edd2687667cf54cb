"""Makes the root writable again, as it is and in a user namespace of its own; sets the kernel."""

import ctypes
import os

from tests.adversaries import works

REMOUNT_BIND, NEW_USER_AND_MOUNT = 32 | 4096, 0x10020000
FOR_ALL = ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger")


def attempt():
    libc = ctypes.CDLL(None)
    remounted = libc.mount(None, b"/", None, ctypes.c_ulong(REMOUNT_BIND), None) == 0
    child = os.fork()
    if child == 0:
        libc.unshare(NEW_USER_AND_MOUNT)
        os._exit(libc.mount(None, b"/", None, ctypes.c_ulong(REMOUNT_BIND), None) == 0)
    remounted |= bool(os.waitpid(child, 0)[1])
    opened = [works(lambda path=path: os.close(os.open(path, os.O_WRONLY))) for path in FOR_ALL]
    return remounted or any(opened)
