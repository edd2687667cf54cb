"""What is believed of a file's true value: weights over a grid, by Bayes' rule.

Values are in standard deviations of the noise, from an origin that is shared by all files that are
compared. A belief is never a verdict: it says what is worth a run, and only a confirmation says
what is better.
"""

import functools
import statistics
from collections.abc import Sequence

import numpy as np

from harness.judgement.noise import Noise

SPACING = 0.1
"""Of both grids, in standard deviations."""

VALUES = np.arange(-8.0, 14.0 + SPACING / 2, SPACING)
"""True values that are thought possible."""

EFFECTS = np.arange(-8.0, 8.0 + SPACING / 2, SPACING)
"""What an edit may do to the true value."""

GOOD, IDLE = 0.4, 0.2
"""Shares of edits that are thought to improve, and to do nothing. More than improve in truth: a
search that hopes more misses less, and pays with a look or two."""

IMPROVEMENT = 0.25, 2.5
"""Of an edit that improves: all in between are equally likely."""

GREAT = 0.02
"""Share of edits that are thought to do more, up to the end of the grid, the more the rarer: where
runs of one file hardly differ, an edit may gain hundreds of deviations."""

DRAWN_IN = 4.0
"""Deviations from the ends of the grid to which scores beyond are drawn in."""

FAR, SEEN_AT = 8.0, 3.0
"""Deviations from the incumbent from which on the lead counts as far ahead, and the value that it
has on the grid then: so that what is better still has its place there, and so has what is worse.
The incumbent is drawn in, and less far behind than the largest effect of an edit."""

WIDE = 3.0
"""Standard deviation of a file's value before anything is known of it."""


def origin(incumbent: Sequence[float], lead: Sequence[float], unit: float) -> float:
    """The score from which values are counted: the incumbent's mean, while the lead is near it.

    Args:
      incumbent: its scores; at least one.
      lead: its scores.
      unit: of the grid, in units of scores.
    """
    mean = sum(incumbent) / len(incumbent)
    ahead = statistics.median(lead) if lead else mean
    return ahead - SEEN_AT * unit if (ahead - mean) / unit > FAR else mean


def unknown() -> np.ndarray:
    """Of a file that no other one was the beginning of."""
    return _normalized(np.exp(-0.5 * (VALUES / WIDE) ** 2))


def edited(belief: np.ndarray) -> np.ndarray:
    """Of an edit of a file of which this is believed, before it is run."""
    effects = _effects()
    begin = len(effects) // 2
    return _normalized(np.convolve(belief, effects)[begin : begin + len(VALUES)])


def seen(belief: np.ndarray, score: float, noise: Noise, unit: float) -> np.ndarray:
    """After a run.

    Args:
      belief: before it.
      score: from the origin, in `unit`s.
      noise: around the true value.
      unit: of the grid, in units of scores.
    """
    within = min(max(score, VALUES[0] + DRAWN_IN), VALUES[-1] - DRAWN_IN)
    return _normalized(belief * noise.likelihood((within - VALUES) * (unit / noise.deviation)))


def mean(belief: np.ndarray) -> float:
    """The expected value."""
    return float(belief @ VALUES)


def _normalized(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


@functools.cache
def _effects() -> np.ndarray:
    """How likely each effect of an edit is thought to be; the worse, the rarer."""
    low, high = IMPROVEMENT
    better = (low <= EFFECTS) & (high >= EFFECTS)
    great = np.where(high < EFFECTS, np.maximum(EFFECTS, high) ** -2.0, 0.0)
    worse, nothing = EFFECTS < -SPACING / 2, np.abs(EFFECTS) < SPACING / 2
    harm = np.where(worse, np.exp(np.where(worse, EFFECTS, 0.0)), 0.0)
    return (
        (GOOD - GREAT) * better / better.sum()
        + GREAT * great / great.sum()
        + IDLE * nothing / nothing.sum()
        + (1 - GOOD - IDLE) * harm / harm.sum()
    )
