"""A place where runs are measured by the words of their training file, in no time.

Everything else of an experiment is real: the ledger, git, the rule.
"""

import contextlib
import random
import statistics
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from harness.contract.order import Order
from harness.contract.reports import RETURN
from harness.errors import TrainingError
from harness.evaluate import Evaluation
from harness.measurement import scoring, sites
from harness.measurement.sites import Measurement
from harness.measurement.training import Training
from harness.places import CURVE, LEDGER, TRAIN_FILE
from harness.record.entries import Run
from harness.record.ledger import Ledger
from harness.system import storage

UPDATES = 20
"""Of a run that reports: one every twentieth of its budget."""

STARTUP = 60.0
"""Seconds: what a real run after it may take without losing some of its budget."""


class KilledError(BaseException):
    """What a SIGKILL does, in a process that can be looked at afterwards."""


class FakeSite:
    """As `sites.Site`; `SKILL = x` in the training file gives scores around x, `crash` none.

    Args:
      slots: how many measurements it makes at a time.
      instrument: what measures; what measures here if None.
      score: of a run by its order and its training file; by its skill if None.
      reported: what a run reports all the time, by its training file and the score that it would
        have; nothing if None. A run that reports too little is stopped where its order says.

    Attributes:
      before: called with the ledger's row of a run before it is measured; may raise.
      after: called with the row and the measurement; may change it, or raise.
      stopped: how often `stop` was called.
    """

    def __init__(
        self,
        slots: int = 1,
        instrument: str | None = None,
        score: Callable[[Order, str], float] | None = None,
        reported: Callable[[str, float], float] | None = None,
    ) -> None:
        self.slots = slots
        self.instrument = instrument or sites.here().instrument
        self.before: Callable[[Run], object] = lambda row: None
        self.after: Callable[[Run, Measurement], object] = lambda row, measured: None
        self.stopped = 0
        self._score = score or self._by_skill
        self._reported = reported
        self._noise = random.Random(0)

    def measure(self, order, folder, root, watch, announce) -> Measurement:
        rows = Ledger(root / LEDGER).read().entries
        row = next(row for row in reversed(rows) if row.run_id == folder.name)
        self.before(row)
        text = (folder / TRAIN_FILE).read_text()
        score = self._score(order, text)
        scores = _about(score, order.assignment.num_seeds)
        budget = order.assignment.budget
        training = Training(budget, begun=0.0, clock_start=STARTUP, stops=order.stops)
        if self._reported is not None:
            self._report(training, self._reported(text, score))
            sites._write_curve(folder / CURVE, training)
        ended = training.stopped is not None
        measured = Measurement(training, () if ended else scores)
        self.after(row, measured)
        return measured

    def _report(self, training: Training, value: float) -> None:
        """All reports of a run, as far as it goes."""
        for update in range(1, UPDATES + 1):
            seconds = update / UPDATES * training.budget
            training.look(STARTUP + seconds)
            if training.stopped is not None:
                return
            training.curve.append((seconds, update, {RETURN: value}))

    def stop(self) -> None:
        self.stopped += 1

    def _by_skill(self, order: Order, text: str) -> float:
        words = text.split()
        if "crash" in words:
            raise TrainingError("as the file wants it")
        return float(words[2]) + self._noise.gauss(0, 1)

    @contextlib.contextmanager
    def ending(self, which: Callable[[Run, float], bool], error: BaseException) -> Iterator[None]:
        """Runs end with an error instead of their score, where `which` of row and score is so."""

        def end(row: Run, measured: Measurement) -> None:
            if which(row, statistics.fmean(measured.scores[0].evaluation.returns)):
                raise error

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self, "after", end)
            yield

    @contextlib.contextmanager
    def killing(self, which: Callable[[Run, float], bool]) -> Iterator[None]:
        """The same, by a kill of the harness, which writes nothing any more."""

        def dead(*arguments: object) -> NoReturn:
            raise KilledError

        with pytest.MonkeyPatch.context() as patch:

            def kill(row: Run, score: float) -> bool:
                if which(row, score):
                    patch.setattr(Ledger, "conclude", dead)
                    patch.setattr(storage, "replace", dead)
                    return True
                return False

            with self.ending(kill, KilledError()):
                yield


def _about(score: float, count: int) -> tuple[scoring.Score, ...]:
    """Of so many policies, no two alike, whose mean is the score."""
    middle = (count - 1) / 2
    return tuple(
        scoring.Score(Evaluation([score + k - middle] * 2, [1, 1], [0, 1], 0.0), f"{k:02x}", "00")
        for k in range(count)
    )
