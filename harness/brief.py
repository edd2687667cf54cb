"""What an agent is told before an edit: one Markdown file."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from harness import words
from harness.history import CHALLENGER, FINAL, History
from harness.integrity import EDITABLE

SHOWN = 15
"""Challengers in the table: the latest."""

ERROR_LINES = 30


@dataclasses.dataclass(frozen=True)
class Situation:
    """What changes from turn to turn.

    Attributes:
      estimate: of the incumbent, in words.
      left: hours and runs, in words.
      repair: the error that the file in place ended with, where it is to be repaired.
      note: on the last turn, where something was wrong with it.
    """

    estimate: str
    left: str
    repair: str = ""
    note: str = ""


def write(root: Path, past: History, situation: Situation) -> str:
    """The brief of one turn."""
    program = root / "program.md"
    conditions = past.conditions
    assert conditions is not None
    parts = [
        words.decoded(program.read_bytes()) if program.is_file() else "",
        "# This turn",
        f"You work in a throwaway clone. Edit `{EDITABLE}`, once, and write one line on what you "
        "changed and why into a file `DESCRIPTION` beside the folder `agent_space`. Do not run, "
        "commit or measure anything: the harness does all that when you are done. Nothing but "
        "these two files is taken.",
        f"- Objective: {conditions.objective}, {conditions.budget:g} seconds of training each\n"
        f"- Incumbent: {situation.estimate}\n- Left: {situation.left}",
    ]
    if situation.note:
        parts.append(f"**About your last turn:** {situation.note}")
    if situation.repair:
        tail = "\n".join(words.plain(situation.repair).split("\n")[-ERROR_LINES:])
        parts.append(
            f"**The file in place is your last edit, which failed.** Repair it, or write another "
            f"one. It ended with:\n\n```\n{tail}\n```"
        )
    parts.append("## What was tried\n\n" + _table(past))
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(past: History) -> str:
    ended = [row for row in past.rows if row.verdict in FINAL]
    if not ended:
        return "Nothing yet."
    lines = ["| edit | verdict | why |", "|---|---|---|"]
    for row in ended[-SHOWN:]:
        status = row.verdict if row.status in FINAL else f"{row.verdict} ({row.status})"
        lines.append(
            f"| {_cell(_words(past.rows, row.challenger))} | {status} | {_cell(row.reason)} |"
        )
    more = len(ended) - SHOWN
    return "\n".join(lines) + (f"\n\n{more} earlier ones are not shown." if more > 0 else "")


def _words(rows: Sequence, challenger: str) -> str:
    """The description that a challenger was handed in with."""
    mine = (r.description for r in rows if r.challenger == challenger and r.role == CHALLENGER)
    return next(mine, "")


def _cell(text: str) -> str:
    return text.replace("|", "/")
