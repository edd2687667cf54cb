"""How scores of one file scatter: a density that is learned from the branch's own runs.

Scores of one training file may be normal, heavy-tailed, or fall into two heaps where some runs
stall. Which it is decides what a single run says. So nothing is assumed: the density is a kernel
estimate of the differences between runs and their file's mean, mixed with a Student's t of four
degrees of freedom that stands for `PRIOR_RUNS` runs, and alone where nothing is known yet.

Source: kernel density estimation (Silverman 1986).
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

FINENESS, REACH = 0.05, 12.0
"""Of the density's grid, in standard deviations."""

PRIOR_RUNS = 6.0
"""Runs that the density weighs which is assumed before any is seen."""

BANDWIDTH = 0.5
"""Of the kernel for one difference, in standard deviations; it falls as their number^(-1/5)."""

FLOOR = 1e-4
"""Density of what was never seen: no single run decides everything."""

DIFFERENCES = 120
"""Differences that count: those of the files that came last."""

LEAST_DEVIATION = 1e-9
"""Of scores that do not differ, where a division has to go on."""

GRID = np.arange(-REACH, REACH + FINENESS / 2, FINENESS)
EDGES = np.append(GRID - FINENESS / 2, GRID[-1] + FINENESS / 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """The scatter of scores around their file's true value.

    Attributes:
      deviation: its standard deviation, in units of scores.
      density: over `GRID`, in standard deviations.
    """

    deviation: float
    density: np.ndarray

    def likelihood(self, difference: np.ndarray) -> np.ndarray:
        """The density of differences, in standard deviations."""
        return np.interp(difference, GRID, self.density)


def fit(groups: Sequence[Sequence[float]]) -> Noise:
    """The noise that runs show.

    Args:
      groups: scores of one file each, in the order in which they were made; groups of one say
        nothing.

    Raises:
      ValueError: no group has two runs.
    """
    found = [residual for group in groups for residual in _residuals(group)][-DIFFERENCES:]
    if not found:
        raise ValueError("no file has two runs")
    residuals = np.array(found)
    deviation = max(float(residuals.std()), LEAST_DEVIATION * max(1.0, _largest(groups)))
    width = BANDWIDTH * len(residuals) ** -0.2
    # Smoothing widens: the differences are drawn together so that the deviation stays one.
    there = (residuals - residuals.mean()) / deviation / math.sqrt(1 + width**2)
    heap, _ = np.histogram(np.clip(there, -REACH, REACH), EDGES)
    reach = (
        np.arange(-math.ceil(4 * width / FINENESS), math.ceil(4 * width / FINENESS) + 1) * FINENESS
    )
    bell = np.exp(-0.5 * (reach / width) ** 2)
    bells = np.convolve(heap, bell / (bell.sum() * FINENESS), "same")
    count = len(residuals)
    density = (PRIOR_RUNS * _assumed() + bells) / (PRIOR_RUNS + count) + FLOOR
    return Noise(deviation, density)


def _residuals(group: Sequence[float]) -> list[float]:
    """Differences from the mean, as wide on average as those from the true value."""
    count = len(group)
    if count < 2:
        return []
    mean, wider = math.fsum(group) / count, math.sqrt(count / (count - 1))
    return [(score - mean) * wider for score in group]


def _largest(groups: Sequence[Sequence[float]]) -> float:
    return max((abs(score) for group in groups for score in group), default=0.0)


@functools.cache
def _assumed() -> np.ndarray:
    """Student's t with four degrees of freedom, on the grid."""
    density = (1 + GRID**2 / 4) ** -2.5
    return density / (density.sum() * FINENESS)
