"""What the ledger says of one experiment branch."""

import dataclasses
from collections.abc import Sequence

from harness import objective, verdict
from harness.ledger import Row

CHALLENGER, INCUMBENT, TRANSFER = "challenger", "incumbent", "transfer"
"""Roles of a run on a branch; `transfer` is one on any task, which decides nothing."""

FINAL = ("keep", "discard", "inconclusive")
"""Verdicts after which a challenger is run no more."""

NAME_LENGTH = 12
"""Characters of a commit's name in the ledger."""


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What all runs of a branch share, laid down when it is begun.

    Attributes:
      tasks: their ids; the budget is for each of them.
      backends: that train them, in the same order.
      budget: seconds.
      episodes: of an evaluation.
      confined: whether training and evaluation are.
    """

    tasks: tuple[str, ...]
    backends: tuple[str, ...]
    budget: float
    episodes: int
    confined: bool = True

    @property
    def objective(self) -> str:
        """The tasks as one text, as on the command line and in the ledger."""
        return ",".join(self.tasks)


class History:
    """The rows of a branch, in their order.

    Scores are those of complete replicates (of all tasks), measured by the harness as it is now:
    where somebody has changed it, what was measured before is another thing.

    Args:
      rows: of a ledger.
      branch: its name.
      harness: fingerprint of the harness as it is now.
    """

    def __init__(self, rows: Sequence[Row], branch: str, harness: str) -> None:
        self.rows = [row for row in rows if row.branch == branch]
        self._harness = harness

    @property
    def conditions(self) -> Conditions | None:
        """Of its first runs; None if there are none."""
        if not self.rows:
            return None
        first = self.rows[0]
        tasks = tuple(first.objective.split(","))
        backends = {row.task: row.backend for row in reversed(self.rows)}
        return Conditions(
            tasks=tasks,
            backends=tuple(backends.get(task, "auto") for task in tasks),
            budget=float(first.budget),
            episodes=int(first.episodes),
            confined=first.sandbox != "none",
        )

    @property
    def incumbent(self) -> str:
        """The commit that was kept last, or that the branch began with."""
        kept = [row.challenger for row in self.rows if row.verdict == "keep"]
        return kept[-1] if kept else self.rows[0].commit

    def verdict(self, challenger: str) -> Row | None:
        """The row that ended a challenger's trial; None while there is none."""
        mine = (row for row in self.rows if _same(row.challenger, challenger))
        return next((row for row in mine if row.verdict in FINAL), None)

    def number(self, challenger: str) -> int:
        """Which challenger of the branch's life it is, from 1; a new one is the next."""
        tried = dict.fromkeys(row.challenger for row in self.rows if row.role == CHALLENGER)
        name = challenger[:NAME_LENGTH]
        return [*tried, name].index(name) + 1

    def replicate(self, role: str, challenger: str, replicate: int) -> dict[str, float]:
        """The returns by task of one replicate, as far as it was measured."""
        return {
            row.task: float(row.avg_return)
            for row in self.rows
            if row.role == role
            and _same(row.challenger, challenger)
            and row.replicate == str(replicate)
            and row.harness == self._harness
            and row.avg_return
        }

    def scores(self, role: str, challenger: str) -> list[float]:
        """The scores of the complete replicates of a role beside (or of) a challenger."""
        conditions = self.conditions
        found: list[float] = []
        while conditions is not None:
            returns = self.replicate(role, challenger, len(found) + 1)
            if not all(task in returns for task in conditions.tasks):
                break
            found.append(objective.score(conditions.tasks, returns))
        return found

    def fresh(self) -> list[float]:
        """The runs of the incumbent that no decision was made on: its estimate is their mean."""
        return self.scores(INCUMBENT, self.incumbent)

    def baseline(self) -> list[float]:
        """The runs of the file that the branch began with, before anything was tried."""
        return self.scores(INCUMBENT, self.rows[0].commit)

    def missing(self) -> int:
        """How many such runs the incumbent still lacks."""
        own = len(self.scores(CHALLENGER, self.incumbent))
        return verdict.fresh_runs(own) - len(self.fresh())

    def before(self, challenger: str) -> list[float]:
        """All scores of the incumbent that were measured for others than this challenger."""
        incumbent = self.incumbent
        reign = self.rows
        for i, row in enumerate(self.rows):
            if row.verdict == "keep":
                reign = self.rows[i + 1 :]
        others = dict.fromkeys(
            row.challenger
            for row in reign
            if row.role == INCUMBENT and not _same(row.challenger, challenger)
        )
        beside = [score for other in others for score in self.scores(INCUMBENT, other)]
        return [*self.scores(CHALLENGER, incumbent), *beside]

    def beside(self, challenger: str) -> list[float]:
        """The incumbent's scores that were measured for this challenger."""
        return self.scores(INCUMBENT, challenger)

    def transferred(self, commit: str, task: str) -> float | None:
        """The return of a commit's file on a task that it was tried on; None if it was not."""
        return self.replicate(TRANSFER, commit, 1).get(task)


def _same(one: str, other: str) -> bool:
    """Whether two names, short or whole, are of one commit."""
    return one[:NAME_LENGTH] == other[:NAME_LENGTH]
