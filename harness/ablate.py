"""`python -m harness.ablate`: which of the proved edits carry the gain, and which do nothing."""

import math
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
from harness.judgement import ablation, confirmation, contest
from harness.judgement.ablation import Finding
from harness.terminal import cli, options

HOUR = 3600.0
"""Seconds."""


def ablate(
    runs: Annotated[
        int, typer.Option(help="Runs of each file, those that are there included.", min=2)
    ] = ablation.BLOCKS,
    hours: Annotated[
        float, typer.Option(help="Hours after which no new block of runs begins.", min=0)
    ] = math.inf,
    lead: Annotated[
        bool, typer.Option("--lead", help="Take the lead apart, and not the incumbent.")
    ] = False,
    propose: Annotated[
        bool,
        typer.Option(
            "--propose",
            help="Then try edits that take out what does nothing and makes the file longer.",
        ),
    ] = False,
) -> None:
    """Run the incumbent of an experiment branch without each of its edits, side by side.

    Nothing is decided by these runs, and what is there already is not run again.
    """
    ongoing = contest.resume(Path.cwd(), options.confinement, options.shown)
    if ongoing is None:
        raise InputError(
            "There is no experiment branch here: python -m harness.run --init TAG makes one."
        )
    end = time.monotonic() + hours * HOUR
    with options.at_work(Path.cwd()):
        ongoing.settle()
        past = ongoing.measured(ongoing.read())
        whole = past.lead if lead else past.incumbent
        there = ablation.edits(ongoing, whole)
        if not there:
            raise InputError(
                f"{ongoing.branch.name} has no edit yet that could be taken out: its file is the "
                "one that it began with."
            )
        while time.monotonic() < end:
            done = ablation.measure(ongoing, whole, there, runs)
            if done is None:
                break
            print(done, file=sys.stderr, flush=True)
        past = ongoing.read()
        _table(ablation.findings(past, whole, there), past.outlook().noise.deviation)
        while propose and time.monotonic() < end:
            tried = ablation.propose(ongoing, whole, there)
            if tried is None:
                break
            print(tried, flush=True)


def _table(found: list[Finding], deviation: float) -> None:
    """One line an edit, as Markdown."""
    print("| edit | | loss without it | 95 % interval | runs of each | it |")
    print("|---|---|---|---|---|---|")
    for one in found:
        loss, interval = "–", "–"
        if not math.isnan(one.loss):
            loss = f"{one.loss:,.4g}"
            interval = f"{one.low:,.4g} to {one.high:,.4g}"
        edit = one.edit
        print(
            f"| {edit.commit} | {edit.message} | {loss} | {interval} | {one.runs or '–'} | "
            f"{one.worth} |"
        )
    print()
    print(
        f"A passenger's loss is below {confirmation.TOLERANCE * deviation:,.4g} "
        f"({confirmation.TOLERANCE:g} deviations between runs) by its whole interval."
    )


if __name__ == "__main__":
    cli.serve(ablate)
