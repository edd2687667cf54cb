"""The runs of a branch, a replicate at a time, under the conditions that all of them share."""

from collections.abc import Callable
from datetime import UTC, datetime

from harness.checkout.branch import Branch
from harness.contract.order import Assignment, Order, Stop, draw_seed
from harness.judgement import rulings
from harness.judgement.experiment import Part, Request
from harness.judgement.history import Conditions, History
from harness.judgement.progress import NAME_LENGTH
from harness.judgement.summaries import Summary
from harness.measurement.sites import Site
from harness.places import LEDGER
from harness.record.entries import Entry, Role, Run, Status
from harness.record.ledger import Ledger
from harness.record.life import Ruling
from harness.record.snapshot import Snapshot

Runner = Callable[[Request], Summary]
"""Makes one run: `experiment.run`, with or without a display."""


class Replicates:
    """Makes runs of a branch, each ruled on from all that were made before it.

    Args:
      branch: of which they are.
      conditions: of all of them.
      confinement: of `sandbox`.
      run: makes one.
      site: where they are measured.
    """

    def __init__(
        self, branch: Branch, conditions: Conditions, confinement: str, run: Runner, site: Site
    ) -> None:
        self._branch = branch
        self._conditions = conditions
        self._confinement = confinement
        self._run = run
        self._site = site

    def read(self) -> History:
        """What was measured, as the ledger has it now."""
        return self.of(Ledger(self._branch.root / LEDGER).read())

    def of(self, there: Snapshot) -> History:
        """What a ledger says of the branch."""
        return History(there.entries, self._branch.name, self._site.instrument)

    def conclude(self, decide: Callable[[History], Entry]) -> History:
        """Add a row that follows from what the ledger holds; what it says with that."""
        ledger = Ledger(self._branch.root / LEDGER)
        return self.of(ledger.conclude(lambda there: decide(self.of(there))))

    def circumstances(self, past: History, name: str) -> dict[str, str]:
        """What rows that are no runs have, by their fields."""
        return {
            "run_id": f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}",
            "commit": past.incumbent,
            "branch": self._branch.name,
            "harness": self._site.instrument,
        }

    def make(
        self, past: History, part: Part, message: str, stops: tuple[Stop, ...] = ()
    ) -> Summary | None:
        """Run a replicate's tasks, those that are not there yet; the summary of the last."""
        there = past.replicate(part.role, part.challenger, part.replicate, part.commit)
        backends = dict(zip(self._conditions.tasks, self._conditions.backends, strict=True))
        summary = None
        for task in self._conditions.tasks:
            if task not in there:
                summary = self.run(past, task, backends[task], part, message, stops)
        return summary

    def run(
        self, past: History, task: str, backend: str, part: Part, message: str,
        stops: tuple[Stop, ...] = (),
    ) -> Summary:  # fmt: skip
        """Make one run; arguments as of `request`."""
        return self._run(self.request(past, task, backend, part, message, stops))

    def part(self, role: Role, commit: str, challenger: str, replicate: int) -> Part:
        """Which part a run has; the commits' names may be whole."""
        return Part(
            branch=self._branch.name,
            role=role,
            commit=commit[:NAME_LENGTH],
            challenger=challenger[:NAME_LENGTH],
            replicate=replicate,
            objective=self._conditions.objective,
            stopping=self._conditions.stopping,
        )

    def request(
        self, past: History, task: str, backend: str, part: Part, message: str,
        stops: tuple[Stop, ...] = (),
    ) -> Request:  # fmt: skip
        """A run of the branch.

        Args:
          past: what was measured.
          task: one of the branch's, or any for a transfer.
          backend: that trains it.
          part: of the run.
          message: for the ledger.
          stops: where the run ends early: a challenger's only, on a branch of one task that has
            stopping as one of its conditions.
        """
        if stops:
            conditions = self._conditions
            assert conditions.stopping, conditions
            assert len(conditions.tasks) == 1, conditions
            assert part.role == Role.CHALLENGER, part
        seed = past.seed(part.role, part.challenger, part.replicate, part.commit, task)
        seed = draw_seed() if seed is None else seed
        return Request(
            root=self._branch.root,
            source=self._branch.edit_of(part.commit),
            order=Order(
                Assignment(
                    task, backend, seed, self._conditions.budget, self._conditions.num_seeds
                ),
                episodes=self._conditions.episodes,
                confinement=self._confinement,
                allowance=past.allowance(task),
                stops=stops,
            ),
            message=message,
            comparable=True,
            part=part,
            judge=lambda there, status, score: self.rule(there, part, task, status, score),
            site=self._site,
        )

    def rule(
        self, there: Snapshot, part: Part, task: str, status: Status, score: float | None
    ) -> Ruling:
        """The ruling on a run, from the ledger so far and its own score."""
        return rulings.rule(self.of(there), self._conditions.tasks, part, task, status, score)

    def rule_on_killed(self, there: Snapshot, run: Run) -> Ruling:
        """The ruling on a run whose harness was killed, from its first row."""
        part = self.part(run.role, run.commit, run.challenger, run.replicate)
        return self.rule(there, part, run.task, Status.INTERRUPTED, None)
