"""`python -m harness.run`: one experiment, from start to score."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import backends, cli, experiment, sandbox, tasks
from harness.display import Display
from harness.errors import InputError
from harness.evaluate import NUM_EVAL_EPISODES, TASK, TIME_BUDGET

TRAIN_FILE = Path("agent_space/train.py")


def run(
    task: Annotated[str, typer.Option(help="Gymnasium id of the task.")] = TASK,
    budget: Annotated[
        float | None,
        typer.Option(help=f"Seconds of training; {TIME_BUDGET:g} if left out.", show_default=False),
    ] = None,
    backend: Annotated[str, typer.Option(help="Engine that trains; auto is the fastest.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Of the training; drawn if left out.")] = None,
    train: Annotated[
        Path | None, typer.Option(help=f"Training file; {TRAIN_FILE} if left out.")
    ] = None,
    message: Annotated[str, typer.Option(help="One line for the ledger.")] = "",
    eval_engine: Annotated[
        str | None,
        typer.Option(help="A second simulator to evaluate in, beside the reference: mjx."),
    ] = None,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Do not confine training and evaluation.")
    ] = False,
    episodes: Annotated[
        int | None,
        typer.Option(help=f"Of the evaluation; {NUM_EVAL_EPISODES} if left out.", min=1),
    ] = None,
) -> None:
    """Train on a task for a fixed time, score the policy, and write it down.

    A run with --seed, --budget, --episodes or --train is marked as not comparable.
    """
    for engine in (backend, eval_engine or "auto"):
        backends.resolve(tasks.get(task), engine)  # complains before anything is started
    request = experiment.Request(
        root=Path.cwd(),
        train_file=_train_file(train or TRAIN_FILE),
        task_id=task,
        backend=backend,
        seed=_seed(seed),
        budget=_budget(budget),
        episodes=episodes or NUM_EVAL_EPISODES,
        message=message,
        confinement=_confinement(no_sandbox),
        comparable=(seed, budget, episodes, train) == (None, None, None, None),
        eval_engine=eval_engine,
    )
    with Display(task) as display:
        summary = experiment.run(request, display.watch, display.announce)
    print("---")
    shown = {k: v for k, v in dataclasses.asdict(summary).items() if v is not None}
    for name, value in shown.items():
        print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")


def _train_file(path: Path) -> Path:
    """A file that exists and is Python."""
    if not path.is_file():
        raise InputError(
            f"There is no training file {path}. Run from the root of the checkout, or name a "
            "file with --train."
        )
    try:
        compile(path.read_bytes(), str(path), "exec")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else str(path)
        raise InputError(f"Syntax error in {where}: {error}. Nothing was run.") from error
    return path.resolve()


def _confinement(no_sandbox: bool) -> str:
    """The best there is, unless the user wants none; without one, a word to the user."""
    if no_sandbox:
        return sandbox.NONE
    kind = sandbox.available()
    if kind == sandbox.NONE:
        print(
            "note: this system can confine neither training nor evaluation: bubblewrap is not "
            "installed, and namespaces are not allowed. Do not run files that you do not trust.",
            file=sys.stderr,
        )
    return kind


def _budget(budget: float | None) -> float:
    if budget is None:
        return TIME_BUDGET
    if not 0 < budget < float("inf"):
        raise InputError(f"--budget is {budget:g}; a positive number of seconds is needed.")
    return budget


def _seed(seed: int | None) -> int | None:
    if seed is not None and not 0 <= seed < 2**experiment.SEED_BITS:
        raise InputError(
            f"--seed is {seed}; a number from 0 to 2^{experiment.SEED_BITS} - 1 is needed."
        )
    return seed


if __name__ == "__main__":
    cli.serve(run)
