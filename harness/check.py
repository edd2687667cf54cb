"""`python -m harness.check`: does a training file work? A few seconds of it, without a score."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.checkout import branch
from harness.checkout.branch import Branch
from harness.confinement import sandbox, view
from harness.contract.order import MAX_SEEDS, Assignment, Order, draw_seed
from harness.engines import backends
from harness.evaluate import TASK, TIME_BUDGET
from harness.judgement import contest, objective
from harness.judgement.history import Conditions
from harness.measurement import rehearsal
from harness.measurement.rehearsal import Rehearsal
from harness.places import EDITABLE
from harness.terminal import cli, options

LOWEST_PRIORITY = 19
"""Of processes."""

PREALLOCATION = "XLA_PYTHON_CLIENT_PREALLOCATE"
"""JAX's variable; where it is `false`, three quarters of a GPU's memory are not reserved at once.
"""

UNCONFINED = (
    "note: nothing is confined here: a run sees no home, no network and no other files, and this "
    "check does."
)


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
        float, typer.Option(help="Of training, on each task.", min=1, max=rehearsal.LONGEST)
    ] = rehearsal.USUAL,
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
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Policies that are trained side by side; the branch's, or else 1, if left out.",
            min=1,
            max=MAX_SEEDS,
            envvar="AUTORL_SEEDS",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compile the training file, train for a few seconds, and say what is wrong, if anything.

    Everything is as in a run: the same confinement, the same clock, the same checks of the policy.
    But there is no score, no row in the ledger, and no verdict, and nothing is left behind.
    """
    laid = _conditions(task, budget, backend, no_sandbox, seeds)
    source = options.training_file(train or Path(EDITABLE))
    confinement = sandbox.available() if laid.sandbox is None else sandbox.demand(laid.sandbox)
    if confinement == sandbox.NONE:
        print(UNCONFINED, file=sys.stderr)
    _give_way(laid.backends)
    for task_id, engine in zip(laid.tasks, laid.backends, strict=True):
        assignment = Assignment(
            task_id, engine, draw_seed(), min(seconds, laid.budget), laid.num_seeds
        )
        print(f"checking {train or EDITABLE}: {task_id}, {assignment.budget:g} s", file=sys.stderr)
        seen = rehearsal.rehearse(
            source, Order(assignment, rehearsal.EPISODES, confinement), Path.cwd()
        )
        _print_block(task_id, seen, laid.budget)


def _conditions(
    task: str | None,
    budget: float | None,
    backend: str | None,
    no_sandbox: bool,
    seeds: int | None,
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
        rehearsal.EPISODES,
        sandbox.NONE if no_sandbox else there.sandbox if there else None,
        num_seeds=seeds or (there.num_seeds if there else 1),
    )


def _give_way(engines: Sequence[str]) -> None:
    """Leave the processors, and the memory of accelerators, to a measurement beside the check."""
    os.nice(LOWEST_PRIORITY)
    if view.accelerators() and backends.WARP not in engines:  # whose kernels would be other ones
        os.environ.setdefault(PREALLOCATION, "false")


def _print_block(task_id: str, seen: Rehearsal, budget: float) -> None:
    """The result on standard output, and on standard error what is to be noted."""
    shown = {
        "check": "ok",
        "task": task_id,
        "backend": seen.backend,
        "startup_seconds": f"{seen.startup_seconds:.2f}",
        "first_update_seconds": f"{seen.first_update_seconds:.2f}",
        "num_updates": seen.num_updates,
        "steps_per_update": seen.steps_per_update,
        "steps_per_second": f"{seen.steps_per_second:.2f}",
        "updates_in_budget": seen.updates_in(budget),
    }
    print("---", *(f"{name}: {value}" for name, value in shown.items()), sep="\n", flush=True)
    for note in seen.notes:
        print(f"note: {note}", file=sys.stderr)


if __name__ == "__main__":
    cli.serve(check)
