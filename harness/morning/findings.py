"""What was found of a night: the report's figures. `reader` finds it."""

import dataclasses
import statistics
from collections.abc import Sequence

from harness.judgement import estimate
from harness.judgement.progress import Progress
from harness.record.entries import Entry, Fate, Run, Verdict, stamp

BETWEEN = 0.5
"""Where, on an axis of experiments, that is which happened after one and before the next."""

LONGEST_PAUSE = 2 * 3600.0
"""Seconds, beside a run's own, in which nothing begins and after which nobody was at work: an hour
of waiting for an agent's provider, and a turn of it, are less."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One challenger.

    Attributes:
      number: from 1.
      commit: its name in the ledger.
      description: of the edit.
      outcome: what became of it.
      reason: of the last verdict, in words, and what came of it later.
      scores: of its replicates.
      against: scores of the lead that were known at the verdict.
      runs: ids, in their order.
    """

    number: int
    commit: str
    description: str
    outcome: Fate
    reason: str
    scores: list[float]
    against: list[float]
    runs: list[str]


@dataclasses.dataclass(frozen=True)
class Reign:
    """One incumbent.

    Attributes:
      commit: its name in the ledger.
      since: number of the experiment that made it the incumbent, or a place between two if a
        confirmation did; 0 for the first.
      fresh: scores that it is estimated by. Those of an edit no decision was made on; those of the
        first file are the baseline's where there are no others.
      single: all scores of its runs but those that it was kept for: what one run is like.
      runs: ids of the fresh ones.
    """

    commit: str
    since: float
    fresh: list[float]
    single: list[float]
    runs: list[str]

    @property
    def mean(self) -> float:
        """Its estimate."""
        return statistics.fmean(self.fresh)

    @property
    def span(self) -> tuple[float, float]:
        """See `span`; of the fresh runs."""
        return span(self.fresh)

    @property
    def band(self) -> tuple[float, float]:
        """Two standard deviations between runs around the mean: what noise alone gives."""
        spread = 2 * statistics.stdev(self.single) if len(self.single) > 1 else 0.0
        mean = statistics.fmean(self.single)
        return mean - spread, mean + spread


@dataclasses.dataclass(frozen=True)
class Lead:
    """A file that edits were made on.

    Attributes:
      commit: its name in the ledger; empty where the incumbent itself leads.
      since: as of a `Reign`.
      scores: of the runs that it was chosen for; their mean flatters it. None where the incumbent
        leads.
    """

    commit: str
    since: float
    scores: list[float]


@dataclasses.dataclass(frozen=True)
class Confirmation:
    """Runs of lead and incumbent, side by side.

    Attributes:
      number: of it in the branch's life, from 1.
      edits: numbers of the experiments that it is about.
      since: its place between two experiments.
      simpler: whether it asks if the lead is as good and simpler, and not if it is better.
      level: how often it may keep what changes nothing; or what is worse, where it asks for that.
      most: runs that were planned.
      verdict: `keep`, `unproved`, or `go on` where it has not ended.
      reason: of the verdict, in words; and how far the lead fell back.
      lead: scores.
      incumbent: scores.
    """

    number: int
    edits: list[int]
    since: float
    simpler: bool
    level: float
    most: int
    verdict: Verdict
    reason: str
    lead: list[float]
    incumbent: list[float]


@dataclasses.dataclass(frozen=True)
class Findings:
    """Of one experiment branch.

    Attributes:
      branch: its name.
      tasks: of the objective.
      budget: seconds of each training.
      instrument: what measured.
      experiments: in their order.
      reigns: in their order; the last one is the incumbent, once it has an estimate.
      leads: in their order; none where no edit was ahead of the incumbent.
      confirmations: in their order.
      proved: commits of the edits that are in the incumbent, in their order on the branch.
      simpler: those of them that are there because the file is as good with them, and simpler.
      progress: where search and proof are.
      transfers: returns by task and commit.
      rows: of the branch.
    """

    branch: str
    tasks: tuple[str, ...]
    budget: float
    instrument: str
    experiments: list[Experiment]
    reigns: list[Reign]
    leads: list[Lead]
    confirmations: list[Confirmation]
    proved: list[str]
    simpler: list[str]
    progress: Progress
    transfers: dict[str, dict[str, float]]
    rows: list[Entry]

    @property
    def runs(self) -> list[Run]:
        """Those of the rows that are runs."""
        return [row for row in self.rows if isinstance(row, Run)]

    @property
    def stopping(self) -> bool:
        """Whether hopeless runs are stopped."""
        return self.runs[0].stopping

    @property
    def kept(self) -> list[Experiment]:
        """The experiments that are proved to be better, in their order on the branch."""
        return self._named([commit for commit in self.proved if commit not in self.simpler])

    @property
    def simplified(self) -> list[Experiment]:
        """Those that are kept because the file is as good with them, and simpler."""
        return self._named(self.simpler)

    @property
    def inside(self) -> list[Experiment]:
        """Both, in their order on the branch."""
        return self._named(self.proved)

    @property
    def leading(self) -> list[Experiment]:
        """Those that are accepted on top of them, and not proved yet."""
        return self._named(self.progress.stack)

    def count(self, fate: Fate) -> int:
        """How many experiments have come to this."""
        return sum(e.outcome is fate for e in self.experiments)

    def _named(self, commits: Sequence[str]) -> list[Experiment]:
        there = {e.commit: e for e in self.experiments}
        return [there[commit] for commit in commits if commit in there]

    @property
    def hours(self) -> float:
        """From the first row's beginning to the last one's, without the pauses between nights."""
        stamps = sorted(stamp(row) for row in self.rows)
        gaps = [(b - a).total_seconds() for a, b in zip(stamps, stamps[1:], strict=False)]
        return sum(gap for gap in gaps if gap <= LONGEST_PAUSE + self.budget) / 3600


def span(scores: Sequence[float]) -> tuple[float, float]:
    """What stands for scores: the 95 % interval of their mean; their range where they are few."""
    if len(scores) < estimate.FEW:
        return min(scores), max(scores)
    return estimate.interval(scores)


def figure(value: float) -> str:
    """A score as a reader wants it: no more digits than mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
