"""The proof: fresh runs of the lead and the incumbent, side by side, and how often lots do that.

The search may err as it likes, because nothing that it saw counts here. A confirmation makes new
runs of both files in blocks. In each block both have equally many, and their order is drawn by lot.
If the edits between the two files change nothing, then each way of handing out the places in the
blocks was equally probable, whatever the machine did meanwhile: it may have become faster or slower
between blocks and within them. So the share of these ways that look at least as good as what was
seen errs no more often than it says. That is a randomization test (Fisher 1935), and it needs no
assumption about the scores.

It is looked at after each block. What may be kept by then is a share of the level that grows with
the runs, and the ways that would have been kept at an earlier look are counted as kept: so all
looks together err no more than the level.

Levels are handed out for ever (`level`). Each is positive, they fall with the number of
confirmations that kept nothing, and rise after one that kept something, as LORD has it (Javanmard
and Montanari 2018, Annals of Statistics 46). What that bounds is in `docs/keep-rule.md`.

A lead that is simpler has less to prove: that it is not worse by a margin. The margin is added to
its scores (`raised`), and the same test is made. Such confirmations have levels of their own, and
take none from the others.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from harness.judgement.noise import Noise

BUDGET = 0.2
"""What all levels of a branch without a keep add up to; and what each keep adds once more."""

DECAY = 1.5
"""Levels fall as the number of confirmations to this power. Steeper, the first ones could be kept
by fewer runs; flatter, there would be more left for the tenth."""

TOLERANCE = 0.75
"""Deviations of the noise by less than which a simpler lead may be worse. Two thirds of it would
take twice the runs."""

POWER = 0.8
"""How often it is proved of a simpler lead that is exactly as good, by the normal distribution."""

MOST_PLACES = 99
"""Runs of a confirmation, so that its number and their places make one number of each run."""

SIMPLER_BLOCK = 4
"""Runs of each file in a block of such a confirmation."""

SPENDING = 0.5
"""What may be kept after a share of the runs is the level times the share to this power."""

EXACT_UP_TO = 50_000
"""Ways that are all looked at; where there are more, random ones and that which was."""

SAMPLED = 9_999, 999_999
"""Random ways: so many at least, and at most."""

WAYS = 2**31
"""Seeds for the random ways."""

GRAINS = 10
"""Of the chance by random ways, that a level has: the finer it is, the more of them are drawn."""

SHAPE_WEIGHT = 0.3
"""Of what the density of the noise says of a run, against its score itself. Where some runs stall,
the density tells a stalled run from a bad file; the score keeps it a matter of means."""

FITTED = 3.0
"""Reach of the centre of a block around its mean, in deviations: stalls pull the mean."""

ROUNDING = 1e-9
"""Of sums of floating-point numbers that are the same."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Runs of both files, made one after the other or beside each other.

    Attributes:
      scores: in the order of the lots.
      lead: which of them are of the lead; half of them.
    """

    scores: tuple[float, ...]
    lead: tuple[bool, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Design:
    """What is fixed before the first run.

    Attributes:
      level: how often it may keep what changes nothing.
      pairs: runs of each file, by block.
      jump: by how much the lead is thought to be better, in scores. It makes the test sharper
        where it is right, and errs no more where it is wrong.
      noise: of the scores.
      picks: in how many ways the runs could have been picked by who cut some off.
      seed: of the random ways, where there are too many to look at all of them; drawn for each
        confirmation.
    """

    level: float
    pairs: tuple[int, ...]
    jump: float
    noise: Noise
    picks: int = 1
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Look:
    """What is known after a block.

    Attributes:
      kept: whether the lead is proved to be better.
      chance: how often lots alone would have been kept by now or look as good.
      allowed: how often that may be, by now.
    """

    kept: bool
    chance: float
    allowed: float


def level(number: int, keeps: Sequence[int]) -> float:
    """The level of a confirmation of a branch.

    Args:
      number: of it in the branch's life, from 1.
      keeps: numbers of the earlier ones that kept something.
    """
    since = [number, *(number - keep for keep in keeps)]
    return BUDGET * sum(distance**-DECAY for distance in since) / float(special.zeta(DECAY))


def simpler_pairs(level: float) -> tuple[int, ...]:
    """Runs of each file by block, for a proof that a lead is not worse by `TOLERANCE`.

    There are no more than `MOST_PLACES`; where the level would need more, it is proved more rarely.

    Args:
      level: of the confirmation.
    """
    distance = float(special.ndtri(1 - level) + special.ndtri(POWER))
    count = min(math.ceil(2 * (distance / TOLERANCE) ** 2), MOST_PLACES // 2)
    whole, rest = divmod(count, SIMPLER_BLOCK)
    return (SIMPLER_BLOCK,) * whole + ((rest,) if rest else ())


def raised(blocks: Sequence[Block], margin: float = 0.0) -> list[Block]:
    """Blocks as they are compared: with a margin added to the lead's scores.

    An incumbent's run that failed has a score of infinity; it counts as the highest of its block,
    the margin included: whoever fails lowers no bar.
    """
    found = []
    for block in blocks:
        scores = [
            score + margin * is_lead
            for score, is_lead in zip(block.scores, block.lead, strict=True)
        ]
        highest = max((score for score in scores if score < math.inf), default=0.0)
        there = tuple(min(score, highest) for score in scores)
        found.append(dataclasses.replace(block, scores=there))
    return found


def can_keep(pairs: Sequence[int], level: float, picks: int = 1) -> bool:
    """Whether a design has ways enough for its level, so that the best of them can be kept.

    Args:
      pairs: runs of each file, by block.
      level: of the confirmation.
      picks: as of `Design`.
    """
    ways = _count(pairs)
    looked_at = ways if ways <= EXACT_UP_TO else min(ways, 1 + SAMPLED[1])
    return level / picks * looked_at >= 1 - ROUNDING


def picks(runs: int, again: int) -> int:
    """In how many ways runs could have been picked by who saw them coming and cut some off.

    Each of those that were cut off was made again in the place of one that is there; who decides
    that can have any of as many sets of runs as there are ways to spread the ends over the places.

    Args:
      runs: that are there.
      again: how many others were cut off and made again.
    """
    return math.comb(runs - 1 + again, again)


def look(design: Design, blocks: Sequence[Block]) -> Look:
    """What the blocks so far say.

    Args:
      design: of the confirmation.
      blocks: that are complete, in their order; at least one.

    Raises:
      ValueError: they are not those of the design.
    """
    made = [(len(block.scores), len(block.lead), sum(block.lead)) for block in blocks]
    if not made or made != [(2 * one, 2 * one, one) for one in design.pairs[: len(made)]]:
        raise ValueError(f"blocks of {made} scores, places and lead's places in {design.pairs}")
    if _count(design.pairs) <= EXACT_UP_TO:
        ways = _ways(design.pairs)
    else:
        drawn = _drawn(design.pairs, design.seed, _samples(design))
        ways = np.vstack([_observed(design.pairs, blocks), drawn])
    total, done = sum(design.pairs), 0
    sums, leads = np.zeros(len(ways)), np.zeros(len(ways))
    seen = ahead = 0.0
    kept = np.zeros(len(ways), bool)
    at = 0
    for count, block in enumerate(blocks, start=1):
        scores, lead = np.array(block.scores), np.array(block.lead)
        worth = evidence(scores, design.jump, design.noise)
        above = scores - scores.mean()
        places = ways[:, at : at + len(scores)]
        sums, leads = sums + places @ worth, leads + places @ above
        seen, ahead = seen + worth[lead].sum(), ahead + above[lead].sum()
        at, done = at + len(scores), done + len(scores) // 2
        share = 1.0 if count == len(design.pairs) else (done / total) ** SPENDING
        allowed = design.level / design.picks * share
        # Ways that are worse on average are never kept, whatever the density says of them.
        found = np.where(leads > 0, sums, -np.inf)
        mine = seen if ahead > 0 else -math.inf
        as_good = found >= mine - ROUNDING * max(1.0, abs(mine))
        chance = float((as_good | kept).sum()) / len(ways) if ahead > 0 else 1.0
        if chance <= allowed * (1 + ROUNDING):
            return Look(True, chance, allowed)
        kept |= _best(found, ~kept, math.floor(allowed * len(ways) * (1 + ROUNDING)) - kept.sum())
    return Look(False, chance, allowed)


def evidence(scores: np.ndarray, jump: float, noise: Noise) -> np.ndarray:
    """What each run of a block says for being of the better file, on average nothing.

    It is a function of the block's scores alone, not of whose they are.

    Args:
      scores: of the block.
      jump: by how much the one file is thought to be better, in scores.
      noise: of the scores.
    """
    there = scores / noise.deviation
    half = jump / noise.deviation / 2
    centres = there.mean() + np.arange(-FITTED, FITTED + 0.05, 0.1)
    above, below = (
        noise.likelihood(there - centres[:, None] - half * sign) for sign in (1.0, -1.0)
    )
    fitted = np.log(above + below).sum(axis=1).argmax()
    shape = np.log(above[fitted]) - np.log(below[fitted])
    return (1 - SHAPE_WEIGHT) * (there - there.mean()) + SHAPE_WEIGHT * (shape - shape.mean())


def _best(found: np.ndarray, among: np.ndarray, most: int) -> np.ndarray:
    """The best ways, so many at most; of several that are alike all or none."""
    among = among & np.isfinite(found)
    ranked = np.sort(found[among])[::-1]
    if most <= 0 or most >= len(ranked):
        return among & (most > 0)
    slack = ROUNDING * max(1.0, abs(ranked[most - 1]))
    if ranked[most] >= ranked[most - 1] - slack:
        return among & (found > ranked[most - 1] + slack)
    return among & (found >= ranked[most - 1] - slack)


def _observed(pairs: Sequence[int], blocks: Sequence[Block]) -> np.ndarray:
    """Whose the places of a design were; nobody's after the last block that was made."""
    lead = [flag for block in blocks for flag in block.lead]
    return np.array([*lead, *[False] * (2 * sum(pairs) - len(lead))], np.int8)


def _count(pairs: Sequence[int]) -> int:
    """Of all ways."""
    return math.prod(math.comb(2 * one, one) for one in pairs)


def _samples(design: Design) -> int:
    """How many random ways are drawn, where it is not all."""
    least, most = SAMPLED
    return min(max(least, math.ceil(GRAINS * design.picks / design.level)), most)


@functools.lru_cache(maxsize=16)
def _ways(pairs: tuple[int, ...]) -> np.ndarray:
    """All ways to call half of each block's places the lead's: rows of ones and zeros."""
    halves = [_halves(one) for one in pairs]
    return np.array([np.concatenate(way) for way in itertools.product(*halves)])


@functools.lru_cache(maxsize=2)
def _drawn(pairs: tuple[int, ...], seed: int, samples: int) -> np.ndarray:
    """So many of them at random; the same runs give the same verdict."""
    halves = [_halves(one) for one in pairs]
    generator = np.random.default_rng(seed)
    drawn = [half[generator.integers(0, len(half), samples)] for half in halves]
    return np.concatenate(drawn, axis=1)


@functools.cache
def _halves(pairs: int) -> np.ndarray:
    """All ways to call half of a block's places the lead's, as rows of ones and zeros."""
    chosen = np.array(list(itertools.combinations(range(2 * pairs), pairs)))
    rows = np.zeros((len(chosen), 2 * pairs), np.int8)
    np.put_along_axis(rows, chosen, 1, axis=1)
    return rows
