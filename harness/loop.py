"""`python -m harness.loop`: a night with any agent."""

import os
import shutil
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from harness.checkout import beginning, branch
from harness.checkout.branch import Branch
from harness.confinement import sandbox
from harness.contract.order import MAX_SEEDS
from harness.errors import InputError
from harness.evaluate import NUM_EVAL_EPISODES, TASK, TIME_BUDGET
from harness.judgement import contest, experiment, objective
from harness.judgement.contest import Contest
from harness.judgement.history import Conditions
from harness.measurement import cluster, sites, tracking
from harness.measurement.sites import Site
from harness.night import agents, tuners
from harness.night.turns import Night
from harness.places import EDITABLE, PACKAGE
from harness.record.entries import UNLIMITED, Plan
from harness.system import origin, words
from harness.terminal import cli, options

COPY_PREFIX = "autorl-loop-"
"""Of the name of the folder with a loop's own copy of the harness, and nothing else, in it."""

HOURS = 8.0
AGENT_TIMEOUT = 1800.0
"""Seconds of one turn of an agent."""


def loop(
    agent: Annotated[
        str, typer.Option(help="A preset, a shell command, or random, tpe, cmaes.")
    ] = "",
    task: Annotated[
        str | None,
        typer.Option(
            help=f"Gymnasium ids with commas, for a new branch; {TASK} if left out.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help=f"Seconds of a training, for a new branch; {TIME_BUDGET:g} if left out.",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Engine that trains, for a new branch; auto if left out.", show_default=False
        ),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            help=f"Hours after which no new turn begins; {HOURS:g} if left out.",
            min=0,
            show_default=False,
        ),
    ] = None,
    max_runs: Annotated[
        int | None,
        typer.Option(
            help="Runs after which no new turn begins, the baseline's aside; no limit if left out.",
            min=1,
            show_default=False,
        ),
    ] = None,
    agent_timeout: Annotated[
        float | None,
        typer.Option(
            help=f"Seconds of one turn of the agent; {AGENT_TIMEOUT:g} if left out.",
            min=1,
            show_default=False,
        ),
    ] = None,
    tag: Annotated[
        str, typer.Option(help="Tag of the branch autorl/TAG to begin; today's date if left out.")
    ] = "",
    start: options.From = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the night that the ledger records.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            help="Runs at a time on this machine, each with its part of the cores.", min=1
        ),
    ] = 1,
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Run on the workers of this Ray cluster.")
    ] = "",
    cores: Annotated[
        int | None,
        typer.Option(help=f"Cores of each run on a cluster; {cluster.CORES} if left out.", min=1),
    ] = None,
    wandb: Annotated[
        str, typer.Option(metavar="PROJECT", help="Send metrics to Weights & Biases, too.")
    ] = "",
    no_sandbox: Annotated[bool, typer.Option("--no-sandbox", help="As in harness.run.")] = False,
    no_stopping: Annotated[
        bool,
        typer.Option(
            "--no-stopping",
            help="For a new branch: hopeless runs are not stopped before their end.",
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Policies that each training trains side by side, for a new branch, where there "
            "is an accelerator; 1 if left out.",
            min=1,
            max=MAX_SEEDS,
            show_default=False,
        ),
    ] = None,
    list_agents: Annotated[
        bool, typer.Option("--list-agents", help="Print the presets and exit.")
    ] = False,
) -> None:
    """Let an agent edit train.py all night, and keep what is proved to be better.

    On an experiment branch that is checked out the night continues from what leads there, under
    its conditions; elsewhere a branch is begun.
    """
    if list_agents:
        for name, command in agents.PRESETS.items():
            print(f"{name:10} {command}")
        print(f"{', '.join(tuners.TUNERS)}: no language model; the constants, by Optuna")
        return
    if wandb:
        tracking.use_wandb(wandb)
    if resume and (agent or (hours, max_runs, agent_timeout) != (None,) * 3):
        raise InputError(
            "--resume continues the night as it was planned, and --agent begins another one, with "
            "--hours, --max-runs and --agent-timeout of its own: leave --resume out, or these."
        )
    options.first_file(start)
    plan = None if resume else _plan(agent, hours, max_runs, agent_timeout, start)
    if branch.current(Path.cwd()) is None:
        if resume:
            raise InputError("--resume needs the experiment branch of a night to be checked out.")
        for one in objective.parse(task or TASK):
            options.check_task(one, backend or "auto")
        options.check_budget(budget)
    copy = _copy()
    if copy is None:
        _become_a_copy()
    try:
        with options.at_work(Path.cwd()):
            site = _site(workers, ray, cores)
            run = options.shown if site.slots == 1 else experiment.run
            ongoing = contest.resume(Path.cwd(), options.confinement, run, site)
            if ongoing is None:
                chosen = task or TASK, options.check_budget(budget), backend or "auto"
                num_seeds = (seeds or 1) if ray else options.check_seeds(seeds)
                confinement = sandbox.NONE if no_sandbox else None
                made, conditions = _begin(tag, start, *chosen, confinement, no_stopping, num_seeds)
                ongoing = Contest(
                    made, conditions, options.confinement(conditions.sandbox), run, site
                )
            options.check_conditions(
                ongoing, tag, task, budget, backend, no_stopping=no_stopping, seeds=seeds
            )
            options.put_first_file(ongoing.branch, start)
            Night(ongoing, plan, _say).run()
            from harness.morning import standing  # noqa: PLC0415  (charts: only in the morning)

            for line in standing.summary(standing.read(Path.cwd())):
                _say(line)
            print(f"next: {cli.python()} -m harness.report", file=sys.stderr)
    finally:
        if copy is not None:
            shutil.rmtree(copy, ignore_errors=True)


def _plan(
    agent: str,
    hours: float | None,
    max_runs: int | None,
    agent_timeout: float | None,
    start: Path | None,
) -> Plan:
    """What the night is to be.

    Raises:
      InputError: no agent was named, or what it needs is missing.
    """
    if not agent:
        raise InputError("Who edits? --agent takes a preset (--list-agents) or a shell command.")
    if agent in tuners.TUNERS:
        tuners.check(agent, options.training_file(start or Path(EDITABLE)))
    elif complaint := agents.complaint(agent, tuners.TUNERS):
        raise InputError(complaint)
    return Plan(
        agent,
        HOURS if hours is None else hours,
        UNLIMITED if max_runs is None else max_runs,
        AGENT_TIMEOUT if agent_timeout is None else agent_timeout,
    )


def _site(workers: int, ray: str, cores: int | None) -> Site:
    """Where the runs are made.

    Raises:
      InputError: the options exclude each other, or what they name is not there.
    """
    if ray and workers > 1:
        raise InputError("--workers is for this machine, --ray for a cluster: give one of them.")
    if cores and not ray:
        raise InputError("--cores needs --ray; --workers N gives each run its part of the cores.")
    if ray:
        return cluster.connect(ray, Path.cwd(), cores)
    return cluster.local(workers, Path.cwd()) if workers > 1 else sites.here()


def _begin(
    tag: str,
    start: Path | None,
    task: str,
    budget: float,
    backend: str,
    confinement: str | None,
    no_stopping: bool,
    num_seeds: int,
) -> tuple[Branch, Conditions]:
    """A new branch, or one of that name that has no run yet, and the command line's conditions."""
    root, tasks = Path.cwd(), objective.parse(task)
    options.training_file(root / EDITABLE)
    stopping = options.stopping(root, tasks, no_stopping)
    tag = tag or f"{datetime.now():%b%d-%H%M}".lower()
    there = branch.current(root) == tag
    made = Branch(root, tag) if there else beginning.create(root, tag, options.first_file(start))
    options.put_first_file(made, start)
    engines = (backend,) * len(tasks)
    return made, Conditions(
        tasks, engines, budget, NUM_EVAL_EPISODES, confinement, stopping, num_seeds
    )


def _copy() -> Path | None:
    """The folder of the copy of the harness that this process runs from; None if it is none."""
    folder = PACKAGE.parent
    alone = [place.name for place in folder.iterdir()] == [PACKAGE.name]
    return folder if folder.name.startswith(COPY_PREFIX) and alone else None


def _become_a_copy() -> None:
    """Start again from a copy of the harness, which no agent knows the place of."""
    folder = Path(tempfile.mkdtemp(prefix=COPY_PREFIX))
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    path = os.pathsep.join([str(folder), *origin.paths()])  # the copy is in our place
    variables = {
        **os.environ,
        "PYTHONPATH": path,
        origin.FOLDER_VARIABLE: str(Path.cwd()),
    }
    # -P: else the working directory, with a harness that an agent can reach, would come first.
    command = [sys.executable, "-P", "-m", "harness.loop", *sys.argv[1:]]
    os.execve(sys.executable, command, variables)


def _say(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {words.line(line)}", flush=True)


if __name__ == "__main__":
    cli.serve(loop)
