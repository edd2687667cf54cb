"""Looks for a key that an earlier run left in the kernel's keyring; leaves one."""

import ctypes
import platform

from harness.trial import connect
from tests.adversaries import LOOT, finish

add_key, request_key = {"x86_64": (248, 249), "aarch64": (217, 218)}[platform.machine()]
SESSION, USER = -3, -4
libc = ctypes.CDLL(None)
name = LOOT.encode()
found = any(libc.syscall(request_key, b"user", name, None, ring) >= 0 for ring in (SESSION, USER))
for ring in (SESSION, USER):
    libc.syscall(add_key, b"user", name, b"weights", 7, ring)
finish(connect(), gained=found)
