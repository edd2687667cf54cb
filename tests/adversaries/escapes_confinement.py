"""Makes the root writable again, first as it is, then from a user namespace of its own."""

import ctypes
import os

from harness.trial import connect
from tests.adversaries import finish

REMOUNT_BIND, NEW_USER_AND_MOUNT = 32 | 4096, 0x10020000
libc = ctypes.CDLL(None)
remounted = libc.mount(None, b"/", None, ctypes.c_ulong(REMOUNT_BIND), None) == 0
child = os.fork()
if child == 0:
    libc.unshare(NEW_USER_AND_MOUNT)
    os._exit(libc.mount(None, b"/", None, ctypes.c_ulong(REMOUNT_BIND), None) == 0)
remounted |= bool(os.waitpid(child, 0)[1])
finish(connect(), gained=remounted)
