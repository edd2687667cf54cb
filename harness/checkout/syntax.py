"""Whether a training file is a program that the compiler takes, and how much code it is.

It is compiled in a process of its own: a file that is nested too deeply ends the compiler, and with
it the process that it is in.
"""

import dataclasses
import functools
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

_COUNT = """
import ast, sys
tree = ast.parse(sys.stdin.buffer.read())
for node in ast.walk(tree):
    body = getattr(node, "body", None)
    if isinstance(body, list):
        node.body = [
            one for one in body
            if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        ]
text = ast.unparse(ast.fix_missing_locations(tree))
texts = (getattr(node, "value", None) for node in ast.walk(tree))
inside = sum(len(one) for one in texts if isinstance(one, (str, bytes)))
print(sum(map(bool, map(str.strip, text.splitlines()))), sum(1 for _ in ast.walk(tree)) + inside)
"""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much code a file is, however it is formatted.

    Attributes:
      lines: of its statements, each written on one line: no blanks, comments or docstrings.
      nodes: of its syntax tree, without docstrings, and the characters of its texts, which can be
        code.
    """

    lines: int
    nodes: int

    def is_simpler(self, other: "Size") -> bool:
        """Whether it has fewer lines than another file, and none of them by being longer."""
        return self.lines < other.lines and self.nodes < other.nodes


@functools.lru_cache(maxsize=64)
def size(source: bytes) -> Size | None:
    """How much code a file is; None of one that is no Python, or too deeply nested to be read."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-W", "ignore", "-c", _COUNT],
            input=source, capture_output=True, check=False, timeout=COMPILE_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    counted = done.stdout.split()
    return None if done.returncode or len(counted) != 2 else Size(*map(int, counted))


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
