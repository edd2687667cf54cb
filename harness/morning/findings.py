"""What a night's ledger says, in the order in which it happened: the report's figures."""

import dataclasses
import json
import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError, LedgerError
from harness.evaluate import MAX_RETURN
from harness.judgement import estimate, objective
from harness.judgement.history import NAME_LENGTH, fails_fresh, incumbents_returns
from harness.places import SUMMARY, TURN, run_folder
from harness.record.entries import ALONE, Entry, Fate, Role, Run, Status, Verdict, stamp
from harness.record.ledger import Ledger

ENOUGH = 5
"""Runs from which an interval stands for them; fewer are all shown."""

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
      reason: of the verdict, in words.
      scores: of its replicates.
      against: scores of the incumbent that were known at the verdict.
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
      since: number of the experiment that made it the incumbent; 0 for the first.
      fresh: scores that no decision was made on.
      single: all scores of its runs but those that it was kept for: what one run is like.
      runs: ids of the fresh ones.
    """

    commit: str
    since: int
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
class Findings:
    """Of one experiment branch.

    Attributes:
      branch: its name.
      tasks: of the objective.
      budget: seconds of each training.
      instrument: what measured.
      experiments: in their order.
      reigns: in their order; the last one is the incumbent.
      transfers: returns by task and commit.
      rows: of the branch.
    """

    branch: str
    tasks: tuple[str, ...]
    budget: float
    instrument: str
    experiments: list[Experiment]
    reigns: list[Reign]
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
        """The experiments that made a new incumbent."""
        return [e for e in self.experiments if e.outcome == Fate.KEEP]

    @property
    def hours(self) -> float:
        """From the first row's beginning to the last one's, without the pauses between nights."""
        stamps = sorted(stamp(row) for row in self.rows)
        gaps = [(b - a).total_seconds() for a, b in zip(stamps, stamps[1:], strict=False)]
        return sum(gap for gap in gaps if gap <= LONGEST_PAUSE + self.budget) / 3600


def span(scores: Sequence[float]) -> tuple[float, float]:
    """What stands for scores: the 95 % interval of their mean; their range where they are few."""
    if len(scores) < ENOUGH:
        return min(scores), max(scores)
    return estimate.interval(scores)


def read(ledger: Path, branch: str = "") -> Findings:
    """Read a ledger.

    Args:
      ledger: its file.
      branch: whose rows; the one that was worked on last if empty.

    Raises:
      InputError: there is no ledger, no such branch, or nothing was measured on it yet.
      LedgerError: it is damaged.
    """
    if not ledger.exists():
        raise InputError(f"There is no file {ledger}; a first run (harness.run) makes results.tsv.")
    rows = Ledger(ledger).rows()
    names = [row.branch for row in rows if row.branch != ALONE]
    if not names:
        raise InputError(
            f"{ledger} has no experiment branch to report on: harness.loop or harness.run --init "
            "begins one."
        )
    name = branch or names[-1]
    mine = [row for row in rows if row.branch == name]
    if not mine:
        raise InputError(f"{ledger} has no branch {name}; it has {', '.join(sorted(set(names)))}.")
    for row in mine:
        check(row, ledger)
    return _Reader(mine).findings(name)


def check(row: Entry, ledger: Path) -> None:
    """Make sure that a row holds what is read from it.

    Raises:
      LedgerError: it does not.
    """
    try:
        whole = re.fullmatch(r"\d{8}-\d{6}-\w+", row.run_id) is not None
        whole = whole and stamp(row) is not None
        figures = [row.budget, row.avg_return or 0.0] if isinstance(row, Run) else []
        whole = whole and all(abs(figure) <= MAX_RETURN for figure in figures)
    except ValueError:
        whole = False
    if not whole:
        raise LedgerError(
            f"The row of run {row.run_id!r} in {ledger} holds no time, or a figure that is none. "
            "The harness has not written it so: restore the ledger from a copy."
        )


def figure(value: float) -> str:
    """A score as a reader wants it: no more digits than mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class _Reader:
    """Goes through a branch's rows once."""

    def __init__(self, rows: Sequence[Entry]) -> None:
        self._all = list(rows)
        self._rows = runs = [row for row in rows if isinstance(row, Run)]
        self._tasks = tuple(runs[0].objective.split(","))
        self._instrument = next((r.harness for r in reversed(runs) if r.scored), runs[0].harness)
        self._returns: dict[tuple[str, str, str, int], dict[str, float]] = {}
        self._trials: dict[str, list[Run]] = {}
        self._against: dict[str, list[float]] = {}

    def findings(self, name: str) -> Findings:
        """All of them.

        Raises:
          InputError: the baseline is not measured yet.
        """
        single: dict[str, list[float]] = {}
        fresh: dict[str, list[tuple[str, float]]] = {}
        reign = self._rows[0].commit[:NAME_LENGTH]
        order = [(reign, 0)]
        transfers: dict[str, dict[str, float]] = {}
        for row in self._rows:
            score = self._score(row)
            if row.role == Role.INCUMBENT and score is not None:
                single.setdefault(row.commit, []).append(score)
                if row.commit == row.challenger:
                    fresh.setdefault(row.commit, []).append((row.run_id, score))
            elif row.role == Role.CHALLENGER:
                self._trials.setdefault(row.challenger, []).append(row)
                own = self._scores(self._trials.get(reign, []))
                self._against[row.challenger] = [*own, *single.get(reign, [])]
                if row.verdict == Verdict.KEEP:
                    reign = row.challenger
                    order.append((reign, [*self._trials].index(reign) + 1))
            elif row.role == Role.TRANSFER and row.avg_return is not None:
                transfers.setdefault(row.task, {})[row.commit] = row.avg_return
        reigns = [
            Reign(
                commit=commit,
                since=since,
                fresh=[score for _, score in fresh[commit]],
                single=single[commit],
                runs=[run_id for run_id, _ in fresh[commit]],
            )
            for commit, since in order
            if commit in fresh
        ]
        if not reigns:
            raise InputError(f"On {name} the baseline is not measured yet: there is no score.")
        experiments = [
            self._experiment(number, commit) for number, commit in enumerate(self._trials, start=1)
        ]
        return Findings(
            branch=name,
            tasks=self._tasks,
            budget=self._rows[0].budget,
            instrument=self._instrument,
            experiments=experiments,
            reigns=reigns,
            transfers=transfers,
            rows=self._all,
        )

    def _score(self, row: Run) -> float | None:
        """The score of the replicate that a row completes; None where it does not."""
        if row.harness != self._instrument or not (row.scored or fails_fresh(row)):
            return None
        known = incumbents_returns(self._rows, row.task, self._instrument)
        own = min(known, default=None) if row.avg_return is None else row.avg_return
        if own is None:
            return None
        key = (row.role, row.commit, row.challenger, row.replicate)
        returns = self._returns.setdefault(key, {})
        returns[row.task] = own
        if set(self._tasks) - set(returns):
            return None
        return objective.score(self._tasks, returns)

    def _experiment(self, number: int, commit: str) -> Experiment:
        rows = self._trials[commit]
        ended = next((row for row in rows if row.verdict.final), None)
        outcome = Fate(ended.verdict) if ended else Fate.ON_TRIAL
        if ended and not ended.status.decided:
            outcome = Fate.STOPPED if ended.status == Status.STOPPED else Fate.CRASH
        return Experiment(
            number=number,
            commit=commit,
            description=rows[0].description,
            outcome=outcome,
            reason=ended.reason if ended else "",
            scores=list(self._scores(rows)),
            against=self._against[commit],
            runs=[row.run_id for row in rows],
        )

    def _scores(self, rows: Sequence[Run]) -> Iterable[float]:
        """Of the complete replicates of a trial."""
        for replicate in dict.fromkeys(row.replicate for row in rows):
            key = (Role.CHALLENGER, rows[0].commit, rows[0].challenger, replicate)
            returns = self._returns.get(key, {})
            if not set(self._tasks) - set(returns):
                yield objective.score(self._tasks, returns)


@dataclasses.dataclass(frozen=True)
class Hours:
    """Where the time of a night went, in hours.

    Attributes:
      agent: for its turns.
      starting: imports and compilation, before the clock of a training runs.
      training: on the clock.
      evaluation: of policies.
      other: the rest: the harness, and waiting.
    """

    agent: float
    starting: float
    training: float
    evaluation: float
    other: float


def hours(found: Findings, root: Path) -> Hours:
    """Where the time went, from what the runs left in `root`; runs without a folder are other."""
    spent = {"agent": 0.0, "starting": 0.0, "training": 0.0, "evaluation": 0.0}
    latest = 0.0
    for row in found.rows:
        details = details_of(root, row.run_id)
        spent["agent"] += details.get("seconds", 0.0)
        spent["starting"] += details.get("startup_seconds", 0.0)
        spent["training"] += details.get("training_seconds", 0.0)
        spent["evaluation"] += details.get("eval_seconds", 0.0)
        latest = details.get("total_seconds", 0.0)
    whole = found.hours + latest / 3600
    parts = {name: seconds / 3600 for name, seconds in spent.items()}
    return Hours(**parts, other=max(whole - sum(parts.values()), 0.0))


def details_of(root: Path, run_id: str) -> dict[str, Any]:
    """What a run's summary.json or a turn's turn.json holds; nothing where there is none."""
    for name in (SUMMARY, TURN):
        try:
            return json.loads((run_folder(root, run_id) / name).read_text())
        except (OSError, ValueError):
            continue
    return {}
