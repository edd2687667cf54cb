"""`python -m harness.run`: one experiment, from start to score or verdict."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from harness import tasks
from harness.checkout import branch, holder, integrity, syntax
from harness.checkout.branch import Branch
from harness.confinement import sandbox
from harness.engines import backends
from harness.errors import InputError
from harness.evaluate import NUM_EVAL_EPISODES, TASK, TIME_BUDGET
from harness.judgement import contest, experiment, objective
from harness.judgement.contest import Contest, Outcome
from harness.judgement.experiment import Request, Summary
from harness.judgement.history import Conditions
from harness.measurement import tracking
from harness.places import EDITABLE, LEDGER
from harness.record.ledger import Ledger
from harness.terminal import cli
from harness.terminal.display import Display


def run(
    task: Annotated[
        str | None,
        typer.Option(
            help=f"Gymnasium id of the task; {TASK} if left out. With --init, several with commas.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help=f"Seconds of training on a task; {TIME_BUDGET:g} if left out.", show_default=False
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help="Engine that trains; auto is the fastest.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Of the training; drawn if left out.")] = None,
    train: Annotated[
        Path | None, typer.Option(help=f"Training file; {EDITABLE} if left out.")
    ] = None,
    message: Annotated[str, typer.Option(help="One line for the ledger and the commit.")] = "",
    eval_engine: Annotated[
        str | None,
        typer.Option(help="A second simulator to evaluate in, beside the reference: mjx."),
    ] = None,
    wandb: Annotated[
        str, typer.Option(metavar="PROJECT", help="Send metrics to Weights & Biases, too.")
    ] = "",
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Do not confine training and evaluation.")
    ] = False,
    episodes: Annotated[
        int | None,
        typer.Option(help=f"Of the evaluation; {NUM_EVAL_EPISODES} if left out.", min=1),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="TAG",
            help="Begin the experiment branch autorl/TAG here, under the conditions given with it, "
            "and measure the baseline.",
        ),
    ] = None,
    aa: Annotated[
        int | None,
        typer.Option(
            "--aa", metavar="N", help="Try N edits that change nothing, to test the rule.", min=1
        ),
    ] = None,
) -> None:
    """Train on a task for a fixed time, score the policy, and write it down.

    On an experiment branch (see --init) the training file is tried against the incumbent: it is
    committed, run as often as the keep rule asks for, and kept or set back. With --task, --budget,
    --backend, --seed, --train, --episodes or --no-sandbox it is one run that no verdict counts.
    """
    if wandb:
        tracking.use_wandb(wandb)
    task_ids = objective.parse(task or TASK)
    for one in task_ids:
        check_task(one, backend)
        if eval_engine is not None:
            backends.check_evaluation(tasks.get(one), eval_engine)
    by_hand = (task, budget, seed, train, episodes, eval_engine) != (None,) * 6
    conditions = Conditions(
        tasks=task_ids,
        backends=(backend,) * len(task_ids),
        budget=check_budget(budget),
        episodes=episodes or NUM_EVAL_EPISODES,
        sandbox=sandbox.NONE if no_sandbox else None,
    )
    if init is not None:
        if (seed, train, eval_engine, aa) != (None,) * 4:
            raise InputError("--init takes no --seed, --train, --eval-engine or --aa.")
        _check_syntax(Path.cwd() / EDITABLE)
        if (ongoing := _begun(init)) is not None:
            check_conditions(ongoing, init, task, budget, backend, episodes)
        with at_work(Path.cwd()):
            _begin(init, ongoing, conditions)
        return
    by_itself = by_hand or backend != "auto" or no_sandbox
    ongoing = None if by_itself else contest.resume(Path.cwd(), confinement, shown)
    if ongoing:
        with at_work(Path.cwd()):
            _challenge(ongoing, message, aa)
        return
    if aa is not None:
        raise InputError("--aa needs an experiment branch, and its conditions: --init makes one.")
    if len(task_ids) > 1:
        raise InputError("Several tasks are the objective of an experiment branch: give --init.")
    source = _check_syntax(train or Path(EDITABLE))
    request = Request(
        root=Path.cwd(),
        source=source,
        task_id=task_ids[0],
        backend=backend,
        seed=_seed(seed),
        budget=conditions.budget,
        episodes=conditions.episodes,
        message=message,
        confinement=confinement(conditions.sandbox),
        comparable=(seed, budget, episodes, train) == (None,) * 4,
        eval_engine=eval_engine,
    )
    with at_work(Path.cwd()):
        _print_block(shown(request))


@contextlib.contextmanager
def at_work(root: Path) -> Iterator[None]:
    """Be the one command that measures in a checkout, and say what its rows will not be worth.

    Raises:
      BusyError: another command does.
    """
    with holder.hold(root):
        for note in (Ledger(root / LEDGER).renew(), integrity.unguarded(root)):
            if note:
                print(note, file=sys.stderr)
        yield


def _begun(tag: str) -> Contest | None:
    """The contest of a branch that is checked out and has its first runs."""
    ongoing = contest.resume(Path.cwd(), confinement, shown)
    return ongoing if ongoing and ongoing.branch.tag == tag else None


def _begin(tag: str, started: Contest | None, conditions: Conditions) -> None:
    """Make a branch, or go on with one whose baseline is not measured yet."""
    root = Path.cwd()
    there = branch.current(root) == tag
    if not there:
        branch.check(root, tag)
    Ledger(root / LEDGER).prepare()  # before there is a branch, which could have no rows
    if started is None:
        made = Branch(root, tag) if there else branch.create(root, tag)
        started = Contest(made, conditions, confinement(conditions.sandbox), shown)
    started.settle()
    scores = started.measure()
    print("---")
    print(f"branch: {started.branch.name}")
    print(f"objective: {started.conditions.objective}")
    print(f"incumbent: {contest.estimate(scores)}")


def _challenge(ongoing: Contest, message: str, aa: int | None) -> None:
    """Try the file of the working tree; or, for an A/A test, files that change nothing."""
    if aa is None:
        _check_syntax(Path(EDITABLE))
        _print_outcome(ongoing, ongoing.challenge(message))
        return
    kept = 0
    for i in range(1, aa + 1):
        ongoing.settle()
        same = ongoing.branch.edit_of("tip") + f"# A/A {i}\n".encode()
        outcome = ongoing.challenge(f"A/A {i} of {aa}", same)
        kept += outcome.verdict == "keep"
        print(f"A/A {i}: {outcome.verdict}. {outcome.reason}", flush=True)
    print(f"---\nchallengers: {aa}\nfalse_keeps: {kept}")


def shown(request: Request) -> Summary:
    """One run, with a display where somebody looks."""
    part = request.part
    title = f"{request.task_id} {part.role} {part.replicate}" if part else request.task_id
    with Display(title, _standing(request)) as display:
        return experiment.run(request, display.watch, display.announce)


def _standing(request: Request) -> list[str]:
    """How the branch stands, for somebody who looks at a terminal; nothing where nobody does."""
    if request.part is None or not sys.stderr.isatty():
        return []
    from harness import status  # noqa: PLC0415  (charts, which a run without a terminal never needs)

    with contextlib.suppress(InputError):
        return ["", *status.lines(status.read(request.root))]
    return []


def _print_outcome(ongoing: Contest, outcome: Outcome) -> None:
    """The block of the challenger's last run, and how the verdict was reached."""
    if outcome.last is not None:
        _print_block(outcome.last)
    print(f"replicates: {len(outcome.scores)}")
    print(f"replicate_scores: {' '.join(f'{score:.2f}' for score in outcome.scores)}")
    print(f"incumbent: {contest.estimate(outcome.incumbent)}")
    print(f"branch: {ongoing.branch.name}")


def _print_block(summary: Summary) -> None:
    print("---")
    shown = {k: v for k, v in dataclasses.asdict(summary).items() if v is not None}
    for name, value in shown.items():
        print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")


def _check_syntax(path: Path) -> bytes:
    """The content of a file that exists and is Python."""
    if not path.is_file():
        raise InputError(
            f"There is no training file {path}. Run from the root of the checkout, or name a "
            "file with --train."
        )
    try:
        source = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    if fault := syntax.fault(source):
        raise InputError(f"Syntax error in {path}: {fault}. Nothing was run.")
    return source


def confinement(wanted: str | None) -> str:
    """What is wanted or was begun with; the best there is if None, or else a word to the user.

    Raises:
      InputError: what was begun with does not work here.
    """
    if wanted is not None:
        return sandbox.demand(wanted)
    kind = sandbox.available()
    if kind == sandbox.NONE:
        reasons = [sandbox.refusal(one) for one in (sandbox.BUBBLEWRAP, sandbox.NAMESPACES)]
        print(
            "note: this system can confine neither training nor evaluation: "
            f"{', and '.join(reasons)}. Do not run files that you do not trust.",
            file=sys.stderr,
        )
    return kind


def check_task(task_id: str, backend: str) -> None:
    """Complain about a task that is none or an engine that cannot run it, before anything starts.

    Raises:
      InputError: that is so.
    """
    backends.resolve(tasks.get(task_id), backend)


def check_budget(budget: float | None) -> float:
    """The seconds of a training.

    Raises:
      InputError: that is no positive number.
    """
    if budget is None:
        return TIME_BUDGET
    if not 0 < budget < float("inf"):
        raise InputError(f"--budget is {budget:g}; a positive number of seconds is needed.")
    return budget


def check_conditions(
    ongoing: Contest,
    tag: str,
    task: str | None,
    budget: float | None,
    backend: str | None,
    episodes: int | None = None,
) -> None:
    """Make sure that nothing else is asked for than what the branch has laid down.

    Args:
      ongoing: the contest of the branch that is checked out.
      tag: as given on the command line, empty if not; None for those that follow.
      task: likewise.
      budget: likewise.
      backend: likewise; `auto` is what the branch has.
      episodes: likewise.

    Raises:
      InputError: something else is.
    """
    laid = ongoing.conditions
    asked: dict[str, tuple[object, object]] = {
        "--tag": (tag or None, ongoing.branch.tag),
        "--task": (objective.parse(task) if task else None, laid.tasks),
        "--budget": (budget, laid.budget),
        "--backend": (None if backend in (None, "auto") else {backend}, set(laid.backends)),
        "--episodes": (episodes, laid.episodes),
    }
    names = [name for name, (want, has) in asked.items() if want is not None and want != has]
    if names:
        raise InputError(
            f"{ongoing.branch.name} is checked out, and its conditions hold: another "
            f"{', '.join(names)} would change nothing. Leave that out, or switch to where a new "
            "branch shall begin (git switch main)."
        )


def _seed(seed: int | None) -> int | None:
    if seed is not None and not 0 <= seed < 2**experiment.SEED_BITS:
        raise InputError(
            f"--seed is {seed}; a number from 0 to 2^{experiment.SEED_BITS} - 1 is needed."
        )
    return seed


if __name__ == "__main__":
    cli.serve(run)
