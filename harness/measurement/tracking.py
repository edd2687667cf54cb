"""A run's metrics for the trackers that people have: TensorBoard, and Weights & Biases if asked.

Written by the harness from what the training has logged, after the run: the training file does not
know of it, and no tracker takes a second of its budget. A tracker that fails costs a note, no run.
"""

import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import errors
from harness.measurement.training import Training
from harness.system import words

MAX_POINTS = 1000
"""Log messages of a run that trackers get, evenly spread: a millisecond each."""

WANDB_VARIABLE = "AUTORL_WANDB"
"""Holds the project of Weights & Biases, for this process and those that it starts."""


@dataclasses.dataclass(frozen=True)
class Point:
    """The metrics of one log message.

    Attributes:
      step: environment steps.
      seconds: on the clock.
      metrics: by name, as the training file logs them; finite ones only.
    """

    step: int
    seconds: float
    metrics: dict[str, float]


def points(training: Training) -> Iterator[Point]:
    """What a training has logged, thinned out to `MAX_POINTS`."""
    for seconds, step, metrics in training.curve[:: len(training.curve) // MAX_POINTS + 1]:
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        yield Point(step, seconds, finite)


def track(folder: Path, training: Training, summary: dict[str, Any]) -> None:
    """Write a run's metrics to the trackers.

    Args:
      folder: of the run; TensorBoard's event file goes there.
      training: with its curve.
      summary: of the run, by name; numbers become `eval/` metrics, the rest text.
    """
    _attempt("TensorBoard", lambda: _tensorboard(folder, training, summary))
    project = os.environ.get(WANDB_VARIABLE)
    if project:
        _attempt("Weights & Biases", lambda: _wandb(project, folder, training, summary))


def use_wandb(project: str) -> None:
    """Send the metrics of this process's runs to a project of Weights & Biases, too.

    Raises:
      InputError: its package is missing, or broken.
    """
    try:
        import wandb  # noqa: F401, PLC0415  (an optional extra)
    except ImportError as error:
        raise errors.without("wandb", "wandb", error) from error
    os.environ[WANDB_VARIABLE] = project


def _attempt(name: str, write: Callable[[], None]) -> None:
    """Do it, or say that it could not be done."""
    try:
        write()
    except Exception as error:  # whatever a tracker does, the run is recorded
        said = words.line(str(error))
        print(f"note: {name} has no metrics of this run: {said}", file=sys.stderr)


def _tensorboard(folder: Path, training: Training, summary: dict[str, Any]) -> None:
    """An event file under the names that CleanRL's users know."""
    from tensorboardX import SummaryWriter  # noqa: PLC0415  (slow to import)

    began = time.time() - summary["total_seconds"]
    last = 0
    with SummaryWriter(str(folder), write_to_disk=True) as writer:
        for point in points(training):
            last = point.step
            for name, value in point.metrics.items():
                writer.add_scalar(name, value, point.step, walltime=began + point.seconds)
        for name, value in _results(summary).items():
            writer.add_scalar(name, value, last)
        writer.add_text("run", "  \n".join(f"{key}: {value}" for key, value in summary.items()))


def _wandb(project: str, folder: Path, training: Training, summary: dict[str, Any]) -> None:
    """A run of Weights & Biases, with the same names."""
    import wandb  # noqa: PLC0415

    texts = {key: value for key, value in summary.items() if not isinstance(value, float)}
    settings = wandb.Settings(console="off", silent=True)
    run = wandb.init(
        project=project, dir=str(folder), id=summary["run_id"], config=texts, settings=settings
    )
    for point in points(training):
        run.log({**point.metrics, "seconds": point.seconds}, step=point.step)
    run.summary.update(_results(summary))
    run.finish()


def _results(summary: dict[str, Any]) -> dict[str, float]:
    """The figures of the evaluation and of the run."""
    return {f"eval/{key}": value for key, value in summary.items() if isinstance(value, float)}
