"""What an agent is told before an edit: one Markdown file, and how the latest runs went."""

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.confinement import sandbox
from harness.judgement.history import Conditions, History
from harness.measurement.sites import log_tail
from harness.places import CURVE, EDITABLE, LOG, run_folder
from harness.record.entries import Role, Run
from harness.system import words

CHALLENGERS_SHOWN = 15
"""Challengers in the table: the latest."""

ERROR_LINES = 30

LENT = 30
"""Runs whose curves an agent gets: the latest."""

CURVE_LINES, CURVE_BYTES = 200, 2**16
"""Of a curve that it gets: what a reader needs, and no room for the weights of a policy."""


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


@dataclasses.dataclass(frozen=True)
class Brief:
    """What an agent gets.

    Attributes:
      text: Markdown.
      runs: ids of those whose curves it may look at.
      variables: what `harness.check` has to know in its clone, which has no ledger.
    """

    text: str
    runs: tuple[str, ...] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def lend(self, root: Path, clone: Path) -> None:
        """Copy curves and last words of the runs into `runs/` of an agent's clone."""
        for run_id in self.runs:
            there, here = run_folder(root, run_id), run_folder(clone, run_id)
            with contextlib.suppress(OSError):  # a user may delete folders of runs
                curve, log = _thinned(there / CURVE), log_tail(there / LOG)
                here.mkdir(parents=True)
                (here / CURVE).write_text(curve, encoding="utf-8")
                (here / LOG).write_text(words.plain(log), encoding="utf-8")


def write(root: Path, past: History, situation: Situation) -> Brief:
    """The brief of one turn."""
    program = root / "program.md"
    conditions = past.conditions
    assert conditions is not None
    parts = [
        words.decoded(program.read_bytes()) if program.is_file() else "",
        "# This turn",
        f"You work in a throwaway clone. Edit `{EDITABLE}`, once, and write one line on what you "
        "changed and why into a file `DESCRIPTION` next to the folder `agent_space`. Do not run, "
        "commit or measure anything: the harness does all that when you are done. Nothing but "
        "these two files is used. `runs/` has learning curves and last output of the latest runs.",
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
    runs = [run.run_id for run in past.runs if run.role in (Role.CHALLENGER, Role.INCUMBENT)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return Brief(text, tuple(runs[-LENT:]), _variables(conditions))


def _variables(conditions: Conditions) -> dict[str, str]:
    """The options of `harness.check` that are the branch's, by the names that it reads."""
    engines = set(conditions.backends)
    return {
        "AUTORL_TASK": conditions.objective,
        "AUTORL_BUDGET": f"{conditions.budget:g}",
        "AUTORL_BACKEND": engines.pop() if len(engines) == 1 else "auto",
        "AUTORL_NO_SANDBOX": str(int(conditions.sandbox == sandbox.NONE)),
    }


def _table(past: History) -> str:
    ended = [run for run in past.runs if run.verdict.final]
    if not ended:
        return "Nothing yet."
    lines = ["| edit | verdict | why | last run |", "|---|---|---|---|"]
    for run in ended[-CHALLENGERS_SHOWN:]:
        status = run.verdict if run.status.decided else f"{run.verdict} ({run.status})"
        cells = (_words(past.runs, run.challenger), status, run.reason, run.run_id)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    more = len(ended) - CHALLENGERS_SHOWN
    return "\n".join(lines) + (f"\n\n{more} earlier ones are not shown." if more > 0 else "")


def _words(runs: Sequence[Run], challenger: str) -> str:
    """The description that a challenger was handed in with."""
    mine = (r.description for r in runs if (r.challenger, r.role) == (challenger, Role.CHALLENGER))
    return next(mine, "")


def _cell(text: str) -> str:
    return text.replace("|", "/")


def _thinned(curve: Path) -> str:
    """A learning curve with so few lines that it is nothing else."""
    with open(curve, "rb") as file:
        header, count = file.readline(), sum(1 for _ in file)
        file.seek(len(header))
        step = max(-(-count // CURVE_LINES), 1)
        lines = [header, *itertools.islice(file, step - 1, None, step)]
    return words.plain(words.decoded(b"".join(lines)[:CURVE_BYTES]))
