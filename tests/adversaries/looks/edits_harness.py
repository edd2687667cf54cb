"""Writes into the evaluation, harness/evaluate.py; the byte that is there, for others run it."""

import os

import harness.evaluate


def attempt():
    file = os.open(harness.evaluate.__file__, os.O_RDWR)
    os.pwrite(file, os.pread(file, 1, 0), 0)
    os.close(file)


def missing():
    if not os.access(harness.evaluate.__file__, os.W_OK):
        return "the harness is not this user's"
    return ""
