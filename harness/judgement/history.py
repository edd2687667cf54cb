"""What the ledger says of one experiment branch."""

import dataclasses
from collections.abc import Callable, Sequence

from harness.judgement import objective, verdict
from harness.judgement.verdict import Look
from harness.measurement import startup
from harness.record.entries import Entry, NightBegun, Role, Run, Status, Turn, Verdict

RUNS_PER_END = 10
"""Of an incumbent, for each time that a run of it was cut off: who cuts off what would be high, or
low, moves the mean of the others by 0.18 deviations at most, however often it is done."""

NAME_LENGTH = 12
"""Characters of a commit's name in the ledger."""

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
    """

    tasks: tuple[str, ...]
    backends: tuple[str, ...]
    budget: float
    episodes: int
    sandbox: str | None = None

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

    def night(self) -> NightBegun | None:
        """The beginning of the last night; None if there was none."""
        nights = (entry for entry in reversed(self._entries) if isinstance(entry, NightBegun))
        return next(nights, None)

    def runs_since(self, night: NightBegun) -> int:
        """How many runs of challengers and incumbents have ended since a night began."""
        runs = (entry for entry in self._since(night) if isinstance(entry, Run))
        judged = (Role.CHALLENGER, Role.INCUMBENT)
        return sum(not run.begun and run.role in judged for run in runs)

    def turns_since(self, night: NightBegun) -> int:
        """How many turns of its agent there were since a night began."""
        return sum(isinstance(entry, Turn) for entry in self._since(night))

    def _since(self, night: NightBegun) -> list[Entry]:
        return self._entries[self._entries.index(night) :]

    @property
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
        )

    @property
    def incumbent(self) -> str:
        """The commit that was kept last, or that the branch began with."""
        kept = [row.challenger for row in self.runs if row.verdict == Verdict.KEEP]
        return kept[-1] if kept else self.runs[0].commit

    def verdict(self, challenger: str) -> Run | None:
        """The row that ended a challenger's trial; None while there is none."""
        mine = (row for row in self.runs if _same(row.challenger, challenger))
        return next((row for row in mine if row.verdict.final), None)

    def number(self, challenger: str) -> int:
        """Which challenger of the branch's life it is, from 1; a new one is the next.

        A trial that goes on with another instrument begins anew, and so is a new one.
        """
        mine = (row for row in self.runs if row.role == Role.CHALLENGER)
        tried = dict.fromkeys((row.challenger, row.harness) for row in mine)
        name = challenger[:NAME_LENGTH], self.instrument
        return [*tried, name].index(name) + 1

    def looks(self, challenger: str) -> list[Look]:
        """What each look at a challenger so far rested on."""
        found: list[Look] = []
        for i, row in enumerate(self.runs):
            if row.role != Role.CHALLENGER or not _same(row.challenger, challenger):
                continue
            after = History(self.runs[: i + 1], row.branch, self.instrument)
            runs = len(after.scores(Role.CHALLENGER, challenger))
            if runs > len(found):
                look = Look(len(after.before(challenger)), after.picks(challenger, runs))
                found += [look] * (runs - len(found))
        return found

    def picks(self, challenger: str, runs: int) -> int:
        """In how many ways so many replicates could have been picked, see `verdict.picks`."""
        tasks = self.runs[0].objective.count(",") + 1
        return verdict.picks(runs * tasks, len(self.cut_off(Role.CHALLENGER, challenger)))

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
        mine = [
            row
            for row in self.runs
            if row.role == role
            and _same(row.challenger, challenger)
            and _same(row.commit, commit or challenger)
            and row.replicate == replicate
            and row.harness == self.instrument
        ]
        found = {row.task: row.avg_return for row in mine if row.avg_return is not None}
        for row in mine:
            if fails_fresh(row) and (known := self._of_incumbents(row.task)):
                found.setdefault(row.task, failed(known))
        return found

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
        """The runs of the incumbent that no decision was made on: its estimate is their mean."""
        return self.scores(Role.INCUMBENT, self.incumbent)

    def baseline(self) -> list[float]:
        """The runs of the file that the branch began with, before anything was tried."""
        return self.scores(Role.INCUMBENT, self.runs[0].commit)

    def missing(self) -> list[int]:
        """The numbers of the runs that the incumbent's estimate lacks."""
        incumbent = self.incumbent
        needed = verdict.fresh_runs(len(self.scores(Role.CHALLENGER, incumbent)))
        return self.lacking(max(needed, RUNS_PER_END * self.ends()))

    def lacking(self, count: int) -> list[int]:
        """The numbers of the first `count` fresh runs of the incumbent that are not there."""
        numbers = range(1, count + 1)
        return [n for n in numbers if self.score(Role.INCUMBENT, self.incumbent, n) is None]

    def before(self, challenger: str) -> list[float]:
        """All scores of the incumbent that were measured for others than this challenger.

        Those that it was kept for come first, the others in the order of their runs. What failed
        counts as the highest here: whoever fails, or is made to fail, lowers no bar.
        """
        incumbent = self.incumbent
        others = {
            (row.challenger, row.replicate): None
            for row in self.runs
            if row.role == Role.INCUMBENT
            and _same(row.commit, incumbent)
            and not _same(row.challenger, challenger)
        }
        found = (self.score(Role.INCUMBENT, other, n, incumbent, max) for other, n in others)
        own = self.scores(Role.CHALLENGER, incumbent)
        return [*own, *(score for score in found if score is not None)]

    def beside(self, challenger: str) -> list[float]:
        """The incumbent's scores that were measured for this challenger.

        Runs that failed are not among them: who fails here may know that it is compared.
        """
        there = self._there(challenger)
        scores = (self.score(Role.INCUMBENT, challenger, n, self.incumbent) for n in there)
        return [score for score in scores if score is not None]

    def next_beside(self, challenger: str) -> int:
        """The number of the incumbent's next run for this challenger."""
        return max(self._there(challenger), default=0) + 1

    def _there(self, challenger: str) -> list[int]:
        """The numbers of the incumbent's runs for this challenger that are made, or have failed."""
        failed = {
            row.replicate
            for row in self.runs
            if row.role == Role.INCUMBENT
            and _same(row.challenger, challenger)
            and _same(row.commit, self.incumbent)
            and row.harness == self.instrument
            and row.status.at_fault
        }
        found: list[int] = []
        while (n := len(found) + 1) in failed or (
            self.score(Role.INCUMBENT, challenger, n, self.incumbent) is not None
        ):
            found.append(n)
        return found

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
            and (not challenger or _same(row.challenger, challenger))
            and (not commit or _same(row.commit, commit))
            and row.harness == self.instrument
            and not row.scored
            and not row.status.at_fault
            and row.seed is not None
        ]

    def ends(self) -> int:
        """How often runs of the incumbent were cut off; all that ended with the harness are once.

        Whoever ends the harness ends every run that goes on, and can choose among them no more.
        """
        cut_off = self.cut_off(Role.INCUMBENT, commit=self.incumbent)
        count = 0
        together: set[tuple[str, int, str]] = set()
        for row in self.runs:
            if row in cut_off:
                name = (row.challenger, row.replicate, row.task)
                if row.status != Status.INTERRUPTED or not together or name in together:
                    count, together = count + 1, set()
                together |= {name} if row.status == Status.INTERRUPTED else set()
            elif row.role == Role.INCUMBENT and row.seed is not None:
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
            and _same(row.challenger, challenger)
            and _same(row.commit, commit)
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
        if conditions is None or len(mine) < verdict.FRESH_RUNS:
            return None
        startups = [row.startup or 0.0 for row in mine[: verdict.BASELINE_RUNS]]
        return startup.allowance(startups, conditions.budget)

    def transferred(self, commit: str, task: str) -> float | None:
        """The return of a commit's file on a task that it was tried on; None if it was not."""
        return self.replicate(Role.TRANSFER, commit, 1).get(task)


def _same(one: str, other: str) -> bool:
    """Whether two names, short or whole, are of one commit."""
    return one[:NAME_LENGTH] == other[:NAME_LENGTH]


def fails_fresh(row: Run) -> bool:
    """Whether a row is of an incumbent's run that was measured for its own sake, and failed.

    In an estimate it counts as the lowest, and as the highest where an edit is compared. If it were
    made again, a file could fail where its own return is low, and be measured without its bad runs.
    """
    return row.role == Role.INCUMBENT and _same(row.commit, row.challenger) and row.status.at_fault


def incumbents_returns(rows: Sequence[Run], task: str, instrument: str) -> list[float]:
    """The returns on a task of all runs of incumbents."""
    return [
        row.avg_return
        for row in rows
        if (row.role, row.task, row.harness) == (Role.INCUMBENT, task, instrument)
        and row.avg_return is not None
    ]
