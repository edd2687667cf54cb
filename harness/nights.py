"""Simulated nights: what a keep rule does where the truth is known.

Scores are a true value plus noise of standard deviation one. The night of the shipped rule calls
`verdict.judge` itself and counts every run that it would make, the incumbent's own included.
"""

import dataclasses
import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

from harness import verdict

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


@dataclasses.dataclass
class Night:
    """What happened.

    Attributes:
      runs: made, of challengers and incumbents.
      challengers: judged.
      kept: the true effect of every challenger that was kept.
      errors: estimate minus truth of every incumbent, in the order of their reigns.
      last_kept: whether the last challenger was kept.
      replicates: of the last challenger.
    """

    runs: int = 0
    challengers: int = 0
    kept: list[float] = dataclasses.field(default_factory=list)
    errors: list[float] = dataclasses.field(default_factory=list)
    last_kept: bool = False
    replicates: int = 1

    @property
    def gain(self) -> float:
        """The incumbent's true value at the end, above the baseline's."""
        return math.fsum(self.kept)

    @property
    def false_keeps(self) -> int:
        """Keeps of what is no better."""
        return sum(effect <= 0 for effect in self.kept)


def sequential(
    draw: Draw, effects: Iterable[float], generator: random.Random, most_runs: float = math.inf
) -> Night:
    """A night under the shipped rule.

    Args:
      draw: the noise.
      effects: of each challenger on the incumbent's true value.
      generator: of random numbers.
      most_runs: no new challenger is begun after so many.
    """
    night = Night()

    def run(value: float) -> float:
        night.runs += 1
        return value + draw(generator)

    pool = [run(0.0) for _ in range(verdict.fresh_runs(0))]
    night.errors.append(statistics.fmean(pool))
    for number, effect in enumerate(effects, start=1):
        if night.runs >= most_runs:
            break
        truth = night.gain
        challenger = [run(truth + effect)]
        beside: list[float] = []
        while not (said := verdict.judge(challenger, pool, beside, number)).final:
            if said.step == "challenger":
                challenger.append(run(truth + effect))
            else:
                beside.append(run(truth))
        night.challengers += 1
        night.last_kept = said.step == "keep"
        night.replicates = len(challenger)
        if night.last_kept:
            night.kept.append(effect)
            fresh = [run(night.gain) for _ in range(verdict.fresh_runs(len(challenger)))]
            night.errors.append(statistics.fmean(fresh) - night.gain)
            pool = [*challenger, *fresh]
        else:
            pool = [*pool, *beside]
    return night


def greedy(
    draw: Draw, effects: Iterable[float], generator: random.Random, most_runs: float = math.inf
) -> Night:
    """A night under autoRL's rule: one run each, and what is higher than the last kept is kept."""
    best = draw(generator)
    night = Night(runs=1, errors=[best])
    for effect in itertools.takewhile(lambda _: night.runs < most_runs, effects):
        score = night.gain + effect + draw(generator)
        night.runs += 1
        night.challengers += 1
        night.last_kept = score > best
        if night.last_kept:
            best = score
            night.kept.append(effect)
            night.errors.append(best - night.gain)
    return night


def detection(draw: Draw, shift: float, trials: int, generator: random.Random) -> float:
    """How often a branch's first challenger is kept which is truly better by `shift`."""
    kept = (sequential(draw, [shift], generator).last_kept for _ in range(trials))
    return statistics.fmean(kept)


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
