"""What a file is worth, from runs that no proof rests on: their mean, and how sure that is."""

import math
import statistics
from collections.abc import Sequence

from scipy import special

FEW = 5
"""Scores of which all are shown, and no interval is given."""


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """Where the mean of all such runs lies with 95 % (Student's t); at least two scores."""
    quantile = special.stdtrit(len(scores) - 1, 0.975)
    half = quantile * statistics.stdev(scores) / math.sqrt(len(scores))
    return statistics.fmean(scores) - half, statistics.fmean(scores) + half


def told(scores: Sequence[float]) -> str:
    """An estimate in words: mean and 95 % interval; all values where they are few."""
    mean = statistics.fmean(scores)
    if len(scores) < FEW:
        return f"{mean:,.2f} ({', '.join(f'{score:,.2f}' for score in scores)})"
    low, high = interval(scores)
    return f"{mean:,.2f} ({low:,.2f} to {high:,.2f}, {len(scores)} runs)"
