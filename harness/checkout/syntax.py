"""Whether a training file is a program that the compiler takes.

It is compiled in a process of its own: a file that is nested too deeply ends the compiler, and with
it the process that it is in.
"""

import subprocess
import sys

from harness.system import words

MAX_BYTES = 2**20
"""Bytes of a training file, sixty times the shipped one: what is longer is data."""

COMPILE_SECONDS = 60.0
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
    if len(source) > MAX_BYTES:
        return f"it has {len(source):,} bytes, and {MAX_BYTES:,} are the most"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-W", "ignore", "-c", _COMPILE],
            input=source, capture_output=True, check=False, timeout=COMPILE_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"its compilation does not end within {COMPILE_SECONDS:g} s"
    said = words.line(words.decoded(done.stderr))
    return (said or "it is too deeply nested for the compiler") if done.returncode else ""
