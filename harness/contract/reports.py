"""What a training reports of its own return: all that is known of a run that goes on.

A report is a claim of the training file, so it can end a run and never help one. Who decides while
a run goes on, and who reads its curve afterwards, take the same mean of the same reports.
"""

import csv
import math
import statistics
from collections.abc import Iterable
from pathlib import Path

RETURN = "charts/episodic_return"
"""The metric, under CleanRL's name for it: the mean return of the episodes that have just ended."""

DIVERGED = "charts/diverged"
"""The metric that counts episodes in which the simulation broke down."""

WINDOW = 0.1
"""Of the budget: how long a look back the mean of the reports has. One update sees few episodes; a
longer look would tell of a policy that is no more."""

CLOCK_DIGITS = 3
"""Of seconds in a curve.csv: who decides from a curve and who reads it later count the same rows.
"""

Report = tuple[float, float]
"""Seconds on the clock, and a return; NaN where there was none."""


def mean(reports: Iterable[Report], budget: float, share: float) -> float | None:
    """The mean of what a training has reported when a share of its budget was used.

    Args:
      reports: all of them; those after that moment do not count.
      budget: seconds.
      share: of it, in (0, 1].

    Returns:
      Over the reports in the last `WINDOW` of the budget before that moment, finite ones only; None
      where there is none.
    """
    first, last = max(share - WINDOW, 0.0) * budget, share * budget
    known = [
        value
        for seconds, value in reports
        if first < round(seconds, CLOCK_DIGITS) <= last and math.isfinite(value)
    ]
    return statistics.fmean(known) if known else None


def read(curve: Path) -> list[Report]:
    """The reports of a run, from its curve.csv; none where there is no such file, or no return."""
    try:
        with open(curve, newline="", encoding="utf-8", errors="replace") as lines:
            return [(float(row["seconds"]), float(row[RETURN])) for row in csv.DictReader(lines)]
    except (OSError, KeyError, ValueError, TypeError, csv.Error):
        return []
