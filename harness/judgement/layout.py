"""The layout of a confirmation: which run has which place, and what its places have scored."""

import math
from collections.abc import Sequence

from harness.judgement import confirmation
from harness.judgement.confirmation import MOST_PLACES, Block, Design
from harness.judgement.history import History
from harness.record.entries import ConfirmationBegun, Role, Run

PLACES_NUMBERED = MOST_PLACES + 1
"""A confirmation's runs are numbered by their place, after this many times its own number."""


def numbered(begun: ConfirmationBegun, place: int) -> int:
    """The number of a confirmation's run, by its place from 1."""
    assert begun.lots is not None
    return PLACES_NUMBERED * begun.lots.number + place


def confirmation_of(replicate: int) -> int:
    """The number of a confirmation, by that of one of its runs."""
    return replicate // PLACES_NUMBERED


def place_of(replicate: int) -> int:
    """The place of a confirmation's run, from 1, by its number."""
    return replicate % PLACES_NUMBERED


def design(past: History, begun: ConfirmationBegun, more: int = 0) -> Design:
    """What was fixed before a confirmation's first run, and in how many ways it was picked.

    Args:
      past: what was measured.
      begun: its row.
      more: runs that are cut off, besides those that are known.
    """
    assert begun.lots is not None
    assert past.conditions is not None
    ended = len(cut_off(past, begun.lots.number))
    runs = sum(map(len, begun.lots.blocks)) * len(past.conditions.tasks)
    return Design(
        level=begun.lots.level,
        pairs=tuple(len(block) // 2 for block in begun.lots.blocks),
        jump=begun.lots.jump,
        noise=past.before(begun).outlook().noise,
        picks=confirmation.picks(runs, ended + more),
        seed=begun.lots.ways,
    )


def cut_off(past: History, number: int) -> list[Run]:
    """The runs of a confirmation that something else than their file has ended, by its number."""
    ended = past.cut_off(Role.CONFIRMATION)
    return [row for row in ended if confirmation_of(row.replicate) == number]


def scores(past: History, begun: ConfirmationBegun) -> list[list[float | None]]:
    """The scores of a confirmation's places, by block; None where there is none yet."""
    assert begun.lots is not None
    numbers = iter(range(1, PLACES_NUMBERED))
    return [
        [_score(past, begun, next(numbers), bool(is_lead)) for is_lead in block]
        for block in begun.lots.blocks
    ]


def _score(past: History, begun: ConfirmationBegun, place: int, is_lead: bool) -> float | None:
    """A place's score: that of an incumbent's run that failed is the highest there is."""
    assert begun.lots is not None
    commit = begun.challenger if is_lead else begun.lots.incumbent
    name = Role.CONFIRMATION, begun.challenger, numbered(begun, place), commit
    score = past.score(*name)
    if score is not None or is_lead:
        return score
    return math.inf if any(row.status.at_fault for row in past.attempts(*name)) else None


def blocks(begun: ConfirmationBegun, places: Sequence[Sequence[float | None]]) -> list[Block]:
    """The complete blocks of a confirmation, up to the first one that is not.

    An incumbent's run that failed is infinite, see `confirmation.raised`.

    Args:
      begun: its row.
      places: their scores, as `scores`.
    """
    assert begun.lots is not None
    found: list[Block] = []
    for lead, there in zip(begun.lots.blocks, places, strict=True):
        known = tuple(score for score in there if score is not None)
        if len(known) < len(lead):
            break
        found.append(Block(known, tuple(map(bool, lead))))
    return found
