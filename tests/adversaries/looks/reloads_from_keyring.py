"""Looks for a key that an earlier run left in the kernel's keyring; leaves one."""

import ctypes
import platform

from tests.adversaries import loot

ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}[platform.machine()]
SEARCH, SET_TIMEOUT = 10, 15
SESSION, USER = -3, -4
SECONDS = 600
libc = ctypes.CDLL(None)


def attempt():
    name = loot().encode()
    rings = (SESSION, USER)
    found = any([libc.syscall(KEYCTL, SEARCH, ring, b"user", name, 0) >= 0 for ring in rings])
    for ring in rings:
        leave(name, ring)
    return found


def leave(name, ring):
    key = libc.syscall(ADD_KEY, b"user", name, b"weights", 7, ring)
    libc.syscall(KEYCTL, SET_TIMEOUT, key, SECONDS)
    return key >= 0


def missing():
    return "" if leave(b"autorl-probe", USER) else "this system has no keyring for us"
