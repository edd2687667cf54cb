"""One measurement: a training and the evaluation of its policy, here or on another machine.

A measurement knows nothing of ledgers and verdicts. It gets an order, works in a folder, and comes
back as a value, so that it can be made wherever the harness is.
"""

import csv
import dataclasses
import functools
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.contract.artifact import Artifact
from harness.contract.order import Order
from harness.errors import (
    EndedError,
    IntegrityError,
    OutOfTimeError,
    PolicyError,
    StandstillError,
    TrainingError,
)
from harness.evaluate import Evaluation
from harness.measurement import instrument, kernels, scoring
from harness.measurement.child import train
from harness.measurement.training import Training
from harness.places import CURVE, LOG, policy_folder
from harness.system import machine, processes, words

LOG_TAIL = 25
"""Lines of train.log that a message about a crash shows."""

LOG_WIDTH = 1000
"""Characters of such a line: a program may print megabytes without an end of a line."""

LITTLE = 0.75
"""Share of a start-up in processor time below which it waited: imports and compilation take all of
a core, or more."""

RETURN = "charts/episodic_return"
"""The metric of a curve that says how good the training policy is; NaN where no episode ended."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What came of it.

    Attributes:
      training: how it went.
      scores: of the policy of each seed, in the reference simulator; none where the training was
        stopped.
      second: in the second one, where that was asked for.
      machine: in words.
      versions: of Python and what is installed, see `machine`.
      variables: of the shell that reached it, likewise.
      doubt: what the training said of its device, if that is not the instrument's, and whether
        Warp's kernels were missing; see `instrument.doubt`, `kernels.doubt`.
    """

    training: Training
    scores: tuple[scoring.Score, ...]
    second: tuple[Evaluation, ...] = ()
    machine: str = ""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    variables: list[str] = dataclasses.field(default_factory=list)
    doubt: str = ""


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
    tool = instrument.described()
    return Site(tool, 1, functools.partial(measure, tool=tool))


def measure(
    order: Order,
    folder: Path,
    root: Path,
    watch: Watch = lambda training: None,
    announce: Announce = lambda text: None,
    tool: str = "",
) -> Measurement:
    """Train once and score each policy, on this machine; a training that is stopped has no score.

    Args:
      order: what to measure.
      folder: holds `TRAIN_FILE`; train.log, curve.csv and policy/ are left there.
      root: the checkout; a confined process sees nothing of its runs.
      watch: see `Watch`.
      announce: see `Announce`.
      tool: the instrument that has to measure; empty for whatever does.

    Raises:
      TrainingError: there is no policy.
      PolicyError: it was refused, or failed.
      StandstillError: we stood still meanwhile.
      IntegrityError: what measured is not what was to measure.
    """
    try:
        compiled = kernels.ready(order.assignment, tool)
        training = _train(order, folder, root, watch, compiled)
        scores: tuple[scoring.Score, ...] = ()
        second: tuple[Evaluation, ...] = ()
        if training.stopped is None:
            scores, second = _scored(training, order, root, announce)
        _check(tool)
    except BaseException:
        with processes.uninterrupted():
            processes.end_all()
        raise
    return Measurement(
        training, scores, second,
        machine=instrument.where(), versions=machine.versions(), variables=machine.variables(),
        doubt=" ".join(filter(None, (
            instrument.doubt(training.device), kernels.doubt(compiled, training.backend),
        ))),
    )  # fmt: skip


def _scored(
    training: Training, order: Order, root: Path, announce: Announce
) -> tuple[tuple[scoring.Score, ...], tuple[Evaluation, ...]]:
    """The score of each of a training's policies, and what it gives in the second simulator.

    Raises:
      PolicyError: one was refused, or failed.
    """
    scores: list[scoring.Score] = []
    second: list[Evaluation] = []
    limit = scoring.EVALUATION_LIMIT / max(training.num_seeds, 1)
    for number, artifact in enumerate(training.policies, start=1):
        which = f"policy {number} of {training.num_seeds}: " if training.num_seeds > 1 else ""
        told = partial(_announced, announce, which)
        try:
            score, again = _scored_alone(artifact, order, root, told, limit)
        except PolicyError as error:
            raise type(error)(f"{which.capitalize()}{error}") from error
        scores.append(score)
        second += again
    return tuple(scores), tuple(second)


def _announced(announce: Announce, which: str, text: str) -> None:
    """What is done now, and to which policy."""
    announce(f"{which}{text}")


def _scored_alone(
    artifact: Artifact, order: Order, root: Path, announce: Announce, limit: float
) -> tuple[scoring.Score, list[Evaluation]]:
    """The same of one policy: by processes, a nonce and seeds of its own, whatever others do.

    Raises:
      PolicyError: it was refused, or failed.
    """
    announce(f"evaluating {order.episodes} episodes")
    place, task_id = scoring.Place(root, order.confinement), order.assignment.task_id
    score = scoring.score(artifact, task_id, order.episodes, place, limit)
    if order.eval_engine is None:
        return score, []
    announce(f"evaluating in {order.eval_engine}")
    seeds = score.evaluation.seeds
    again = scoring.evaluate_apart(artifact, task_id, seeds, order.eval_engine, place, limit)
    return score, [again]


def _check(wanted: str) -> None:
    """Make sure that the machine which has measured is what it was; others look at the harness.

    Raises:
      IntegrityError: it is not that of the instrument which was to measure.
    """
    before, now = wanted.partition(" ")[2], instrument.equipment()
    if before and before != now:
        raise IntegrityError(
            f"What measures has changed since the command began: it was {before}, and is {now}. "
            "Start the command again; what was measured before is then measured anew."
        )


def _train(order: Order, folder: Path, root: Path, watch: Watch, compiled: Path | None) -> Training:
    """Train; the training has a policy, which is saved, or was stopped.

    Raises:
      TrainingError: it has none, or never started its clock.
      StandstillError: we stood still meanwhile.
    """
    training = train(order, folder, root, watch, compiled)
    _write_curve(folder / CURVE, training)
    for index, artifact in enumerate(training.policies if training.stopped is None else ()):
        artifact.save(policy_folder(folder, index))
    if training.unmeasured:
        raise StandstillError(
            f"The harness stood still for {training.stood_still:.1f} s while it held the clock "
            f"({training.budget:g} s): it was stopped, or the machine was frozen or asleep. The "
            "run measures nothing. Run it again, on a machine that stays awake."
        )
    if training.signal:
        raise EndedError(
            f"The training process was ended by signal {training.signal}: somebody has killed it, "
            "or the system had no memory left (dmesg says so). Nothing of the run counts."
        )
    if training.stopped is None and not (training.policies and training.started):
        raise _failure(training, folder / LOG, given=order.allowance is None)
    return training


def _failure(training: Training, log_file: Path, given: bool = True) -> TrainingError:
    """Why a training has no policy that counts, in words.

    Args:
      training: how it went.
      log_file: what it has printed.
      given: whether its budget is somebody's to give; that of a branch is fixed.
    """
    tail = log_tail(log_file)
    shown = f" Its last output:\n{words.quoted(tail)}" if tail else ""
    each = "" if training.num_seeds == 1 else "_each"
    if training.protocol_error:
        return TrainingError(
            f"The training process was ended, because it sent {training.protocol_error}. It may "
            f"talk to the harness through the calls of harness.trial only.{shown}"
        )
    if training.exit_code and not training.policies:
        return TrainingError(
            f"The training process ended with exit code {training.exit_code} before it published "
            f"a policy{_conditions()}.{shown}"
        )
    if not training.started:
        how = f"and ended after {training.startup_seconds:.0f} s (exit code {training.exit_code})"
        if training.clock_start is not None:
            how = f"in the {training.startup_seconds:.0f} s after which its clock started by itself"
            how += _processor(training)
        longer = " or give a longer --budget" if given else ""
        kind = OutOfTimeError if training.exit_code is None else TrainingError
        return kind(
            f"The training never called trial.start(), {how}. What it published does not count. "
            "Call trial.start() when everything is compiled; if compiling takes so long, compile "
            f"less{longer}.{shown}"
        )
    if training.exit_code is None or training.late:
        return OutOfTimeError(
            f"No policy was published within {training.budget:g} s. Call "
            f"trial.publish{each}(act, params) after every few updates, and check that one update "
            f"fits the budget.{shown}"
        )
    return TrainingError(
        f"The training process ended by itself and never called trial.publish{each}.{shown}"
    )


def _processor(training: Training) -> str:
    """What a start-up had of the processors, where that is known, and what follows from it."""
    had, seconds = training.startup_cpu_seconds, training.startup_seconds
    if not had:
        return ""
    said = f" ({had:.1f} s of processor time"
    return said + (": the machine is busy, or it waited)" if had < LITTLE * seconds else ")")


def _conditions() -> str:
    """Variables of the shell that reach a training, where there are some."""
    found = machine.variables()
    return f" (variables of the shell that reach it: {', '.join(found)})" if found else ""


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


def curve(folder: Path) -> list[dict[str, float]]:
    """The rows of the learning curve in a run's folder; none where there is none, or no folder."""
    try:
        with open(folder / CURVE, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            return [{name: float(cell) for name, cell in row.items()} for row in rows]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error):
        return []
