"""`python -m harness.calibrate`: how noisy a run is here, and what a night can find out."""

import statistics
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
from harness.judgement import chance, contest, estimate, noise, power, search
from harness.judgement.contest import Contest
from harness.record.entries import Role
from harness.system import words
from harness.terminal import cli, options

ENOUGH_TO_RESAMPLE = 20
"""Runs from which the shape of the noise can be seen; with fewer it is taken as normal."""

SHIFTS = (0.5, 1.0, 2.0)
"""Improvements that are told, in standard deviations between runs."""


def calibrate(
    runs: Annotated[
        int, typer.Option(help="Runs of the incumbent, including those that it has.", min=2)
    ] = 10,
) -> None:
    """Run the incumbent of an experiment branch again and again, and say what its spread means.

    It says how many runs it takes to prove an improvement. Its runs count in the search, and in no
    proof.
    """
    ongoing = contest.resume(Path.cwd(), options.confinement, options.shown)
    if ongoing is None:
        raise InputError(
            "There is no experiment branch here: python -m harness.run --init TAG makes one."
        )
    with options.at_work(Path.cwd()):
        ongoing.settle()
        ongoing.measure()
        scores = ongoing.repeat(runs)
    _report(ongoing, scores)


def _report(ongoing: Contest, scores: list[float]) -> None:
    past = ongoing.read()
    runs = [run for run in past.runs if run.role in (Role.INCUMBENT, Role.ESTIMATE)]
    runs = [run for run in runs if run.commit == run.challenger == past.incumbent]
    print("---")
    print(f"objective: {ongoing.conditions.objective}")
    print(f"runs: {len(scores)}")
    print(f"scores: {' '.join(f'{score:.2f}' for score in scores)}")
    print(f"mean: {estimate.told(scores)}")
    print(f"std_between_runs: {statistics.stdev(scores):.4g}")
    for task in ongoing.conditions.tasks:
        inside = [r.std_return for r in runs if r.task == task and r.std_return is not None]
        episodes = ongoing.conditions.episodes * ongoing.conditions.num_seeds
        error = statistics.fmean(s**2 for s in inside) ** 0.5 / episodes**0.5
        print(f"std_between_episodes_{task}: {statistics.fmean(inside):.4g}")
        print(f"std_of_a_score_from_episodes_{task}: {error:.4g}")
    _print_needed(ongoing, scores)


def _print_needed(ongoing: Contest, scores: list[float]) -> None:
    """How many runs it takes to prove improvements, with the spread of these scores."""
    resampled = len(scores) >= ENOUGH_TO_RESAMPLE and statistics.stdev(scores) > 0
    draw = chance.resampled(scores) if resampled else chance.gaussian
    shape = "as measured" if resampled else f"normal: fewer than {ENOUGH_TO_RESAMPLE} runs"
    print(f"noise: {shape}")
    spread, there = noise.fit([scores]), ongoing.read().progress()
    level = there.level()
    print(f"level_of_the_next_confirmation: {level:.3g}")
    seconds = ongoing.conditions.budget * len(ongoing.conditions.tasks)
    for shift in SHIFTS:
        needed = power.enough(shift, spread, draw, level)
        runs = 2 * (needed or search.CLOSING_PAIRS[2])
        enough = f"{runs} runs, half of each file" if needed else f"more than {runs} runs"
        better = shift * statistics.stdev(scores)
        print(f"to_prove_{shift:g}_deviations: {enough}, {words.lasting(runs * seconds)} of "
              f"training (better by {better:.4g})")  # fmt: skip


if __name__ == "__main__":
    cli.serve(calibrate)
