"""`python -m harness.check`: does a training file work? A few seconds of it, without a score."""

import dataclasses
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.checkout import branch
from harness.checkout.branch import Branch
from harness.confinement import sandbox, view
from harness.contract.order import Assignment, Order, draw_seed
from harness.engines import backends
from harness.errors import OutOfTimeError, PolicyError, TrainingError
from harness.evaluate import TASK, TIME_BUDGET
from harness.judgement import contest, objective
from harness.judgement.history import Conditions
from harness.measurement import sites
from harness.measurement.training import Training
from harness.places import EDITABLE, LOG, TRAIN_FILE
from harness.record.runs import curve
from harness.system import words
from harness.terminal import cli, options

SECONDS, LONGEST_CHECK = 5.0, 20.0
"""Of the training: what shows a slip, and at most; it is no way to compare returns."""

EPISODES = 1
"""That the policy plays, to see that it can. What it reaches is not told."""

LOWEST_PRIORITY = 19
"""Of processes."""

PREALLOCATION = "XLA_PYTHON_CLIENT_PREALLOCATE"
"""JAX's variable; where it is `false`, three quarters of a GPU's memory are not reserved at once.
"""

METRICS_NAMED = 10
"""Metrics in a note."""

AFTER_EPISODES = "charts/episodic"
"""How metrics begin that are NaN until an episode has ended."""

UNCONFINED = (
    "note: nothing is confined here: a run sees no home, no network and no other files, and this "
    "check does."
)


@dataclasses.dataclass(frozen=True)
class Checked:
    """What a check says of a file that works.

    Attributes:
      check: `ok`.
      task, backend: as in the ledger.
      startup_seconds: imports and compilation, from the start of the process to that of the clock.
      first_update_seconds: on the clock, at the first log message.
      num_updates: log messages.
      steps_per_update: environment steps.
      steps_per_second: from the end of the first update to the end of the last.
      updates_in_budget: how many fit into a whole training.
    """

    check: str
    task: str
    backend: str
    startup_seconds: float
    first_update_seconds: float
    num_updates: int
    steps_per_update: int
    steps_per_second: float
    updates_in_budget: int


def check(
    task: Annotated[
        str | None,
        typer.Option(
            help=f"Gymnasium ids with commas; the branch's, or else {TASK}, if left out.",
            envvar="AUTORL_TASK",
            show_default=False,
        ),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help=f"Training file; {EDITABLE} if left out.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Of training, on each task.", min=1, max=LONGEST_CHECK)
    ] = SECONDS,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Seconds of a whole training, to say how many updates fit; the branch's, or else "
            f"{TIME_BUDGET:g}, if left out.",
            envvar="AUTORL_BUDGET",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Engine that trains; the branch's, or else auto, if left out.",
            envvar="AUTORL_BACKEND",
            show_default=False,
        ),
    ] = None,
    no_sandbox: Annotated[
        bool,
        typer.Option("--no-sandbox", help="As in harness.run.", envvar="AUTORL_NO_SANDBOX"),
    ] = False,
) -> None:
    """Compile the training file, train for a few seconds, and say what is wrong, if anything.

    Everything is as in a run: the same confinement, the same clock, the same checks of the policy.
    But there is no score, no row in the ledger, and no verdict, and nothing is left behind.
    """
    laid = _conditions(task, budget, backend, no_sandbox)
    source = options.training_file(train or Path(EDITABLE))
    confinement = sandbox.available() if laid.sandbox is None else sandbox.demand(laid.sandbox)
    if confinement == sandbox.NONE:
        print(UNCONFINED, file=sys.stderr)
    _give_way(laid.backends)
    for task_id, engine in zip(laid.tasks, laid.backends, strict=True):
        assignment = Assignment(task_id, engine, draw_seed(), min(seconds, laid.budget))
        print(f"checking {train or EDITABLE}: {task_id}, {assignment.budget:g} s", file=sys.stderr)
        training, notes = _tried(source, Order(assignment, EPISODES, confinement))
        _print_block(_checked(training, assignment, laid.budget))
        for note in notes:
            print(f"note: {note}", file=sys.stderr)


def _conditions(
    task: str | None, budget: float | None, backend: str | None, no_sandbox: bool
) -> Conditions:
    """What the branch that is checked out has, and what was given instead.

    Raises:
      InputError: what was given cannot be.
    """
    tag = branch.current(Path.cwd())
    there = contest.known(Branch(Path.cwd(), tag)).conditions if tag else None
    tasks = objective.parse(task or (there.objective if there else TASK))
    same = there is not None and there.tasks == tasks
    engines = there.backends if there and same and not backend else (backend or "auto",)
    engines = engines if len(engines) == len(tasks) else engines * len(tasks)
    for task_id, engine in zip(tasks, engines, strict=True):
        options.check_task(task_id, engine)
    return Conditions(
        tasks,
        engines,
        options.check_budget(there.budget if there and budget is None else budget),
        EPISODES,
        sandbox.NONE if no_sandbox else there.sandbox if there else None,
    )


def _give_way(engines: Sequence[str]) -> None:
    """Leave the processors, and the memory of accelerators, to a measurement beside the check."""
    os.nice(LOWEST_PRIORITY)
    if view.accelerators() and backends.WARP not in engines:  # whose kernels would be other ones
        os.environ.setdefault(PREALLOCATION, "false")


def _tried(source: bytes, order: Order) -> tuple[Training, list[str]]:
    """Train and play an episode, in a folder that is gone then; with what is to be noted.

    Raises:
      TrainingError: it fails, also where a policy that counts was published before.
      PolicyError: the policy was refused, or failed.
      StandstillError: we stood still meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="autorl-check-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        (folder / TRAIN_FILE).write_bytes(source)
        try:
            measured = sites.measure(order, folder, Path.cwd())
        except OutOfTimeError as error:
            raise OutOfTimeError(f"{error}\n{_short(order.assignment.budget)}") from error
        except PolicyError as error:
            raise type(error)(f"{error}{_began(curve(folder))}") from error
        training = measured.training
        if fault := _fault(training):
            tail = words.quoted(sites.log_tail(folder / LOG))
            raise TrainingError(f"{fault} Its last output:\n{tail}")
        return training, [*_notes(training), *filter(None, [measured.doubt])]


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
        f"up to {LONGEST_CHECK:g}."
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
    if training.diverged:
        found.append(f"{training.diverged:g} episodes ended in NaN: the simulation broke down.")
    assert training.ended is not None
    if training.exit_code is not None and (left := training.time_left(training.ended)) > 0:
        found.append(f"it ended by itself, {left:.1f} s before its time was used up.")
    return found


def _checked(training: Training, assignment: Assignment, budget: float) -> Checked:
    """What a training that works tells of a whole one."""
    times = [seconds for seconds, _, _ in training.curve] or [assignment.budget]
    steps = [step for _, step, _ in training.curve] or [0]
    intervals = training.updates - 1
    each = (times[-1] - times[0]) / intervals if intervals > 0 else times[0]
    per_update = (steps[-1] - steps[0]) / intervals if intervals > 0 else steps[0]
    return Checked(
        check="ok",
        task=assignment.task_id,
        backend=training.backend or assignment.backend,
        startup_seconds=training.startup_seconds,
        first_update_seconds=times[0],
        num_updates=training.updates,
        steps_per_update=round(per_update),
        steps_per_second=training.steps_per_second,
        updates_in_budget=int(budget / max(each, 1e-9)) if training.updates else 0,
    )


def _print_block(checked: Checked) -> None:
    print("---")
    for name, value in dataclasses.asdict(checked).items():
        print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")
    sys.stdout.flush()


if __name__ == "__main__":
    cli.serve(check)
