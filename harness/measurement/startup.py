"""How long a training may take to start before its clock starts by itself, once that is known."""

import statistics
from collections.abc import Sequence

SLACK, SHARE = 3.0, 0.05
"""Seconds, and share of the budget, that a start-up on a branch may take beyond what its first
file's take; the larger one counts. A busy machine makes the same start-up some seconds longer."""


def allowance(startups: Sequence[float], budget: float) -> float:
    """Seconds of start-up that are free on a branch.

    Args:
      startups: seconds that those of its first file took. The median counts: the first run of a day
        reads everything from the disk, and whoever has some of them last longer gains nothing.
      budget: seconds of a training.
    """
    return statistics.median_low(startups) + max(SLACK, SHARE * budget)
