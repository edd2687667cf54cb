"""Whether a training file is a program that the compiler takes.

It is compiled in a process of its own: a file that is nested too deeply ends the compiler, and with
it the process that it is in.
"""

import subprocess
import sys

from harness.system import words

LARGEST = 2**20
"""Bytes of a training file, sixty times the shipped one: what is longer is data."""

SECONDS = 60.0
"""For a compilation, which takes milliseconds."""

_COMPILE = """
import sys
try:
    compile(sys.stdin.buffer.read(), "train.py", "exec")
except SyntaxError as error:
    sys.exit(f"line {error.lineno}: {error.msg}" if error.lineno else str(error))
except (ValueError, RecursionError, MemoryError, OverflowError) as error:
    sys.exit(f"{type(error).__name__}: {str(error) or 'too deeply nested'}")
"""


def fault(source: bytes) -> str:
    """Why a file is no Python that could be run, in one line; empty where it is."""
    if len(source) > LARGEST:
        return f"it has {len(source):,} bytes, and {LARGEST:,} are the most"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-W", "ignore", "-c", _COMPILE],
            input=source, capture_output=True, check=False, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"its compilation does not end within {SECONDS:g} s"
    said = words.line(words.decoded(done.stderr))
    return (said or "it is too deeply nested for the compiler") if done.returncode else ""
