"""What became of the edits that were tried, in figures: scores, gain, and pace."""

import dataclasses
import enum
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.judgement.history import History
from harness.record.entries import Role, Run, Verdict
from harness.record.runs import medians

HARMFUL = -1.0
"""Deviations between runs of one file; an edit that is as far behind did harm."""

REMEMBERED = 60
"""Edits: the latest."""

RUNS_LOOKED_AT = 5
"""Of a file, for its pace: the latest."""


class Group(enum.StrEnum):
    """Edits that teach the same, the most instructive first; the value is their heading."""

    NEAR = "Near misses: ahead of the file that they were made on, and set aside"
    KEPT = "Led or were proved: chosen for high scores, so that their gain here is too high"
    BEHIND = "No gain seen"
    HARM = "Did harm"
    FAILED = "Failed, or not compared"


@dataclasses.dataclass(frozen=True)
class Try:
    """One edit that has its verdict.

    Attributes:
      commit: of its file.
      description: that it was handed in with.
      verdict, reason: of its trial.
      scores: of its replicates.
      gain: mean minus that of the file that it was made on, in deviations between runs of one file;
        None where one of them is not known.
      pace, updates: its steps per second, and its updates, as multiples of that file's; None where
        they are not known.
      run: the id of its last run.
    """

    commit: str
    description: str
    verdict: Verdict
    reason: str
    scores: tuple[float, ...]
    gain: float | None
    pace: float | None
    updates: float | None
    run: str

    @property
    def group(self) -> Group:
        """Which edits it belongs to."""
        if self.verdict in (Verdict.ACCEPT, Verdict.KEEP):
            return Group.KEPT
        if self.gain is None:
            return Group.FAILED
        if self.gain > 0:
            return Group.NEAR
        return Group.HARM if self.gain <= HARMFUL else Group.BEHIND


def read(root: Path, past: History) -> list[Try]:
    """The latest edits of a branch, in the order of their verdicts."""
    if not past.runs:
        return []
    made_on, files = past.progress().made_on, past.files()
    ended = {
        run.challenger: run
        for run in past.runs
        if run.role == Role.CHALLENGER and run.verdict.final
    }
    latest = [(run, made_on[run.challenger]) for run in [*ended.values()][-REMEMBERED:]]
    # That of the branch: a lead may have two runs, which may be alike.
    deviation = 0.0 if past.missing() else past.outlook().noise.deviation
    return [
        _try(root, past, run, lead, files[lead].scores if lead in files else (), deviation)
        for run, lead in latest
    ]


def runs_of(past: History, commit: str) -> list[Run]:
    """The runs of a commit's file that have a score, whatever they were made for."""
    judged = (Role.CHALLENGER, Role.INCUMBENT)
    return [r for r in past.runs if r.scored and r.role in judged and r.commit == commit]


def _try(
    root: Path, past: History, last: Run, lead: str, others: Sequence[float], deviation: float
) -> Try:
    """What became of one edit.

    Args:
      root: the checkout.
      past: what was measured.
      last: the run that ended its trial.
      lead: the file that it was made on.
      others: that one's scores.
      deviation: between runs of one file; 0 where it is not known.
    """
    mine, theirs = runs_of(past, last.challenger), runs_of(past, lead)
    scores = past.scores(Role.CHALLENGER, last.challenger)
    asked = (r for r in past.runs if (r.challenger, r.role) == (last.challenger, Role.CHALLENGER))
    return Try(
        commit=last.challenger,
        description=next((run.description for run in asked), ""),
        verdict=last.verdict,
        reason=last.reason,
        scores=tuple(scores),
        gain=_gain(scores, others, deviation),
        pace=_multiple(*(_latest(root, runs, "steps_per_second") for runs in (mine, theirs))),
        updates=_multiple(*(_latest(root, runs, "num_updates") for runs in (mine, theirs))),
        run=last.run_id,
    )


def _gain(scores: Sequence[float], others: Sequence[float], deviation: float) -> float | None:
    """By how many deviations an edit's mean is ahead of that of the file that it was made on."""
    if not scores or not others or deviation <= 0:
        return None
    return (statistics.fmean(scores) - statistics.fmean(others)) / deviation


def _latest(root: Path, runs: Sequence[Run], figure: str) -> dict[str, float]:
    """A figure's median by task, over the latest runs."""
    tasks = max(len({run.task for run in runs}), 1)
    return medians(root, runs[-RUNS_LOOKED_AT * tasks :], figure)


def _multiple(mine: Mapping[str, float], theirs: Mapping[str, float]) -> float | None:
    """What multiple of theirs is mine, over the tasks that both have; None if there are none."""
    shared = mine.keys() & theirs.keys()
    return statistics.fmean(mine[t] / theirs[t] for t in shared) if shared else None
