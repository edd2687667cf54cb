"""`python -m harness.transfer`: what the branch's incumbent is worth on other tasks."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError, PolicyError, TrainingError
from harness.judgement import contest, objective
from harness.judgement.contest import Contest
from harness.tasks import anchors
from harness.terminal import cli, options


def transfer(
    task: Annotated[
        str, typer.Option(help="Gymnasium ids, with commas; all with known returns if left out.")
    ] = "",
) -> None:
    """Train the incumbent's file and the one that the branch began with on each task, once.

    What is there already is not run again. One run each: a difference smaller than the spread
    between runs says nothing.
    """
    ongoing = contest.resume(Path.cwd(), options.confinement, options.shown)
    if ongoing is None:
        raise InputError(
            "There is no experiment branch here: python -m harness.run --init TAG makes one."
        )
    tasks = objective.parse(task) if task else tuple(anchors.RANDOM)
    with options.at_work(Path.cwd()):
        ongoing.settle()
        past = ongoing.read()
        for commit in dict.fromkeys((past.runs[0].commit, past.incumbent)):
            for name in tasks:
                try:
                    ongoing.transfer(commit, name)
                except (TrainingError, PolicyError) as error:  # the other tasks still count
                    print(f"{name}: failed: {error}", file=sys.stderr)
    _table(ongoing, tasks)


def _table(ongoing: Contest, tasks: tuple[str, ...]) -> None:
    """One line a task, as Markdown."""
    past = ongoing.read()
    first, incumbent = past.runs[0].commit, past.incumbent
    print(
        f"| task | random | baseline {first} | incumbent {incumbent} | autoRL's best | normalized |"
    )
    print("|---|---|---|---|---|---|")
    for name in tasks:
        values = [past.transferred(commit, name) for commit in (first, incumbent)]
        texts = ["–" if value is None else f"{value:,.1f}" for value in values]
        known = [anchors.RANDOM.get(name), anchors.AUTORL.get(name)]
        random, best = ("–" if value is None else f"{value:,.1f}" for value in known)
        scaled = "–"
        if values[1] is not None and objective.unit_return(name) and name in anchors.RANDOM:
            scaled = f"{objective.normalized(name, values[1]):.2f}"
        print(f"| {name} | {random} | {texts[0]} | {texts[1]} | {best} | {scaled} |")


if __name__ == "__main__":
    cli.serve(transfer)
