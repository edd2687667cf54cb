"""What simulated nights draw: the noise of runs, what edits do, and what works on runs besides.

Noise has mean zero and standard deviation one; all else is in its standard deviations.
"""

import dataclasses
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from harness.judgement import search

Draw = Callable[[random.Random], float]
"""One draw of noise, of mean zero and standard deviation one."""

STALL_DEPTH = 4.0
"""How far below the others a stalled run of `bimodal` ends, in deviations of the others."""


@dataclasses.dataclass(frozen=True)
class Mix:
    """What edits do to the true value, in standard deviations of the noise.

    Attributes:
      better: share of edits that improve it, by `least` to `most`, all equally likely.
      nothing: share of edits that change nothing; the others make it worse.
      worse: mean loss of those, exponentially distributed.
    """

    better: float = 0.05
    least: float = 0.5
    most: float = 2.0
    nothing: float = 0.2
    worse: float = 1.0

    def effects(self, generator: random.Random) -> Iterator[float]:
        """One edit after the other, without end."""
        while True:
            kind = generator.random()
            if kind < self.better:
                yield generator.uniform(self.least, self.most)
            elif kind < self.better + self.nothing:
                yield 0.0
            else:
                yield -generator.expovariate(1 / self.worse)


Whose = Literal["challenger", "fresh", "beside"]
"""Whose run: the challenger's, the incumbent's before anything is compared, and that beside it."""


@dataclasses.dataclass(frozen=True)
class Hand:
    """Somebody who knows something of a score before its run ends, and ends the run.

    Attributes:
      role: whose runs.
      high: whether the high ones are ended, or the low ones.
      limit: where they begin, in deviations.
      most: ended for one challenger, or of one incumbent before a comparison.
      foresight: correlation of what is known with the score.
      fails: whether the file does it, by failing, or something else does.
    """

    role: Whose
    high: bool
    limit: float
    most: float = 2
    foresight: float = 0.8
    fails: bool = False

    def ends(self, noise: float, generator: random.Random) -> bool:
        """Whether a run with this noise is ended."""
        blur = math.sqrt(1 - self.foresight**2) * generator.gauss(0.0, 1.0)
        known = self.foresight * noise + blur
        return known > self.limit if self.high else known < self.limit


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What works on a night's runs besides their noise.

    Attributes:
      step: how much higher all runs after the baseline's are.
      rise: how much higher each run is than the one before.
      load: how much lower the incumbent's runs beside a challenger are.
      hand: who ends runs; nobody if None.
      free: whether a run that was ended is made again for nothing, as if it had never been.
    """

    step: float = 0.0
    rise: float = 0.0
    load: float = 0.0
    hand: Hand | None = None
    free: bool = False

    def drift(self, made: float) -> float:
        """How much higher a run is than the first of the night, after so many."""
        return self.rise * made + self.step * (made >= search.BASELINE_RUNS)


UNDISTURBED = Conditions()


def gaussian(generator: random.Random) -> float:
    """Normal noise."""
    return generator.gauss(0.0, 1.0)


def lognormal(generator: random.Random) -> float:
    """Noise with a heavy tail upwards: the exponential of a standard normal, standardised."""
    mean, deviation = math.exp(0.5), math.sqrt((math.e - 1) * math.e)
    return (math.exp(generator.gauss(0.0, 1.0)) - mean) / deviation


def bimodal(share: float, depth: float = STALL_DEPTH) -> Draw:
    """Normal noise in which a share of the runs stalls `depth` deviations below the others."""
    deviation = math.sqrt(1 + share * (1 - share) * depth**2)

    def draw(generator: random.Random) -> float:
        stalled = generator.random() < share
        return (generator.gauss(0.0, 1.0) - depth * (stalled - share)) / deviation

    return draw


def resampled(scores: Sequence[float]) -> Draw:
    """Noise drawn from measured scores of one unchanged file, standardised.

    Raises:
      ValueError: there are fewer than two different ones.
    """
    mean, deviation = statistics.fmean(scores), statistics.pstdev(scores)
    if not deviation > 0:
        raise ValueError("the scores do not differ")
    standard = [(score - mean) / deviation for score in scores]
    return lambda generator: generator.choice(standard)
