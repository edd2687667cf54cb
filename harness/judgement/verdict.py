"""Keep or discard: a sequential test of one challenger against the incumbent.

The rule, on one page in `docs/keep-rule.md`. A challenger is run once. As long as it stays ahead of
the incumbent by a hurdle it is run again, the incumbent being measured anew beside it; it is kept
as soon as a permutation test of the difference of means allows it, and discarded where it falls
below the hurdle or has used up its replicates.

Nothing is assumed of the noise but that runs are exchangeable where an edit changes nothing. Then
each look at the runs errs with at most the level that it was given. The levels of a challenger's
looks add up to at most `LOOKS_OVERLAP * alpha(number)`, and `alpha` over all challengers that a
branch will ever see to `2 * FALSE_KEEPS`: once for its first night, once for all that follow.

A run that was cut off is made again, and whoever cut it off may have seen what it was going to be.
So a look asks for a p-value that is smaller by the number of ways in which the runs that it has
could have been picked: for each of these the test is valid, and all together err no more than one
look at runs of which none was made again. (That is so for each number of runs made again.)

References: permutation tests for comparing training algorithms in stages, with early stopping
(Mathieu et al. 2024, "AdaStop", TMLR, arXiv 2306.10882); spending a level over looks (Lan and
DeMets 1983, Biometrika 70); the p-value of a random subset of permutations (Phipson and Smyth 2010,
arXiv 1603.05766); levels that add up over an endless stream of tests (Foster and Stine 2008, JRSS B
70).
"""

import dataclasses
import functools
import itertools
import math
import statistics
from collections.abc import Sequence

import numpy as np
from scipy import special

from harness.record.entries import Role, Verdict

FALSE_KEEPS = 0.25
"""Expected false keeps of a branch's first night; and of all its later nights together."""

NIGHT_LENGTH = 40
"""Challengers."""

LOOKS_OVERLAP = 2.0
"""Looks at growing data err together, so that all of them err less often than the sum of their
levels says. With levels that add up to twice a challenger's share, the simulated rate of false
keeps is two thirds of `FALSE_KEEPS` for the worst noise that was tried."""

MAX_REPLICATES = 12
"""Runs of one challenger. With ten, a fifth of improvements by two deviations are missed."""

BASELINE_RUNS = 10
"""That an incumbent is compared on, at least: as the test of four replicates needs them to reach
its level. A new incumbent's runs as a challenger count; chosen for being high, they are a high bar.
"""

FRESH_RUNS = 5
"""Of a new incumbent after the decision to keep it, at least. Its estimate rests on these alone."""

RUNS_PER_REMEASUREMENT = 2
"""Replicates of a challenger for each new run of the incumbent beside it."""

REMEMBERED_RUNS = 30
"""Of the incumbent that a challenger is compared with: the latest, for machines drift."""

HURDLES = (0.4, 0.65, 0.8)
"""By replicate, the last one for all further: how many standard deviations of the incumbent's runs
the challenger's mean must be ahead. Two of three edits that change nothing go at the first."""

WINS = 0.8
"""Or else, what share of the incumbent's runs a challenger's runs must beat on average: where one
freak run has pulled up the incumbent's mean and spread, its rank is all that is left to see."""

EXACT_UP_TO = 5_000
"""Rearrangements that are all looked at; where there are more, `RESAMPLES` random ones are."""

RESAMPLES = 4_999

COARSE = 5
"""Steps of a sampled p-value, 1 / (`RESAMPLES` + 1) each, that a level must have; a finer level is
compared with the exact p-value, which counts all rearrangements without making them."""

HOPELESS = (8, 4)
"""Nothing is counted exactly where so many random rearrangements are as good, and so many times as
many as the level says: below a level that happens once in 10^9 times."""

ROUNDING = 1e-9
"""Levels and p-values are multiples of the same fraction, compared in floating point."""


@dataclasses.dataclass(frozen=True)
class Look:
    """A look at a challenger's runs: what its level depends on besides their number.

    Attributes:
      before: runs of the incumbent from before the challenger.
      picks: ways in which its runs could have been picked, see `picks`.
    """

    before: int
    picks: int = 1


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What comes next, and why.

    Attributes:
      step: whom to run once more, or the decision.
      reason: in words, with the figures.
    """

    step: Role | Verdict
    reason: str


def judge(
    challenger: Sequence[float],
    before: Sequence[float],
    beside: Sequence[float],
    number: int,
    looks: Sequence[Look] | None = None,
    picks: int = 1,
) -> Judgement:
    """Say what comes next for a challenger.

    Args:
      challenger: scores of its replicates, in their order, at least one.
      before: scores of the incumbent's runs from before this challenger, at least two.
      beside: scores of the incumbent's runs that were made beside it.
      number: which challenger of the branch's life it is, from 1.
      looks: those so far, where another incumbent, another worker's runs or an interruption came in
        between; all as this one if None.
      picks: ways in which its runs could have been picked, see `picks`.
    """
    before = before[-REMEMBERED_RUNS:]
    count = len(challenger)
    this = Look(len(before), picks)
    earlier = list(looks or [this] * (count - 1))[: count - 1]
    incumbent = [*before, *beside[: (count - 1) // RUNS_PER_REMEASUREMENT]]
    figures = _figures(challenger, incumbent)
    if reason := _behind(challenger, incumbent):
        return Judgement(Verdict.DISCARD, f"{figures}: {reason}.")
    level = look_levels(number, (*earlier, this))[-1]
    if level > 0:
        p = p_value(challenger, incumbent, level)
        figures += f", p = {p:.2g} with {level:.2g} allowed"
        if p <= level * (1 + ROUNDING):
            return Judgement(Verdict.KEEP, f"{figures}: better.")
    if count >= MAX_REPLICATES:
        return Judgement(Verdict.DISCARD, f"{figures}: not shown to be better in {_runs(count)}.")
    due = len(beside) < count // RUNS_PER_REMEASUREMENT
    step = Role.INCUMBENT if due else Role.CHALLENGER
    return Judgement(step, f"{figures}: it can still win.")


def alpha(number: int) -> float:
    """The probability of a false keep that a branch's challenger may use.

    Evenly over the first night, then falling as 1/number², so that the sum over any number of later
    challengers stays below `FALSE_KEEPS` once more.
    """
    if number <= NIGHT_LENGTH:
        return FALSE_KEEPS / NIGHT_LENGTH
    return FALSE_KEEPS * NIGHT_LENGTH / (number * (number - 1))


def fresh_runs(own: int) -> int:
    """How many runs a new incumbent gets, which had `own` runs as a challenger."""
    return max(FRESH_RUNS, BASELINE_RUNS - own)


def picks(runs: int, again: int) -> int:
    """In how many ways runs could have been picked by who saw them coming and cut some off.

    Each of those that were cut off was made again in the place of one that is there; who decides
    that can have any of as many sets of runs as there are ways to spread the ends over the places.

    Args:
      runs: that are there.
      again: how many others were cut off and made again.
    """
    return math.comb(runs - 1 + again, again)


@functools.cache
def look_levels(number: int, looks: tuple[Look, ...]) -> tuple[float, ...]:
    """Levels of the looks so far, one after each replicate.

    Each multiplied by its picks, they add up to at most `LOOKS_OVERLAP * alpha(number)`.
    A look may spend in proportion to how far the replicates have come, and what earlier looks left.
    A p-value is a multiple of one over the number of rearrangements; a look to which less is
    allowed cannot succeed and spends nothing.

    Args:
      number: which challenger.
      looks: in their order.
    """
    levels: list[float] = []
    spent = 0.0
    for count, look in enumerate(looks, start=1):
        there = min(look.before, REMEMBERED_RUNS) + (count - 1) // RUNS_PER_REMEASUREMENT
        left = (LOOKS_OVERLAP * alpha(number) * count / MAX_REPLICATES - spent) / look.picks
        ways = math.comb(count + there, count)
        grain = 1 / (ways if _is_exact(ways, left) else RESAMPLES + 1)
        levels.append(max(math.floor(left / grain * (1 + ROUNDING)), 0) * grain)
        spent += levels[-1] * look.picks
    return tuple(levels)


def p_value(challenger: Sequence[float], incumbent: Sequence[float], level: float = 1.0) -> float:
    """How often a random relabelling of all runs has a difference of means that is no smaller.

    Exact where there are at most `EXACT_UP_TO` ways to choose the challenger's runs; else over
    `RESAMPLES` random ones, the same at each call, with the observed one counted in. Exact as well
    where it may be below a level that is too fine for that.

    Args:
      challenger: its runs.
      incumbent: its runs.
      level: that it will be compared with.
    """
    runs = np.array([*challenger, *incumbent])
    runs = runs - runs.mean()
    count, ways = len(challenger), math.comb(len(runs), len(challenger))
    least = runs[:count].sum() - ROUNDING * np.abs(runs).max()
    chosen = _choices(count, len(runs))
    as_good = int((chosen @ runs >= least).sum())
    if ways <= EXACT_UP_TO:
        return as_good / ways
    if _is_exact(ways, level) and as_good <= HOPELESS[0] + HOPELESS[1] * level * RESAMPLES:
        return _as_good(runs, count, least) / ways
    return (as_good + 1) / (RESAMPLES + 1)


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """Where the mean of all such runs lies with 95 % (Student's t); at least two scores."""
    quantile = special.stdtrit(len(scores) - 1, 0.975)
    half = quantile * statistics.stdev(scores) / math.sqrt(len(scores))
    return statistics.fmean(scores) - half, statistics.fmean(scores) + half


def _is_exact(ways: int, level: float) -> bool:
    """Whether a p-value of so many rearrangements must be exact to be compared with a level."""
    return ways <= EXACT_UP_TO or level * (RESAMPLES + 1) < COARSE * (1 - ROUNDING)


def _as_good(runs: np.ndarray, count: int, least: float) -> int:
    """How many sets of `count` runs have a sum of at least `least`.

    The runs are split into two halves: for each sum of some of the one, the sums of the other that
    are large enough are found by bisection. So 10^10 sets are counted from 10^7 sums.
    """
    half = len(runs) // 2
    ones, others = _sums(runs[:half], count), _sums(runs[half:], count)
    found = 0
    for size, sums in enumerate(ones):
        rest = np.sort(others[count - size])
        missing = np.sort(least - sums)  # in order, or bisection would run all over memory
        found += len(sums) * len(rest) - int(np.searchsorted(rest, missing).sum())
    return found


def _sums(runs: np.ndarray, most: int) -> list[np.ndarray]:
    """The sums of all sets of runs, by the sets' size from none to `most`."""
    sums = [np.zeros(1), *[np.zeros(0)] * most]
    for run in runs:
        longer = (np.concatenate([one, less + run]) for less, one in itertools.pairwise(sums))
        sums = [sums[0], *longer]
    return sums


@functools.lru_cache(maxsize=128)
def _choices(count: int, total: int) -> np.ndarray:
    """Rows of `total` zeros and `count` ones: all that there are, or `RESAMPLES` random ones."""
    if math.comb(total, count) <= EXACT_UP_TO:
        places = np.array(list(itertools.combinations(range(total), count)))
    else:
        generator = np.random.default_rng(0)  # the same data give the same verdict
        places = generator.random((RESAMPLES, total)).argsort(axis=1)[:, :count]
    chosen = np.zeros((len(places), total))
    np.put_along_axis(chosen, places, 1.0, axis=1)
    return chosen


def _behind(challenger: Sequence[float], incumbent: Sequence[float]) -> str:
    """Why a challenger is not run again; empty where it can still win."""
    ahead = statistics.fmean(challenger) - statistics.fmean(incumbent)
    hurdle = HURDLES[min(len(challenger), len(HURDLES)) - 1] * statistics.stdev(incumbent)
    pairs = len(challenger) * len(incumbent)
    wins = sum(mine > theirs for mine in challenger for theirs in incumbent) / pairs
    if ahead > 0 and (ahead > hurdle or wins >= WINS):
        return ""
    return f"{ahead:+,.4g}, where more than {hurdle:+,.4g} is needed to continue"


def _figures(challenger: Sequence[float], incumbent: Sequence[float]) -> str:
    """Both means, in words."""
    return (
        f"{statistics.fmean(challenger):,.4g} in {_runs(len(challenger))} against "
        f"{statistics.fmean(incumbent):,.4g} in {_runs(len(incumbent))} of the incumbent"
    )


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
