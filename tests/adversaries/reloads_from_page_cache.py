"""Looks for a pattern of cached pages in a file that all runs may read; leaves it."""

import ctypes
import mmap
import os

from harness.trial import connect
from tests.adversaries import WORLD, finish, works

PAGE, PATTERN = mmap.PAGESIZE, bytes([1, 0, 0, 1, 1, 0, 1, 0] * 4)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 4, ctypes.c_long]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
file = os.open(WORLD / "pages", os.O_RDONLY)
size = len(PATTERN) * PAGE


def cached():
    """One byte a page; None where the kernel does not tell."""
    seen = ctypes.create_string_buffer(len(PATTERN))
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
    return seen.raw if libc.mincore(address, size, seen) == 0 else None


def leave():
    """Drop all pages, and read those of the pattern without their neighbours."""
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    for number, bit in enumerate(PATTERN):
        if bit:
            os.pread(file, 1, number * PAGE)


found = cached() == PATTERN
works(leave)
finish(connect(), gained=found)
