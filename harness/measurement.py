"""One measurement: a training and the evaluation of its policy, here or on another machine.

A measurement knows nothing of ledgers and verdicts. It gets an order, works in a folder, and comes
back as a value, so that it can be made wherever the harness is.
"""

import contextlib
import csv
import dataclasses
import importlib.metadata
import math
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from harness import integrity, processes, scoring, words
from harness.errors import OutOfTimeError, TrainingError
from harness.evaluate import Evaluation
from harness.training import STARTUP_ALLOWANCE, Assignment, Training, train

PACKAGES = "jax jaxlib flax optax mujoco mujoco-mjx gymnasium envpool numpy".split()  # noqa: SIM905
"""Whose versions are recorded."""

LOG_TAIL = 25
"""Lines of train.log that a message about a crash shows."""

LOG_WIDTH = 1000
"""Characters of such a line: a program may print megabytes without an end of a line."""

TRAIN_FILE = "train.py"
"""The training file in a measurement's folder."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be measured; the training file is in the folder.

    Attributes:
      task_id: a Gymnasium id.
      backend: one of `backends.BACKENDS`.
      seed: of the training.
      budget: seconds of training.
      episodes: of the evaluation.
      confinement: of training and evaluation; see `sandbox`.
      eval_engine: a second simulator to evaluate in; None for no second figure.
    """

    task_id: str
    backend: str
    seed: int
    budget: float
    episodes: int
    confinement: str
    eval_engine: str | None = None


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What came of it.

    Attributes:
      training: how it went.
      score: in the reference simulator.
      second: in the second one, where that was asked for.
      machine: in words.
      versions: of Python and `PACKAGES`.
    """

    training: Training
    score: scoring.Score
    second: Evaluation | None = None
    machine: str = ""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)


Watch = Callable[[Training], None]
"""Called while a training runs, for display."""

Announce = Callable[[str], None]
"""Called with one line where a new phase begins."""

Measure = Callable[[Order, Path, Path, Watch, Announce], Measurement]
"""`measure`, or something that has it done elsewhere."""


@dataclasses.dataclass(frozen=True)
class Site:
    """Where measurements are made.

    Attributes:
      instrument: what measures, in words. Scores of another instrument are another thing.
      slots: how many measurements it makes at a time; more than these wait for each other.
      measure: makes one.
      stop: ends those that are under way, each with KeyboardInterrupt.
    """

    instrument: str
    slots: int
    measure: Measure
    stop: Callable[[], None] = lambda: None


def here() -> Site:
    """One measurement at a time, on this machine."""
    return Site(instrument(), 1, measure)


def instrument() -> str:
    """The harness as it is now, and the cores and accelerators that this process may use."""
    return f"{integrity.fingerprint()} {_hardware()}"


def measure(
    order: Order,
    folder: Path,
    root: Path,
    watch: Watch = lambda training: None,
    announce: Announce = lambda text: None,
) -> Measurement:
    """Train once and score the policy, on this machine.

    Args:
      order: what to measure.
      folder: holds `TRAIN_FILE`; train.log, curve.csv and policy/ are left there.
      root: the checkout; a confined process sees nothing of its runs.
      watch: see `Watch`.
      announce: see `Announce`.

    Raises:
      TrainingError: there is no policy.
      PolicyError: it was refused, or failed.
    """
    try:
        training = _train(order, folder, root, watch)
        announce(f"evaluating {order.episodes} episodes")
        place = scoring.Place(root, order.confinement)
        assert training.artifact is not None
        score = scoring.score(training.artifact, order.task_id, order.episodes, place)
        second = None
        if order.eval_engine is not None:
            announce(f"evaluating in {order.eval_engine}")
            second = scoring.evaluate_apart(
                training.artifact, order.task_id, score.evaluation.seeds, order.eval_engine, place
            )
    except BaseException:
        with processes.uninterrupted():
            processes.end_all()
        raise
    return Measurement(training, score, second, _machine(), _versions())


def _train(order: Order, folder: Path, root: Path, watch: Watch) -> Training:
    """Train; the training has a policy, which is saved.

    Raises:
      TrainingError: it has none.
    """
    assignment = Assignment(
        train_file=folder / TRAIN_FILE,
        task_id=order.task_id,
        backend=order.backend,
        seed=order.seed,
        budget=order.budget,
        confinement=order.confinement,
        root=root,
    )
    training = train(assignment, folder / "train.log", watch)
    _write_curve(folder / "curve.csv", training)
    if training.artifact is None:
        raise _failure(training, folder / "train.log")
    training.artifact.save(folder / "policy")
    return training


def _failure(training: Training, log_file: Path) -> TrainingError:
    """Why a training has no policy, in words."""
    tail = log_tail(log_file)
    shown = f" Its last output:\n{words.quoted(tail)}" if tail else ""
    if training.protocol_error:
        return TrainingError(
            f"The training process sent {training.protocol_error}. It may talk to the harness "
            f"through harness.trial only.{shown}"
        )
    if not training.started and training.exit_code is None:
        return OutOfTimeError(
            f"The training never called trial.start(): imports and compilation took longer than "
            f"the {STARTUP_ALLOWANCE:g} s that are free and the budget of {training.budget:g} s. "
            f"Compile less before the clock starts, or give a longer --budget.{shown}"
        )
    if training.exit_code is None or training.late:
        return OutOfTimeError(
            f"No policy was published within {training.budget:g} s. Call trial.publish(act, "
            f"params) after every few updates, and check that one update fits the budget.{shown}"
        )
    if training.exit_code != 0:
        return TrainingError(
            f"The training process ended with exit code {training.exit_code} before it published "
            f"a policy.{shown}"
        )
    return TrainingError(
        f"The training process ended by itself and never called trial.publish.{shown}"
    )


def log_tail(log_file: Path) -> str:
    """The last lines of what a training has printed, as it has printed them."""
    with open(log_file, "rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - LOG_TAIL * LOG_WIDTH, 0))
        lines = words.decoded(file.read()).rstrip().split("\n")[-LOG_TAIL:]
    return "\n".join(one[-LOG_WIDTH:] for one in lines)


def _write_curve(path: Path, training: Training) -> None:
    """One line a log message: seconds on the clock, environment steps, every metric."""
    names = sorted({name for _, _, metrics in training.curve for name in metrics})
    with open(path, "w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seconds", "step", *names])
        for seconds, step, metrics in training.curve:
            values = (metrics.get(name, math.nan) for name in names)
            writer.writerow([f"{seconds:.3f}", step, *(f"{value:.6g}" for value in values)])


def _machine() -> str:
    return f"{platform.machine()}, {_hardware()}, {platform.platform()}"


def _hardware() -> str:
    """As in `2x AMD EPYC 7763, 1x NVIDIA H200`: what this process may use."""
    affinity = sys.platform == "linux"
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count()
    gpus = _gpus()
    return f"{cores}x {_processor()}" + (f", {len(gpus)}x {gpus[0]}" if gpus else "")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Models of NVIDIA's, as the driver tells them, as many as CUDA_VISIBLE_DEVICES names."""
    models = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError):
            lines = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
            models += [value.strip() for name, value in lines if name == "Model"]
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return models if named is None else models[: len([n for n in named.split(",") if n])]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
