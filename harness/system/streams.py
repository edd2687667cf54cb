"""The standard streams as we inherit them: closed, of a narrow encoding, or without a reader.

What we print is a courtesy and what we record is not: no run ends because nobody reads on.
"""

import errno
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

NAMES = ("stdin", "stdout", "stderr")
"""By number."""

NOBODY = (errno.EPIPE, errno.EIO, errno.EBADF)
"""Errors of a stream at whose other end is nobody: a pipe, a terminal that was closed."""


def prepare() -> None:
    """Make all three usable, and what is written to them harmless to us."""
    for number, name in enumerate(NAMES):
        if _is_closed(number):  # the next file that is opened would get this number
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    sys.stdout, sys.stderr = _Courtesy(sys.stdout), _Courtesy(sys.stderr)


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


class _Courtesy:
    """A stream that says what it can: what nobody takes goes nowhere, from then on.

    Args:
      stream: of text, over one of the first file descriptors.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a locale that knows no ½

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As a stream's; a pipe or a terminal may be gone."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As a stream's."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """As a stream's."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Let all that is written, also what is still in the buffer, go nowhere."""
        if error.errno not in NOBODY and self is not sys.stderr:
            print(f"note: what is printed cannot be written: {error.strerror}", file=sys.stderr)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())
        os.close(nothing)
