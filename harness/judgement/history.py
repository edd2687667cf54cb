"""What the ledger says of one experiment branch."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence

from harness.judgement import confirmation, noise, objective, progress, search
from harness.judgement.progress import NAME_LENGTH, Progress, same
from harness.judgement.search import File, Outlook
from harness.measurement import startup
from harness.record.entries import (
    Entry,
    NightBegun,
    Role,
    Run,
    Status,
    Turn,
)

RUNS_PER_END = 10
"""Of an incumbent, for each time that a run of it was cut off: who cuts off what would be high, or
low, moves the mean of the others by 0.18 deviations at most, however often it is done."""

SEEN = (Role.CHALLENGER, Role.INCUMBENT, Role.CONFIRMATION)
"""Roles of runs that the search may see."""

COUNTED = (*SEEN, Role.ESTIMATE, Role.ABLATION)
"""Roles of runs that a night counts."""

FRESH = (Role.INCUMBENT, Role.ESTIMATE)
"""Roles of runs that are made of an incumbent for its own sake."""

STOPPED_COUNTS = 0.4
"""Of a run: most of the stopped ones end at a quarter of the budget, after their start."""

RunName = tuple[Role, str, str, int]
"""Role, edit, commit that ran, and replicate: names of commits are short."""

Failed = Callable[[Sequence[float]], float]
"""Which of the incumbents' returns stands for a run that failed: `min` or `max`."""


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What all runs of a branch share, fixed when it is begun.

    Attributes:
      tasks: their ids; the budget is for each of them.
      backends: that train them, in the same order.
      budget: seconds.
      episodes: of an evaluation.
      sandbox: the confinement of training and evaluation; the best there is if None.
      stopping: whether hopeless runs are stopped.
      num_seeds: policies that a run trains side by side. It is the same for all files, because a
        mean over more of them scatters less: an edit that had another number would be told apart
        by that.
    """

    tasks: tuple[str, ...]
    backends: tuple[str, ...]
    budget: float
    episodes: int
    sandbox: str | None = None
    stopping: bool = False
    num_seeds: int = 1

    @property
    def objective(self) -> str:
        """The tasks as one text, as on the command line and in the ledger."""
        return ",".join(self.tasks)


class History:
    """What the rows of a branch say, in their order.

    Scores are those of complete replicates (of all tasks), measured by the harness and the hardware
    as they are now: where somebody has changed them, what was measured before is another thing.

    Args:
      entries: of a ledger; the first rows of runs, where they are among them, tell seeds only.
      branch: its name.
      instrument: what measures now; see `measurement.instrument`.

    Attributes:
      runs: that have ended.
      turns: of agents, those of earlier nights included.
    """

    def __init__(self, entries: Sequence[Entry], branch: str, instrument: str) -> None:
        self._entries = [entry for entry in entries if entry.branch == branch]
        self._begun = [entry for entry in self._entries if isinstance(entry, Run)]
        self.runs = [run for run in self._begun if not run.begun]
        self.turns = [entry for entry in self._entries if isinstance(entry, Turn)]
        self.instrument = instrument
        self._progress: Progress | None = None

    def night(self) -> NightBegun | None:
        """The beginning of the last night; None if there was none."""
        nights = (entry for entry in reversed(self._entries) if isinstance(entry, NightBegun))
        return next(nights, None)

    def runs_since(self, night: NightBegun) -> int:
        """How many runs have ended since a night began; a stopped one is a part of one."""
        runs = (entry for entry in self._since(night) if isinstance(entry, Run))
        ended = (run for run in runs if not run.begun and run.role in COUNTED)
        return round(sum(STOPPED_COUNTS if run.status == Status.STOPPED else 1 for run in ended))

    def turns_since(self, night: NightBegun) -> int:
        """How many turns of its agent there were since a night began."""
        return sum(isinstance(entry, Turn) for entry in self._since(night))

    def _since(self, night: NightBegun) -> list[Entry]:
        return self._entries[self._entries.index(night) :]

    @functools.cached_property
    def conditions(self) -> Conditions | None:
        """Of its first runs; None if there are none."""
        if not self.runs:
            return None
        first = self.runs[0]
        tasks = tuple(first.objective.split(","))
        # A run that failed before it chose an engine has none to go on with.
        chosen = [row for row in self.runs if row.backend != "auto"]
        backends = {row.task: row.backend for row in reversed(chosen)}
        return Conditions(
            tasks=tasks,
            backends=tuple(backends.get(task, "auto") for task in tasks),
            budget=first.budget,
            episodes=first.episodes,
            sandbox=first.sandbox,
            stopping=first.stopping,
            num_seeds=first.num_seeds,
        )

    @property
    def incumbent(self) -> str:
        """The commit that was proved last, or that the branch began with."""
        return self.progress().incumbent

    @property
    def lead(self) -> str:
        """The commit that edits are made on; the incumbent's where no edit is ahead of it."""
        return self.progress().lead

    def verdict(self, challenger: str) -> Run | None:
        """The row that ended an edit's trial last; None while there is none."""
        return next((r for r in reversed(self.trial(challenger)) if r.verdict.final), None)

    def trial(self, challenger: str) -> list[Run]:
        """The runs of an edit's trial, in their order."""
        runs = (row for row in self.runs if row.role == Role.CHALLENGER)
        return [row for row in runs if same(row.challenger, challenger)]

    def last_run(self, commits: Sequence[str]) -> str:
        """The id of the last run of one of these commits; a name of theirs where none ran."""
        names = {commit[:NAME_LENGTH] for commit in commits}
        ran = (row.run_id for row in reversed(self.runs) if row.commit in names)
        return next(ran, commits[0][:NAME_LENGTH])

    def number(self, challenger: str) -> int:
        """Which challenger of the branch's life it is, from 1; a new one is the next.

        A trial that goes on with another instrument begins anew, and so is a new one.
        """
        mine = (row for row in self.runs if row.role == Role.CHALLENGER)
        tried = dict.fromkeys((row.challenger, row.harness) for row in mine)
        name = challenger[:NAME_LENGTH], self.instrument
        return [*tried, name].index(name) + 1

    def progress(self) -> Progress:
        """Where search and proof are."""
        if self._progress is None:
            self._progress = progress.reached(self._entries, self.runs[0].commit)
        return self._progress

    def files(self) -> dict[str, File]:
        """All files with the scores that the search may see, by their names."""
        return dict(self._files)

    @functools.cached_property
    def _files(self) -> dict[str, File]:
        there = self.progress()
        made_on = there.made_on
        found: dict[str, File] = {}
        for role, challenger, commit, replicate in self._replicates:
            if role not in SEEN:
                continue
            score = self.score(role, challenger, replicate, commit, max)
            if score is not None:
                found.setdefault(commit, there.file(commit))
                found[commit] = with_score(found[commit], role, score)
        for name in made_on:
            found.setdefault(name, there.file(name))
        return found

    @functools.cached_property
    def _replicates(self) -> dict[RunName, list[Run]]:
        """The runs of each replicate that were measured as it is now, the first ones first."""
        found: dict[RunName, list[Run]] = defaultdict(list)
        for row in self.runs:
            if row.harness == self.instrument:
                found[_name(row.role, row.challenger, row.commit, row.replicate)].append(row)
        return dict(found)

    def outlook(self) -> Outlook:
        """What is believed of all files; the incumbent has its runs."""
        return self._outlook

    @functools.cached_property
    def _outlook(self) -> Outlook:
        there = self.progress()
        return Outlook(self.files(), there.incumbent, there.stack)

    def measured_by(self, instrument: str) -> "History":
        """The same branch for whom another instrument's scores count."""
        return History(self._entries, self._entries[0].branch, instrument)

    def before(self, entry: Entry) -> "History":
        """The same branch as it was before one of its rows."""
        earlier = self._entries[: self._entries.index(entry)]
        return History(earlier, entry.branch, self.instrument)

    def margin(self) -> float:
        """By less than how much a simpler file may be worse, in scores; 0 while that is not known.

        In deviations of the file that it is compared with, or of all files where that is less: an
        edit that scatters gives no other one room.
        """
        there = self._files.get(self.progress().yardstick)
        if there is None or len(there.scores) < search.BASELINE_RUNS:
            return 0.0
        own = noise.fit([there.scores]).deviation
        return confirmation.TOLERANCE * min(own, self.outlook().noise.deviation)

    def replicate(
        self, role: Role, challenger: str, replicate: int, commit: str = "", failed: Failed = min
    ) -> dict[str, float]:
        """The returns by task of one replicate, as far as it was measured; see `fails_fresh`.

        Args:
          role: of the runs.
          challenger: for which edit they were made.
          replicate: its number.
          commit: that ran; the challenger's own if empty.
          failed: which return of the incumbents a fresh run that failed counts as.
        """
        mine = self.attempts(role, challenger, replicate, commit)
        found = {row.task: row.avg_return for row in mine if row.avg_return is not None}
        for row in mine:
            if fails_fresh(row) and (known := self._of_incumbents(row.task)):
                found.setdefault(row.task, failed(known))
        return found

    def attempts(
        self, role: Role, challenger: str, replicate: int, commit: str = ""
    ) -> Sequence[Run]:
        """The runs of one replicate, measured as it is now. Arguments as of `replicate`."""
        name = _name(role, challenger, commit or challenger, replicate)
        return self._replicates.get(name, ())

    def scores(self, role: Role, challenger: str, commit: str = "") -> list[float]:
        """The scores of the replicates of a role beside (or of) a challenger, up to a gap."""
        found: list[float] = []
        while (score := self.score(role, challenger, len(found) + 1, commit)) is not None:
            found.append(score)
        return found

    def score(
        self, role: Role, challenger: str, replicate: int, commit: str = "", failed: Failed = min
    ) -> float | None:
        """The score of a replicate; None while it is not complete. Arguments as of `replicate`."""
        conditions = self.conditions
        if conditions is None:
            return None
        returns = self.replicate(role, challenger, replicate, commit, failed)
        if not all(task in returns for task in conditions.tasks):
            return None
        return objective.score(conditions.tasks, returns)

    def _of_incumbents(self, task: str) -> list[float]:
        return incumbents_returns(self.runs, task, self.instrument)

    def fresh(self) -> list[float]:
        """The runs that the incumbent's estimate is the mean of.

        No decision rests on them, or they are the baseline's: of a branch's first file, until it
        has others.
        """
        estimate = self.scores(Role.ESTIMATE, self.incumbent)
        return estimate or self.scores(Role.INCUMBENT, self.incumbent)

    def baseline(self) -> list[float]:
        """The runs of the file that the branch began with, before anything was tried."""
        return self.scores(Role.INCUMBENT, self.runs[0].commit)

    @property
    def knows_incumbent(self) -> bool:
        """Whether the incumbent has the runs without which nothing is compared with it."""
        return self._seen() >= search.BASELINE_RUNS

    def _seen(self) -> int:
        """How many runs of the incumbent the search may see."""
        there = self._files.get(self.incumbent)
        return len(there.scores) if there else 0

    def missing(self) -> list[tuple[Role, int]]:
        """The runs of the incumbent that are to be made before anything else."""
        if self.incumbent == self.progress().proved:
            needed = max(search.ESTIMATE_RUNS, RUNS_PER_END * self.ends())
            lacking = self.lacking(needed, Role.ESTIMATE)
            if lacking:
                return lacking
        if self.knows_incumbent:
            return []
        own = len(self.scores(Role.INCUMBENT, self.incumbent))
        return self.lacking(own + search.BASELINE_RUNS - self._seen())

    def lacking(self, count: int, role: Role = Role.INCUMBENT) -> list[tuple[Role, int]]:
        """The first `count` runs of a role of the incumbent that are not there."""
        numbers = range(1, count + 1)
        return [(role, n) for n in numbers if self.score(role, self.incumbent, n) is None]

    def cut_off(self, role: Role, challenger: str = "", commit: str = "") -> list[Run]:
        """The runs of a role that had begun and that something else than their file has ended.

        Args:
          role: of the runs.
          challenger: for which edit they were made; any if empty.
          commit: that ran; any if empty.
        """
        return [
            row
            for row in self.runs
            if row.role == role
            and (not challenger or same(row.challenger, challenger))
            and (not commit or same(row.commit, commit))
            and row.harness == self.instrument
            and row.status.cut_off
            and row.seed is not None
        ]

    def ends(self) -> int:
        """How often runs of the estimate were cut off; all that ended with the harness are once.

        Whoever ends the harness ends every run that goes on, and can choose among them no more.
        """
        cut_off = self.cut_off(Role.ESTIMATE, commit=self.incumbent)
        count = 0
        together: set[tuple[str, int, str]] = set()
        for row in self.runs:
            if row in cut_off:
                name = (row.challenger, row.replicate, row.task)
                if row.status != Status.INTERRUPTED or not together or name in together:
                    count, together = count + 1, set()
                together |= {name} if row.status == Status.INTERRUPTED else set()
            elif row.role == Role.ESTIMATE and row.seed is not None:
                together = set()
        return count

    def seed(
        self, role: Role, challenger: str, replicate: int, commit: str, task: str
    ) -> int | None:
        """The seed of a run that was begun before, however it ended, or has not; None if none was.

        It is drawn once: who ends, holds or hides a run gets no other one.
        """
        mine = (
            row
            for row in self._begun
            if (row.role, row.replicate, row.task) == (role, replicate, task)
            and same(row.challenger, challenger)
            and same(row.commit, commit)
            and row.harness == self.instrument
            and row.seed is not None
        )
        return next((row.seed for row in mine), None)

    def allowance(self, task: str) -> float | None:
        """Seconds of start-up that are free in a run of the branch; None while it is not fixed.

        From what its first file took on the task, whatever measured it.
        """
        conditions = self.conditions
        known = [row for row in self.runs if row.role == Role.INCUMBENT and row.startup is not None]
        mine = [r for r in known if r.commit == r.challenger == known[0].commit and r.task == task]
        if conditions is None or len(mine) < search.BASELINE_RUNS:
            return None
        startups = [row.startup or 0.0 for row in mine[: search.BASELINE_RUNS]]
        return startup.allowance(startups, conditions.budget)

    def transferred(self, commit: str, task: str) -> float | None:
        """The return of a commit's file on a task that it was tried on; None if it was not."""
        return self.replicate(Role.TRANSFER, commit, 1).get(task)


def with_score(file: File, role: Role, score: float) -> File:
    """A file after one more run in a role."""
    looks = file.looks + (role == Role.CHALLENGER)
    return dataclasses.replace(file, scores=(*file.scores, score), looks=looks)


def _name(role: Role, challenger: str, commit: str, replicate: int) -> RunName:
    return role, challenger[:NAME_LENGTH], commit[:NAME_LENGTH], replicate


def fails_fresh(row: Run) -> bool:
    """Whether a row is of an incumbent's run that was measured for its own sake, and failed.

    In an estimate it counts as the lowest, and as the highest where an edit is compared. If it were
    made again, a file could fail where its own return is low, and be measured without its bad runs.
    """
    return row.role in FRESH and same(row.commit, row.challenger) and row.status.at_fault


def incumbents_returns(rows: Sequence[Run], task: str, instrument: str) -> list[float]:
    """The returns on a task of all runs of incumbents."""
    return [
        row.avg_return
        for row in rows
        if row.role in FRESH
        and (row.task, row.harness) == (task, instrument)
        and row.avg_return is not None
    ]
