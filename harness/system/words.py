"""Words of agents, people and programs, made fit for wherever they are shown.

What somebody else has written may hold anything: terminal codes, half an emoji, a NUL, bytes of
another encoding. It passes through here on its way into git, the ledger, a terminal, a chart or a
page, and comes out as text that none of them takes for more than text.
"""

import codecs
import json
import re
import unicodedata

UNKNOWN = "?"
"""Stands for a character that is none: half an emoji, a byte that is no UTF-8."""

QUOTE = "| "
"""Before each line of what a program said, so that nobody takes it for a line of ours."""

MINUTE, HOUR = 60, 3600.0
"""In seconds."""

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # strings
    r"|\x1b[ -/]*[0-~]?"  # the rest
)
"""Terminal codes (ECMA-48); a string is a title, the clipboard, or the like."""


def plain(text: str) -> str:
    """A text of printable characters, tabs and line ends; terminal codes leave nothing behind."""
    if text.replace("\t", " ").replace("\n", " ").isprintable():
        return text  # of ten thousand rows nearly all
    text = _SEQUENCE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(c if c.isprintable() or c in "\n\t" else _substitute(c) for c in text)


def line(text: str, most: int | None = None) -> str:
    """A text as one line: each run of blanks, tabs and line ends is one blank.

    Args:
      text: of any kind.
      most: characters of it that are kept; all if None.
    """
    return " ".join(plain(text).split())[:most]


def counted(number: int, noun: str) -> str:
    """As in `1 run` and `1,200 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(text: str, most: int) -> str:
    """A text as one line of at most so many characters, an ellipsis where some are left out."""
    there = line(text)
    return there if len(there) <= most else f"{there[: most - 1].rstrip()}…"


def lasting(seconds: float) -> str:
    """A time in a unit of which there is more than none: `1.4 hours`, `28 minutes`, `1 second`."""
    if seconds >= HOUR:
        return f"{seconds / HOUR:,.1f} hours"
    if seconds >= 2 * MINUTE:
        return counted(round(seconds / MINUTE), "minute")
    return counted(round(seconds), "second")


def quoted(text: str) -> str:
    """A text as a quotation: no line of it begins as one of ours does."""
    return "\n".join(QUOTE + one for one in plain(text).split("\n"))


def decoded(data: bytes) -> str:
    """Bytes as a text: UTF-8, or UTF-16 where they say so; whatever is neither is unknown."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    return text.replace("\ufffd", UNKNOWN)


def packed(value: object) -> str:
    """JSON that `line` leaves as it is, so that a cell of the ledger can hold it."""
    text = json.dumps(value).replace("\x7f", "\\u007f")
    return text.replace("  ", " \\u0020")  # blanks stand in strings only, and there they count


def _substitute(character: str) -> str:
    """What stands for a character that cannot be printed."""
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in ("Cc", "Cf") else UNKNOWN
