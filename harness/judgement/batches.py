"""Runs of a branch beside each other, and those of an incumbent that its estimate lacks."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from harness.checkout.branch import Branch
from harness.errors import (
    EndedError,
    HarnessError,
    IncumbentError,
    PolicyError,
    StandstillError,
    TrainingError,
    WorkerError,
)
from harness.judgement import search
from harness.judgement.experiment import Part
from harness.judgement.history import History
from harness.judgement.replicates import Replicates
from harness.measurement.sites import Site
from harness.record.entries import Role

LOST_RUNS = (WorkerError, StandstillError, EndedError)
"""Ends of a run after which it is made again without anybody's asking."""

FAILURES_IN_A_ROW = 3
"""Runs of an incumbent that fail or are lost one after the other, which ends the command."""

GIVEN_UP = 10
"""Runs of an incumbent that fail or are lost while it is measured, after which the command ends:
each of the lost ones asks for more runs, and where many are lost there would be no end."""

FAILED = (TrainingError, PolicyError)
"""Ends of an incumbent's run that are not told as errors: a few bad seeds must not end a night."""


class Batches:
    """Makes runs of a branch, as many at a time as there are slots.

    Args:
      branch: of which they are.
      replicates: makes one of them.
      site: where they are measured.
    """

    def __init__(self, branch: Branch, replicates: Replicates, site: Site) -> None:
        self.replicates = replicates
        self._branch = branch
        self._site = site

    def fill(self, lacking: Callable[[History], list[tuple[Role, int]]], message: str) -> History:
        """Make fresh runs of the incumbent, as many at a time as there are slots."""
        in_a_row = bad = 0
        while True:
            past = self.replicates.read()
            commit = past.incumbent if past.runs else self._branch.tip()
            first = range(1, search.BASELINE_RUNS + 1)
            numbers = lacking(past) if past.runs else [(Role.INCUMBENT, n) for n in first]
            if not numbers:
                return past
            parts = [self.replicates.part(role, commit, commit, n) for role, n in numbers]
            for failure in self.at_once(parts, message):
                if failure is None:
                    in_a_row = 0
                    continue
                in_a_row, bad = in_a_row + 1, bad + 1
                scored = any(run.scored for run in self.replicates.read().runs)
                hopeless = isinstance(failure, FAILED) and not scored
                if in_a_row == FAILURES_IN_A_ROW or bad == GIVEN_UP or hopeless:
                    raise _of_the_incumbent(failure) from failure

    def at_once(self, parts: Sequence[Part], message: str) -> Iterator[HarnessError | None]:
        """Run replicates, beside each other where there are slots; what each has failed with.

        Raises:
          HarnessError: one ended as none that is to be made again does, nor one that counts.
        """
        if self._site.slots == 1:
            for part in parts:
                yield self.attempt(part, message)
            return
        with ThreadPoolExecutor(self._site.slots) as pool:
            runs = [pool.submit(self.attempt, part, message) for part in parts]
            try:
                wait(runs)
            except KeyboardInterrupt:
                self._site.stop()
                raise
        yield from [run.result() for run in runs]

    def attempt(self, part: Part, message: str) -> HarnessError | None:
        """Run a replicate; what it has failed with. None of a confirmation that is over."""
        past = self.replicates.read()
        if part.role == Role.CONFIRMATION and past.progress().begun is None:
            return None
        try:
            self.replicates.make(past, part, message)
        except (*LOST_RUNS, *FAILED) as failure:
            return failure
        return None


def _of_the_incumbent(failure: HarnessError) -> HarnessError:
    """An error, told as one that no edit is to blame for."""
    if isinstance(failure, FAILED):
        return IncumbentError(f"The incumbent's own runs fail; no edit is to blame. {failure}")
    return failure
