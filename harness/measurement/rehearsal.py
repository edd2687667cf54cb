"""A rehearsal: a few seconds of a training, for what they say of a whole one. It is no run.

It has a folder that is gone afterwards, no row, and no score: its policy plays to show that it can.
"""

import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.contract.order import Order
from harness.errors import OutOfTimeError, PolicyError, TrainingError
from harness.measurement import sites
from harness.measurement.training import Training
from harness.places import LOG, TRAIN_FILE
from harness.system import words

EPISODES = 1
"""That the policy plays. What it reaches is not told."""

USUAL, LONGEST = 5.0, 20.0
"""Seconds of training: what shows a slip, and at most; it is no way to compare returns."""

METRICS_NAMED = 10
"""In a note."""

AFTER_EPISODES = "charts/episodic"
"""How metrics begin that are NaN until an episode has ended."""


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """What a few seconds have shown of a file that works.

    Attributes:
      backend: the engine that it trained on.
      startup_seconds: imports and compilation, from the start of the process to that of the clock.
      first_update_seconds: on the clock, at the first log message.
      num_updates: log messages.
      steps_per_update: environment steps.
      steps_per_second: from the end of the first update to the end of the last.
      update_seconds: that one takes after the first.
      notes: what is no fault, and worth a look.
    """

    backend: str
    startup_seconds: float
    first_update_seconds: float
    num_updates: int
    steps_per_update: int
    steps_per_second: float
    update_seconds: float
    notes: tuple[str, ...]

    def updates_in(self, budget: float) -> int:
        """How many updates fit into so many seconds; 0 where none was seen."""
        if not self.num_updates:
            return 0
        return 1 + int(max(budget - self.first_update_seconds, 0) / max(self.update_seconds, 1e-9))


def rehearse(source: bytes, order: Order, root: Path) -> Rehearsal:
    """Train and have the policy play, on this machine.

    Args:
      source: the training file.
      order: of a few seconds, and `EPISODES`.
      root: the checkout.

    Raises:
      TrainingError: it fails, also where a policy that counts was published before.
      PolicyError: the policy was refused, or failed.
      StandstillError: we stood still meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="autorl-check-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        (folder / TRAIN_FILE).write_bytes(source)
        try:
            measured = sites.measure(order, folder, root)
        except OutOfTimeError as error:
            raise OutOfTimeError(f"{error}\n{_short(order.assignment.budget)}") from error
        except PolicyError as error:
            raise type(error)(f"{error}{_began(sites.curve(folder))}") from error
        training = measured.training
        if fault := _fault(training):
            tail = words.quoted(sites.log_tail(folder / LOG))
            raise TrainingError(f"{fault} Its last output:\n{tail}")
        return _seen(training, [*_notes(training), *filter(None, [measured.doubt])])


def _seen(training: Training, notes: Sequence[str]) -> Rehearsal:
    """What a training that works tells of a whole one."""
    curve = training.curve or [(training.budget, 0, {})]
    (begin, first, _), (end, last, _) = curve[0], curve[-1]
    intervals = training.updates - 1
    seconds, steps = begin, float(first)
    if intervals > 0:
        seconds, steps = (end - begin) / intervals, (last - first) / intervals
    return Rehearsal(
        backend=training.backend,
        startup_seconds=training.startup_seconds,
        first_update_seconds=begin,
        num_updates=training.updates,
        steps_per_update=round(steps),
        steps_per_second=training.steps_per_second,
        update_seconds=seconds,
        notes=tuple(notes),
    )


def _began(rows: Sequence[Mapping[str, float]]) -> str:
    """Where the metrics of a training ceased to be finite; nothing where they did not."""
    for row in rows:
        if wrong := _not_finite(row):
            return f" In this check {wrong} is NaN or infinite from {row['seconds']:.1f} s on."
    return ""


def _not_finite(metrics: Mapping[str, float]) -> str:
    """The names of metrics that are not, but should be."""
    wrong = [
        n for n, v in metrics.items() if not (math.isfinite(v) or n.startswith(AFTER_EPISODES))
    ]
    return ", ".join(wrong[:METRICS_NAMED])


def _short(seconds: float) -> str:
    """That a check is short, which may be all that is wrong."""
    return (
        f"This check has trained for {seconds:g} s. Where one update takes longer, --seconds gives "
        f"up to {LONGEST:g}."
    )


def _fault(training: Training) -> str:
    """What a training has done wrong that has a policy all the same; nothing if it is well."""
    after = words.counted(training.updates, "update")
    if training.protocol_error:
        return f"The training was ended after {after}, because it sent {training.protocol_error}."
    if training.exit_code:
        return f"The training ended with exit code {training.exit_code} after {after}."
    return ""


def _notes(training: Training) -> list[str]:
    """What is no fault, and worth a look."""
    found = []
    if not training.curve:
        found.append(f"trial.log was not called after any update. {_short(training.budget)}")
    if training.curve and (wrong := _not_finite(training.curve[-1][2])):
        found.append(f"NaN or infinite in the last update: {wrong}.")
    if count := training.breakdowns:
        told = words.counted(count, "episode")
        found.append(f"{told} ended because the simulation broke down.")
    assert training.ended is not None
    if training.exit_code is not None and (left := training.time_left(training.ended)) > 0:
        found.append(f"it ended by itself, {left:.1f} s before its time was used up.")
    return found
