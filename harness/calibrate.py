"""`python -m harness.calibrate`: how noisy a run is here, and what a night can find out."""

import random
import statistics
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
from harness.judgement import contest, estimate, simulation, verdict
from harness.judgement.contest import Contest
from harness.record.entries import Role
from harness.terminal import cli, options

ENOUGH_TO_RESAMPLE = 20
"""Runs from which the shape of the noise can be seen; with fewer it is taken as normal."""

TRIALS = 200
"""Simulated challengers for one detection rate, which is then right to three or four percent."""

SHIFTS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Improvements that are simulated, in standard deviations of runs."""

DETECTED = 0.8
"""How often the smallest improvement that a night can detect is kept."""


def calibrate(
    runs: Annotated[
        int, typer.Option(help="Runs of the incumbent, including those that it has.", min=2)
    ] = 10,
) -> None:
    """Run the incumbent of an experiment branch again and again, and say what its spread means.

    Its runs count for every later comparison.
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
    runs = [run for run in past.runs if run.role == Role.INCUMBENT and run.std_return is not None]
    runs = [run for run in runs if run.commit == run.challenger == past.incumbent]
    spread = statistics.stdev(scores)
    resampled = len(scores) >= ENOUGH_TO_RESAMPLE
    draw = simulation.resampled(scores) if resampled and spread > 0 else simulation.gaussian
    print("---")
    print(f"objective: {ongoing.conditions.objective}")
    print(f"runs: {len(scores)}")
    print(f"scores: {' '.join(f'{score:.2f}' for score in scores)}")
    print(f"mean: {estimate.told(scores)}")
    print(f"std_between_runs: {spread:.4g}")
    for task in ongoing.conditions.tasks:
        inside = [run.std_return or 0.0 for run in runs if run.task == task]
        error = statistics.fmean(s**2 for s in inside) ** 0.5 / ongoing.conditions.episodes**0.5
        print(f"std_between_episodes_{task}: {statistics.fmean(inside):.4g}")
        print(f"std_of_a_score_from_episodes_{task}: {error:.4g}")
    generator = random.Random(0)
    rates = {shift: simulation.detection(draw, shift, TRIALS, generator) for shift in SHIFTS}
    shape = "as measured" if resampled else f"normal: fewer than {ENOUGH_TO_RESAMPLE} runs"
    print(f"noise: {shape}")
    found = next((shift for shift in SHIFTS if rates[shift] >= DETECTED), None)
    for shift in SHIFTS:
        print(f"kept_if_better_by_{shift * spread:.4g}: {rates[shift]:.2f}")
    if found is None:
        print(f"smallest_detectable_improvement: more than {SHIFTS[-1] * spread:.4g}")
        return
    replicates = _replicates(draw, found, generator)
    print(f"smallest_detectable_improvement: {found * spread:.4g} ({found:g} deviations, kept in "
          f"{DETECTED:.0%} of trials)")  # fmt: skip
    print(f"replicates: {replicates} of at most {verdict.MAX_REPLICATES} for such a challenger")


def _replicates(draw: simulation.Draw, shift: float, generator: random.Random) -> int:
    """The median number of replicates of a challenger that is better by `shift` and kept."""
    counts = []
    for _ in range(TRIALS):
        night = simulation.sequential(draw, [shift], generator)
        if night.last_kept:
            counts.append(night.replicates)
    return round(statistics.median(counts))


if __name__ == "__main__":
    cli.serve(calibrate)
