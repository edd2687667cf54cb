"""What an agent is told before an edit: one Markdown file, and how the latest runs went."""

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.confinement import sandbox
from harness.judgement.history import Conditions, History
from harness.measurement.sites import curve, log_tail
from harness.night import course, facts, tries
from harness.night.tries import Group, Try
from harness.places import CURVE, EDITABLE, LOG, NOTES, PROGRAM, run_folder
from harness.record.entries import Run
from harness.system import words

MOST = 20_000
"""Characters beside program.md: some four pages, which a reader still reads."""

SHOWN = {Group.NEAR: 10, Group.KEPT: 8, Group.BEHIND: 15, Group.HARM: 10, Group.FAILED: 6}
"""Edits in the table of each group."""

WORDS_SHOWN = 160
"""Characters of a description or a reason in a table."""

ERROR_LINES, ERROR_SHOWN = 30, 4000
"""Of an error: lines, and characters in all."""

NOTE_SHOWN = 1000
"""Characters of what is said about the last turn, which may name paths of any length."""

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
      notes: that the agent has left for itself.
    """

    estimate: str
    left: str
    repair: str = ""
    note: str = ""
    notes: str = ""


@dataclasses.dataclass(frozen=True)
class Brief:
    """What an agent gets.

    Attributes:
      text: Markdown.
      runs: ids of those whose curves it may look at.
      variables: what `harness.check` has to know in its clone, which has no ledger.
      notes: that it has left for itself.
    """

    text: str
    runs: tuple[str, ...] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: str = ""

    def lend(self, root: Path, clone: Path) -> None:
        """Copy curves and last words of the runs into `runs/` of an agent's clone."""
        for run_id in self.runs:
            there, here = run_folder(root, run_id), run_folder(clone, run_id)
            for name, read in ((CURVE, _thinned), (LOG, _last_words)):
                with contextlib.suppress(OSError):  # a user may delete folders of runs
                    text = read(there / name)
                    here.mkdir(parents=True, exist_ok=True)
                    (here / name).write_text(text, encoding="utf-8")


def write(root: Path, past: History, situation: Situation) -> Brief:
    """The brief of one turn: program.md, and what is known, the most valuable first.

    Of the second part what is beyond `MOST` is left out, and named.
    """
    program = root / PROGRAM
    conditions = past.conditions
    assert conditions is not None
    tried = tries.read(root, past)
    shown = {group: _chosen(tried, group) for group in Group}
    latest = {run.task: run for run in tries.runs_of(past, edited(past))}
    last = {one.run for one in tried[-1:] if one.scores and one.group != Group.KEPT}
    parts = [
        "# This turn",
        _task(conditions, situation),
        f"**About your last turn:** {situation.note[:NOTE_SHOWN]}" if situation.note else "",
        _repair(situation.repair),
        f"## Your notes\n\n{words.quoted(situation.notes.rstrip())}" if situation.notes else "",
        "## The budget\n\n" + "\n".join(f"- {x}" for x in facts.lines(root, past, edited(past))),
        _tried(shown[Group.NEAR], tried),
        *(_course(root, run, "The lead's last run") for run in latest.values()),
        *(_tried(shown[group], tried) for group in Group if group != Group.NEAR),
        *(
            _course(root, run, "The last edit's last run")
            for run in past.runs
            if run.run_id in last
        ),
        "" if tried else "## What was tried\n\nNothing yet.",
    ]
    own = words.decoded(program.read_bytes()) if program.is_file() else ""
    ids = [one.run for group in shown.values() for one in group]
    ids += [run.run_id for run in latest.values()]
    text = f"{own}\n\n{_within(parts, MOST)}\n"
    return Brief(text, tuple(ids), _variables(conditions), situation.notes)


def edited(past: History) -> str:
    """The commit of the file that edits are made on."""
    return past.lead


def _task(conditions: Conditions, situation: Situation) -> str:
    """What is to be done, and the branch in three lines."""
    return (
        f"You work in a throwaway clone. Edit `{EDITABLE}`, once, and write one line on what you "
        "changed and why into a file `DESCRIPTION` next to the folder `agent_space`. Nothing but "
        "these two files is used. Check the file before you end: `python -m harness.check`. Do not "
        "train, score or commit: the harness does that when you are done. What you want to know in "
        f"later turns, write into `{NOTES}`, next to `DESCRIPTION`: you find it there again.\n\n"
        "In the tables an edit is named by its commit. `git show COMMIT` shows its difference from "
        f"the file that it was made on, `git show COMMIT:{EDITABLE}` the whole file, and "
        "`runs/RUN/curve.csv` the learning curve of its last run.\n\n"
        f"- Objective: {conditions.objective}, {conditions.budget:g} seconds of training each\n"
        f"- Incumbent: {situation.estimate}\n- Left: {situation.left}"
    )


def _repair(error: str) -> str:
    """What the file in place has failed with; nothing where it has not."""
    if not error:
        return ""
    tail = "\n".join(words.plain(error).split("\n")[-ERROR_LINES:])[-ERROR_SHOWN:]
    return (
        "**The file in place is your last edit, which failed.** Repair it, or write another "
        f"one. It ended with:\n\n```\n{tail}\n```"
    )


def _course(root: Path, run: Run, whose: str) -> str:
    """How a run went; nothing where it left no curve."""
    table = course.table(curve(run_folder(root, run.run_id)), run.budget)
    if not table or run.avg_return is None:
        return ""
    scored = f"It scored {run.avg_return:,.2f} on {run.task}. Returns in the table are of the noisy"
    return f"## {whose}\n\n{scored} training policy.\n\n{table}"


def _chosen(tried: Sequence[Try], group: Group) -> list[Try]:
    """Edits of a group that are shown, the most instructive first."""
    mine = [one for one in reversed(tried) if one.group == group]
    if group == Group.NEAR:  # the longer it was ahead, the less it was luck
        mine.sort(key=lambda one: (len(one.scores), one.gain), reverse=True)
    return mine[: SHOWN[group]]


def _tried(shown: Sequence[Try], tried: Sequence[Try]) -> str:
    """The table of a group of edits; nothing where it has none."""
    if not shown:
        return ""
    group = shown[0].group
    more = sum(one.group == group for one in tried) - len(shown)
    return "\n".join([
        f"## {group}\n",
        "| edit | commit | scores | gain in deviations | steps/s | updates | run | why |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(one) for one in shown),
        *([f"\n{more} more are not shown."] if more > 0 else []),
    ])  # fmt: skip


def _line(one: Try) -> str:
    """A row of a table."""
    why = one.reason if one.group in (Group.NEAR, Group.FAILED) else ""
    cells = (
        words.line(one.description, WORDS_SHOWN),
        f"{one.commit}",
        " ".join(f"{score:,.4g}" for score in one.scores),
        "" if one.gain is None else f"{one.gain:+.2f}",
        *("" if ratio is None else f"× {ratio:.2f}" for ratio in (one.pace, one.updates)),
        one.run,
        words.line(why, WORDS_SHOWN),
    )
    return f"| {' | '.join(map(_cell, cells))} |"


def _within(parts: Sequence[str], most: int) -> str:
    """The parts that there are, as far as there is room, the first ones first."""
    there, left_out, room = [], [], most
    for part in filter(None, parts):
        if len(part) <= room:
            there.append(part)
            room -= len(part)
        else:
            left_out.append(part.partition("\n")[0].strip("# "))
    if left_out:
        there.append(f"Left out, for want of room: {'; '.join(left_out)}.")
    return "\n\n".join(there)


def _variables(conditions: Conditions) -> dict[str, str]:
    """The options of `harness.check` that are the branch's, by the names that it reads."""
    engines = set(conditions.backends)
    return {
        "AUTORL_TASK": conditions.objective,
        "AUTORL_BUDGET": f"{conditions.budget:g}",
        "AUTORL_BACKEND": engines.pop() if len(engines) == 1 else "auto",
        "AUTORL_NO_SANDBOX": str(int(conditions.sandbox == sandbox.NONE)),
    }


def _cell(text: str) -> str:
    return text.replace("|", "/")


def _last_words(log: Path) -> str:
    """What a training has printed last."""
    return words.plain(log_tail(log))


def _thinned(path: Path) -> str:
    """A learning curve with so few lines that it is nothing else."""
    with open(path, "rb") as file:
        header, count = file.readline(), sum(1 for _ in file)
        file.seek(len(header))
        step = max(-(-count // CURVE_LINES), 1)
        lines = [header, *itertools.islice(file, step - 1, None, step)]
    return words.plain(words.decoded(b"".join(lines)[:CURVE_BYTES]))
