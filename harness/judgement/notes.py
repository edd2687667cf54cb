"""What is to be known of a run beside its ruling, in words: why it was stopped, how it started."""

from collections.abc import Sequence

from harness.engines import backends
from harness.measurement.training import Training
from harness.system import words

SHARE_NAMES = {0.25: "a quarter", 0.5: "half"}
"""Shares of a budget, in words."""

FAULT_SHOWN = 200
"""Characters of what was wrong with a message of a training."""


def stop(training: Training) -> str:
    """Where a training was stopped and by which figures, in words; nothing where it was not."""
    if training.stopped is None:
        return ""
    stop, reported = training.stopped.stop, training.stopped.reported
    share = SHARE_NAMES.get(stop.share, f"{stop.share:.0%}")
    low, high = told_apart(reported, stop.least)
    return (
        f"Stopped at {share} of the budget: it reported {low} where {high} was the least that "
        "still gives hope."
    )


def told_apart(*figures: float) -> list[str]:
    """Figures in words, with no more digits than show that they differ."""
    for form in (",.0f", ",.2f"):
        shown = [f"{figure:{form}}" for figure in figures]
        if len(set(shown)) == len(set(figures)):
            return shown
    return [repr(figure) for figure in figures]


def spread(means: Sequence[float], digests: Sequence[str]) -> str:
    """How far the policies of a run are apart, in words; nothing where it has one.

    Args:
      means: the score of each policy.
      digests: of each policy.
    """
    if len(means) < 2:
        return ""
    said = f"Its {len(means)} policies have {min(means):,.4g} to {max(means):,.4g}."
    if (different := len(set(digests))) < len(digests):
        said += f" They are copies of {different}."
    return said


def overtime(training: Training) -> str:
    """What of a start-up was on the clock, in words; nothing where none was."""
    excess = training.excess
    if excess <= 0:
        return ""
    return (
        f"Its start-up took {training.allowance + excess:.1f} s, of which {training.allowance:.1f} "
        f"are free (it used {training.startup_cpu_seconds:.1f} s of processor time in these); the "
        "rest was on the clock."
    )


def cut_short(training: Training) -> str:
    """How a training failed before its time was used up, in words; nothing where it did not."""
    if training.stopped is not None or not (training.protocol_error or training.exit_code):
        return ""
    assert training.ended is not None
    if training.time_left(training.ended) <= 0:
        return ""
    after = f"after {training.seconds(training.ended):.0f} of {training.budget:g} s"
    if training.protocol_error:
        fault = words.shortened(training.protocol_error, FAULT_SHOWN)
        how = f"was ended {after}, because it sent {fault}"
    else:
        how = f"ended by itself {after}, with exit code {training.exit_code}"
    one = training.num_seeds == 1
    scored = "its last policy was" if one else f"its last {training.num_seeds} policies were"
    return f"The training {how}; {scored} scored."


def breakdowns(training: Training) -> str:
    """How often the simulation of a training broke down, in words; nothing where it did not.

    Args:
      training: which counts by itself; no engine on the host tells of a breakdown.
    """
    if training.backend not in backends.DEVICE_BACKENDS or not training.breakdowns:
        return ""
    counted = words.counted(training.breakdowns, "episode")
    return f"In training {counted} ended because the simulation broke down."
