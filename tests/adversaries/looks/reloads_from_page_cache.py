"""Looks for a pattern of cached pages in a file that all runs may read; leaves it."""

import ctypes
import mmap
import os
import subprocess

from tests.adversaries import WORLD, works

PAGE, PATTERN = mmap.PAGESIZE, bytes([1, 0, 0, 1, 1, 0, 1, 0] * 4)
SIZE = len(PATTERN) * PAGE
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 4, ctypes.c_long]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


def attempt():
    file = os.open(WORLD / "pages", os.O_RDONLY)
    found = cached(file) == PATTERN
    works(lambda: leave(file))
    return found


def cached(file):
    """One byte a page; None where the kernel does not tell."""
    seen = ctypes.create_string_buffer(len(PATTERN))
    address = libc.mmap(None, SIZE, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
    return seen.raw if libc.mincore(address, SIZE, seen) == 0 else None


def leave(file):
    """Drop all pages, and read those of the pattern without their neighbours."""
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    for number, bit in enumerate(PATTERN):
        if bit:
            os.pread(file, 1, number * PAGE)


def missing():
    kind = subprocess.run(["stat", "-f", "-c", "%T", "/tmp"], capture_output=True, check=False)
    if kind.stdout.strip() == b"tmpfs":
        return "the files of this system's /tmp are always in memory"
    return ""
