"""`python -m harness.run`: one experiment, from start to score or verdict."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import tasks
from harness.checkout import beginning, branch
from harness.checkout.branch import Branch
from harness.confinement import sandbox
from harness.contract.order import MAX_SEEDS, SEED_BITS, Assignment, Order, draw_seed
from harness.engines import backends
from harness.errors import HarnessError, InputError, LedgerError
from harness.evaluate import NUM_EVAL_EPISODES, TASK, TIME_BUDGET
from harness.judgement import contest, estimate, objective
from harness.judgement.contest import Contest, Outcome
from harness.judgement.experiment import Request
from harness.judgement.history import Conditions, History
from harness.judgement.summaries import Summary
from harness.measurement import tracking
from harness.morning import aftermath, meaning, reader
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Role, Run, Verdict
from harness.record.ledger import Ledger
from harness.system import words
from harness.terminal import cli, options

TRY = 'harness.run --message "what was changed, why"'
"""The command that tries an edit."""


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
    seed: Annotated[
        int | None, typer.Option(help="Seed of the training; drawn if left out.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help=f"Training file; {EDITABLE} if left out.")
    ] = None,
    message: Annotated[str, typer.Option(help="One line for the ledger and the commit.")] = "",
    eval_engine: Annotated[
        str | None,
        typer.Option(help="A second simulator to evaluate in, next to the reference: mjx."),
    ] = None,
    wandb: Annotated[
        str, typer.Option(metavar="PROJECT", help="Send metrics to Weights & Biases, too.")
    ] = "",
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Do not confine training and evaluation.")
    ] = False,
    episodes: Annotated[
        int | None,
        typer.Option(help=f"Episodes of the evaluation; {NUM_EVAL_EPISODES} if left out.", min=1),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Policies that one training trains side by side, where there is an accelerator; 1 "
            "if left out.",
            min=1,
            max=MAX_SEEDS,
            show_default=False,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="TAG",
            help="Begin the experiment branch autorl/TAG here, under the conditions given with it, "
            "and measure the baseline.",
        ),
    ] = None,
    start: options.From = None,
    no_stopping: Annotated[
        bool,
        typer.Option(
            "--no-stopping",
            help="With --init: hopeless runs of the branch are not stopped before their end.",
        ),
    ] = False,
    aa: Annotated[
        int | None,
        typer.Option(
            "--aa", metavar="N", help="Try N edits that change nothing, to test the rule.", min=1
        ),
    ] = None,
    confirm: Annotated[
        bool,
        typer.Option(
            "--confirm",
            help="On a branch: prove the lead now, by runs of it and the incumbent side by side.",
        ),
    ] = False,
) -> None:
    """Train on a task for a fixed time, score the policy, and write it down.

    On an experiment branch (see --init) the training file is tried against the lead: it is
    committed, run as often as the keep rule asks for, and leads or is set aside. What leads is
    proved against the incumbent when it is far ahead, or with --confirm. With --task, --budget,
    --backend, --seed, --seeds, --train, --episodes or --no-sandbox it is one run that no verdict
    counts.
    """
    if wandb:
        tracking.use_wandb(wandb)
    task_ids = objective.parse(task or TASK)
    for one in task_ids:
        options.check_task(one, backend)
        if eval_engine is not None:
            backends.check_evaluation(tasks.get(one), eval_engine)
    by_hand = (task, budget, seed, train, episodes, eval_engine, seeds) != (None,) * 7
    conditions = Conditions(
        tasks=task_ids,
        backends=(backend,) * len(task_ids),
        budget=options.check_budget(budget),
        episodes=episodes or NUM_EVAL_EPISODES,
        sandbox=sandbox.NONE if no_sandbox else None,
        num_seeds=options.check_seeds(seeds),
    )
    if init is not None:
        if (seed, train, eval_engine, aa) != (None,) * 4 or confirm:
            raise InputError("--init takes no --seed, --train, --eval-engine, --aa or --confirm.")
        options.training_file(Path.cwd() / EDITABLE)
        options.first_file(start)
        if (ongoing := _begun(init)) is not None:
            given = (task, budget, backend, episodes, no_stopping, seeds)
            options.check_conditions(ongoing, init, *given)
            options.put_first_file(ongoing.branch, start)
        with options.at_work(Path.cwd()):
            stopping = ongoing is None and options.stopping(Path.cwd(), task_ids, no_stopping)
            conditions = dataclasses.replace(conditions, stopping=stopping)
            _measure_baseline(ongoing or _made(init, conditions, start))
        return
    if no_stopping or start:
        name = "--no-stopping is a condition" if no_stopping else "--from is the first file"
        raise InputError(f"{name} of a branch: give it with --init.")
    by_itself = by_hand or backend != "auto" or no_sandbox
    ongoing = None if by_itself else contest.resume(Path.cwd(), options.confinement, options.shown)
    if ongoing:
        with options.at_work(Path.cwd()):
            _go_on(ongoing, message, aa, confirm)
        return
    if aa is not None or confirm:
        raise InputError(
            f"{'--confirm' if confirm else '--aa'} needs an experiment branch, and its conditions: "
            "--init makes one."
        )
    if len(task_ids) > 1:
        raise InputError("Several tasks are the objective of an experiment branch: give --init.")
    assignment = Assignment(
        task_ids[0], backend, _seed(seed), conditions.budget, conditions.num_seeds
    )
    source = options.training_file(train or Path(EDITABLE))
    confinement = options.confinement(conditions.sandbox)
    request = Request(
        root=Path.cwd(),
        source=source,
        order=Order(assignment, conditions.episodes, confinement, eval_engine),
        message=message,
        comparable=(seed, budget, episodes, train, seeds) == (None,) * 5,
    )
    _run_alone(request, train)


def _run_alone(request: Request, train: Path | None) -> None:
    """One run that belongs to no branch: its block, what it means, what may be next."""
    with options.at_work(request.root):
        summary = options.shown(request)
    _print_block(summary)
    assignment = request.order.assignment
    _explain(summary, assignment, train)


def _begun(tag: str) -> Contest | None:
    """The contest of a branch that is checked out and has its first runs."""
    ongoing = contest.resume(Path.cwd(), options.confinement, options.shown)
    return ongoing if ongoing and ongoing.branch.tag == tag else None


def _made(tag: str, conditions: Conditions, start: Path | None) -> Contest:
    """A new branch, or one that was made and has no run yet."""
    root = Path.cwd()
    first, there = options.first_file(start), branch.current(root) == tag
    if not there:
        beginning.check(root, tag, first)
    Ledger(root / LEDGER).prepare()  # before there is a branch, which could have no rows
    made = Branch(root, tag) if there else beginning.create(root, tag, first)
    options.put_first_file(made, start)
    return Contest(made, conditions, options.confinement(conditions.sandbox), options.shown)


def _measure_baseline(started: Contest) -> None:
    """Make the runs that a branch begins with, and say what can be done next."""
    root = started.branch.root
    started.settle()
    scores = started.measure()
    options.tell_doubts(root, started.read())
    print("---")
    print(f"branch: {started.branch.name}")
    print(f"objective: {started.conditions.objective}")
    print(f"stopping: {'yes' if started.conditions.stopping else 'no'}")
    if started.conditions.num_seeds > 1:
        print(f"seeds: {started.conditions.num_seeds}")
    print(f"incumbent: {estimate.told(scores)}")
    _advise(
        (TRY, f"after an edit of {EDITABLE}: it is tried, and leads or not"),
        ("harness.run --confirm", "what leads is proved, or not"),
        ("harness.loop --agent claude --hours 8", "a night of an agent's edits"),
        ("harness.status", "its progress"),
    )


def _go_on(ongoing: Contest, message: str, aa: int | None, confirm: bool) -> None:
    """What is asked of a branch: to prove what leads, or to try a file.

    Raises:
      InputError: both are.
    """
    if not confirm:
        _challenge(ongoing, message, aa)
        return
    if message or aa:
        raise InputError("--confirm tries no edit: leave --message and --aa out.")
    _confirm(ongoing)


def _challenge(ongoing: Contest, message: str, aa: int | None) -> None:
    """Try the file of the working tree; or, for an A/A test, files that change nothing."""
    _note_a_change(ongoing)
    if aa is None:
        options.training_file(Path(EDITABLE))
        outcome = _tried(ongoing, message)
        _print_outcome(ongoing, outcome)
        past = ongoing.read()
        run = past.verdict(outcome.challenger)
        assert run is not None
        _note_another_message(run, message)
        _tell(*aftermath.of_trial(past, run, ongoing.branch.discarded(run.run_id)))
        _print_confirmation(ongoing, ongoing.advance())
        _advise_next(ongoing)
        return
    ongoing.settle()
    ongoing.measure()
    ledger, name, accepted = ongoing.branch.root / LEDGER, ongoing.branch.name, 0
    before = reader.read(ledger, name)
    for i in range(1, aa + 1):
        ongoing.settle()
        same = ongoing.branch.edit_of("lead") + f"# A/A {i}\n".encode()
        outcome = ongoing.challenge(f"A/A {i} of {aa}", same)
        accepted += outcome.verdict == Verdict.ACCEPT
        print(f"A/A {i}: {outcome.verdict}. {outcome.reason}", flush=True)
        for said in ongoing.advance(closing=i == aa):
            print(said, flush=True)
    there = reader.read(ledger, name)
    print(f"---\nchallengers: {aa}\naccepted: {accepted}")
    print(f"confirmations: {len(there.confirmations) - len(before.confirmations)}")
    print(f"false_keeps: {aftermath.false_keeps(there, before)}")


def _tried(ongoing: Contest, message: str) -> Outcome:
    """Try the file of the working tree; where that fails by its fault, say what follows.

    Raises:
      HarnessError: as `Contest.challenge`.
    """
    ledger = Ledger(ongoing.branch.root / LEDGER)
    known = {entry.run_id for entry in ledger.read().entries}
    try:
        return ongoing.challenge(message)
    except LedgerError:
        raise  # it cannot be asked
    except HarnessError:
        past = ongoing.read()
        ended = (run for run in reversed(past.runs) if run.run_id not in known)
        run = next((run for run in ended if run.role == Role.CHALLENGER), None)
        if run is not None and run.verdict.final:  # else it stays on trial
            _print_verdict(ongoing, past, run)
            _tell(*aftermath.of_trial(past, run, ongoing.branch.discarded(run.run_id)))
            _advise_next(ongoing)
        raise


def _note_another_message(run: Run, message: str) -> None:
    """Say so where a trial that went on has kept the message of its commit."""
    if message and words.line(message) != run.description:
        print(f"note: this file was on trial already, and goes on under its first message: "
              f"{run.description}", file=sys.stderr)  # fmt: skip


def _confirm(ongoing: Contest) -> None:
    """Spend a confirmation on the lead.

    Raises:
      InputError: nothing speaks for it.
    """
    _note_a_change(ongoing)
    ongoing.settle()
    before = aftermath.last_confirmation(ongoing.read())
    while said := ongoing.advance(closing=True, asked=True):
        if aftermath.last_confirmation(ongoing.read()) != before:
            _print_confirmation(ongoing, said)
            _advise_next(ongoing)
            return
        print(*said, sep="\n", flush=True)
    raise InputError(aftermath.undue(ongoing.read()))


def _print_confirmation(ongoing: Contest, said: list[str]) -> None:
    """The block of a confirmation, where one was made."""
    past = ongoing.read()
    decided = aftermath.last_confirmation(past)
    if not said or decided is None or decided.reason not in said[-1]:
        return
    _print_verdict(ongoing, past, decided, f"confirmation: {past.progress().confirmations}")
    _tell(*aftermath.of_confirmation(past, decided.verdict))


def _note_a_change(ongoing: Contest) -> None:
    """Say so where the runs of the branch were measured by something else: hours may follow."""
    if {row.harness for row in ongoing.read().runs[-1:]} - {ongoing.site.instrument}:
        print("note: harness or hardware are not those of the last run: the incumbent is measured "
              "anew.", file=sys.stderr)  # fmt: skip


def _print_outcome(ongoing: Contest, outcome: Outcome) -> None:
    """The block of the challenger's last run, and how the verdict was reached."""
    if outcome.last is not None:
        _print_block(outcome.last)
    print(f"replicates: {len(outcome.scores)}")
    print(f"replicate_scores: {' '.join(f'{score:.2f}' for score in outcome.scores)}")
    _print_standing(ongoing, ongoing.read())


def _print_verdict(ongoing: Contest, past: History, run: Run, *first: str) -> None:
    """The block of a verdict that has no score of its own."""
    print("---", *first, f"verdict: {run.verdict}", f"reason: {run.reason}", sep="\n")
    _print_standing(ongoing, past)


def _print_standing(ongoing: Contest, past: History) -> None:
    """Who is the incumbent, and how many edits lead."""
    print(f"incumbent: {estimate.told(past.fresh())}")
    ahead = len(past.progress().stack)
    print(f"ahead: {words.counted(ahead, 'edit')}{', not proved' if ahead else ''}")
    print(f"branch: {ongoing.branch.name}")


def _print_block(summary: Summary) -> None:
    print("---")
    shown = {k: v for k, v in dataclasses.asdict(summary).items() if v is not None}
    for name, value in shown.items():
        print(f"{name}: {_shown(value)}")


def _shown(value: Any) -> str:
    """A value of the block."""
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _explain(summary: Summary, assignment: Assignment, train: Path | None) -> None:
    """What a score means, and what may be next: of a run by itself, no verdict says it.

    On standard error and indented: the block stays the last that is on standard output, and no
    line of this begins as one of its lines does.
    """
    assert summary.avg_return is not None  # it was ordered without stops
    _tell(*meaning.lines(summary.task, assignment.budget, summary.avg_return, train is None))
    given = "" if summary.task == TASK else f" --task {summary.task}"
    given += "" if assignment.backend == "auto" else f" --backend {assignment.backend}"
    given += "" if assignment.num_seeds == 1 else f" --seeds {assignment.num_seeds}"
    file = f" --train {train}" if train else ""
    steps = [("harness.report", "this run and those before it as a page, with a video")]
    if assignment.budget < TIME_BUDGET:
        steps.append((f"harness.run{given}{file}", "the full twelve minutes"))
    if train is None:  # a branch and a night have the checkout's own file
        steps += [
            (f"harness.run --init TAG{given}", "a branch: its baseline, then edits against it"),
            (f"harness.loop --agent random{given}", "the same all night, with no language model"),
        ]
    _advise(*steps)


def _tell(*lines: str) -> None:
    """What a block means."""
    sys.stdout.flush()  # the block first, where both go into one file
    print("what it means:", file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr, flush=True)


def _advise(*steps: tuple[str, str]) -> None:
    """Commands that may be next, and what each is for."""
    sys.stdout.flush()
    print("next:", file=sys.stderr)
    width = max(len(command) for command, _ in steps)
    for command, purpose in steps:
        print(f"  {cli.python()} -m {command:{width}}  {purpose}", file=sys.stderr)


def _advise_next(ongoing: Contest) -> None:
    """What may be done after a verdict."""
    past = ongoing.read()
    steps = [(TRY, f"after the next edit of {EDITABLE}")]
    if aftermath.is_confirmable(past):
        steps.append(("harness.run --confirm", "prove what leads, now"))
    if past.progress().proved:
        steps.append(("harness.report", "what was found, as a page"))
    _advise(*steps, ("harness.status", "how the branch stands"))


def _seed(given: int | None) -> int:
    """The seed of the training: what was given, or a new one."""
    if given is None:
        return draw_seed()
    if not 0 <= given < 2**SEED_BITS:
        raise InputError(f"--seed is {given}; a number from 0 to 2^{SEED_BITS} - 1 is needed.")
    return given


if __name__ == "__main__":
    cli.serve(run)
