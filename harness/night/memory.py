"""What a night knows of itself: from the ledger, and what turns and runs have left in `runs/`."""

import contextlib
import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import InputError, LedgerError
from harness.judgement import search
from harness.judgement.history import History
from harness.places import ERROR, LEDGER, NOTES, SUMMARY, TRAIN_FILE, TURN, run_folder
from harness.record.entries import UNLIMITED, Ending, Entry, Plan, Role, Run, Status, Turn, stamp
from harness.record.runs import medians
from harness.system import words

REPAIRS = 2
"""Turns in a row that an agent gets to repair a file that failed."""

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
"""Seconds after a first bad turn of the same kind in a row, doubled with each further one: a rate
limit, or a command that only fails."""

RUNS_TIMED = 10
"""Whole runs that tell how long one takes: the latest."""

LISTED = 10
"""Paths in a row or a brief: an agent may have made thousands."""

PATIENCE = 20
"""Bad turns in a row after which the night ends: the agent is not there."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """A turn whose edit failed: its number, its file, and the error."""

    number: int
    edit: bytes
    error: str


@dataclasses.dataclass(frozen=True)
class Memory:
    """A night at one moment.

    Attributes:
      root: the checkout.
      past: what the ledger says of the branch.
      plan: of the night.
      earlier: turns that were there when it began, or went on.
      slots: runs at a time.
    """

    root: Path
    past: History
    plan: Plan
    earlier: int
    slots: int = 1

    @property
    def turns(self) -> list[Turn]:
        """Of this night, since it began or went on."""
        return self.past.turns[self.earlier :]

    def used(self) -> tuple[float, int]:
        """Hours and runs since the night began."""
        night = self.past.night()
        assert night is not None
        seconds = (datetime.now(UTC) - stamp(night)).total_seconds()
        return seconds / 3600, self.past.runs_since(night)

    def over(self) -> str | None:
        """Why no new turn begins; None while one may."""
        hours, runs = self.used()
        if hours >= self.plan.hours:
            return f"{self.plan.hours:g} hours have passed"
        if runs >= self.plan.runs:
            return f"{words.counted(runs, 'run')} made"
        turns = self.turns[-PATIENCE:]
        if turns and turns[-1].status == Ending.ABSENT:
            return f"its agent's command cannot be run here ({turns[-1].reason})"
        if len(turns) == PATIENCE and not any(turn.status == Ending.EDITED for turn in turns):
            return (
                f"{PATIENCE} turns in a row brought no edit; the last ended as {turns[-1].status} "
                f"({turns[-1].reason})"
            )
        return None

    def runs_left(self) -> float:
        """For how many whole runs there is time."""
        hours, runs = self.used()
        left = float(self.plan.runs - runs) if self.plan.runs < UNLIMITED else math.inf
        each = self._each()
        if each:
            seconds = max(self.plan.hours - hours, 0.0) * 3600
            left = min(left, self.slots * seconds / sum(each.values()))
        return max(left, 0.0)

    def closes(self) -> bool:
        """Whether what is left is for the last confirmation: no new edit is begun."""
        there = self.past.progress()
        return search.is_over(there.stack, self.runs_left(), there.level())

    def left(self) -> str:
        """Hours and runs, in words."""
        hours, runs = self.used()
        seconds = max(self.plan.hours - hours, 0) * 3600
        left = f"{words.lasting(seconds)}{self._of_runs(seconds)}"
        if self.plan.runs >= UNLIMITED:
            return left
        return f"{left}; {words.counted(max(self.plan.runs - runs, 0), 'run')} at most"

    def _of_runs(self, seconds: float) -> str:
        """How many whole runs some seconds are; nothing where that is not known."""
        each = self._each()
        if not each:
            return ""
        return f", some {self.slots * seconds / statistics.fmean(each.values()):,.0f} runs"

    def _each(self) -> dict[str, float]:
        """Seconds of a whole run, by task; of none where no run has ended."""
        whole = [run for run in self.past.runs if run.avg_return is not None]
        return medians(self.root, whole[-RUNS_TIMED:], "total_seconds")

    def wait(self) -> float:
        """Seconds before a next turn, twice as many after each further one that ended as the last.

        Nobody waits beyond the hours.
        """
        again = 0
        while again < len(self.turns) and self.turns[-1 - again].status == self.turns[-1].status:
            again += 1
        left = max(self.plan.hours - self.used()[0], 0.0) * 3600
        return min(FIRST_WAIT * 2 ** (again - 1), LONGEST_WAIT, left)

    def failed(self, slots: int) -> Failure | None:
        """What failed last, is not repaired yet, and may be.

        Args:
          slots: trials that may go on at a time.
        """
        turns = self.past.turns
        repairs = {turn.number: self._made(turn).get("repairs") for turn in turns}
        for turn in reversed(turns[-slots:]):
            error = self._error(turn)
            if error is None or turn.number in repairs.values():
                continue
            chain = [turn.number]
            while (earlier := repairs.get(chain[-1])) is not None:
                chain.append(earlier)
            file = self._folder(turn) / TRAIN_FILE
            if len(chain) <= REPAIRS and file.exists():
                return Failure(turn.number, file.read_bytes(), error)
        return None

    def note(self) -> str:
        """What the next brief says of the last turn."""
        if not self.past.turns:
            return ""
        turn = self.past.turns[-1]
        made = self._made(turn)
        notes = {
            Ending.NO_EDIT: "You left agent_space/train.py as it was.",
            Ending.HUNG: "You were ended: the time for a turn was used up before the file was "
            "changed.",
            Ending.FAILED: "Your command failed before the file was changed.",
            Ending.BROKEN: f"Your edit is no Python: {made.get('detail', '')}",
        }
        taken = ""
        if forbidden := made.get("forbidden"):
            taken = f" You changed {listed(forbidden)}; that was not taken."
        return (notes.get(turn.status, "") + taken).strip()

    def notes(self) -> str:
        """What the agent has written down last; a turn that wrote nothing has changed nothing."""
        for turn in reversed(self.past.turns):
            with contextlib.suppress(FileNotFoundError):
                return words.decoded((self._folder(turn) / NOTES).read_bytes())
        return ""

    def tried(self) -> dict[str, list[float]]:
        """The scores of every training file that was run, by its commit."""
        past, first = self.past, self.past.runs[0].commit
        scores = {first: past.scores(Role.INCUMBENT, first)}
        for run in past.runs:
            if run.role == Role.CHALLENGER and run.scored:
                scores[run.challenger] = past.scores(Role.CHALLENGER, run.challenger)
        return scores

    def stopped(self) -> dict[str, tuple[float, float]]:
        """Where every training file whose run was stopped had got to, by its commit.

        The share of the budget, and the mean return that it had reported; nothing of a run whose
        folder was deleted, as a user may.
        """
        found = {}
        for run in self.past.runs:
            if run.status == Status.STOPPED:
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    said = json.loads((self._folder(run) / SUMMARY).read_text())["stopped"]
                    found[run.challenger] = (float(said["share"]), float(said["reported"]))
        return found

    def _error(self, turn: Turn) -> str | None:
        """What the edit of a turn failed with; None where it did not, or there was none."""
        if turn.status == Ending.BROKEN:
            return self._made(turn).get("detail", turn.reason)
        trial = self._trial(turn)
        if turn.status == Ending.EDITED and trial and trial[-1].status.at_fault:
            file = self._folder(trial[-1]) / ERROR
            return words.decoded(file.read_bytes()) if file.exists() else trial[-1].reason
        return None

    def _trial(self, turn: Turn) -> list[Run]:
        """The runs of the challenger that a turn has made."""
        runs = self.past.runs
        return [r for r in runs if r.role == Role.CHALLENGER and r.challenger == turn.challenger]

    def _folder(self, entry: Entry) -> Path:
        return run_folder(self.root, entry.run_id)

    def _made(self, turn: Turn) -> dict:
        """What a turn left; nothing where its folder was deleted, as a user may."""
        try:
            return json.loads((self._folder(turn) / TURN).read_text())
        except (FileNotFoundError, ValueError):
            return {}


def recorded(past: History) -> Plan:
    """The plan of the night that the ledger knows last.

    Raises:
      InputError: it knows none.
      LedgerError: what it knows is none.
    """
    night = past.night()
    if night is None:
        raise InputError(
            "There is no night on this branch to continue. Give --agent: a night that ended during "
            "its baseline continues with the runs that it has made; else a night begins."
        )
    if night.plan is None:
        raise LedgerError(
            f"The row {night.run_id} of {LEDGER} holds no plan of a night: begin one with --agent."
        )
    return night.plan


def listed(paths: Sequence[str]) -> str:
    """Some paths, and how many more there are."""
    more = f" and {len(paths) - LISTED} more" if len(paths) > LISTED else ""
    return ", ".join(paths[:LISTED]) + more
