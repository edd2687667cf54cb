"""How many runs it takes to prove that a file is better, by simulated confirmations."""

import random

from harness.judgement import confirmation, search
from harness.judgement.chance import Draw
from harness.judgement.confirmation import Block, Design
from harness.judgement.noise import Noise

PROVED = 0.8
"""How often what is better has to be proved by as many runs as are said to be enough."""

TRIALS = 200
"""Simulated confirmations for one rate, which is then right to three percent."""


def enough(shift: float, noise: Noise, draw: Draw, level: float) -> int | None:
    """The runs of each file in the smallest confirmation that mostly proves an improvement.

    Args:
      shift: the improvement, in standard deviations between runs.
      noise: of the scores, as the rule knows it.
      draw: gives the noise of a run, in standard deviations.
      level: of the confirmation.

    Returns:
      None where the largest confirmation proves it too rarely.
    """
    low, high = search.CLOSING_PAIRS[0], search.CLOSING_PAIRS[2]
    if rate(shift, high, noise, draw, level) < PROVED:
        return None
    while low < high:
        middle = (low + high) // 2
        if rate(shift, middle, noise, draw, level) < PROVED:
            low = middle + 1
        else:
            high = middle
    return high


def rate(shift: float, runs: int, noise: Noise, draw: Draw, level: float) -> float:
    """How often a confirmation with so many runs of each file proves an improvement."""
    generator = random.Random(0)
    least, most = search.JUMP
    pairs = search.pairs(2 * runs + search.ESTIMATE_RUNS, closing=True)
    jump = noise.deviation * min(max(shift, least), most)
    design = Design(level, pairs, jump, noise)
    proved = 0
    for _ in range(TRIALS):
        blocks: list[Block] = []
        for count in pairs:
            lead = (True,) * count + (False,) * count
            scores = tuple(noise.deviation * (draw(generator) + shift * one) for one in lead)
            blocks.append(Block(scores, lead))
            if confirmation.look(design, blocks).kept:
                proved += 1
                break
    return proved / TRIALS
