"""What carries the gain: a proved file without one of its edits, side by side with the whole.

Each edit that lies between the branch's first file and the incumbent is taken out alone, by a merge
of three texts. The whole file and all files without an edit run in blocks, each once, in an order
by lot. From these runs nothing is decided: the search does not see them, nor does a proof. They
only say which edit is worth taking out: one that makes the file simpler where it is gone, and whose
loss is small. That is offered as an edit on trial, as if an agent had made it.

The intervals are those of a randomized complete block design (Fisher 1935): what is common to a
block is taken out, and the scatter of what is left belongs to all files together.
"""

import dataclasses
import enum
import math
import random
from collections.abc import Sequence

import numpy as np
from scipy import special

from harness.checkout import syntax
from harness.judgement import search
from harness.judgement.contest import Contest
from harness.judgement.experiment import Part
from harness.judgement.history import History
from harness.judgement.progress import NAME_LENGTH
from harness.judgement.rulings import LOSSES
from harness.record.entries import Role, Run

BLOCKS = 12
"""Of each file. An edit that does nothing is found to be worth less than a deviation by them."""

CONFIDENCE = 0.95
"""Of the intervals, each by itself."""


class Worth(enum.StrEnum):
    """What an edit is to the file that it is in."""

    CARRIES = "carries"
    PASSENGER = "passenger"
    UNCLEAR = "unclear"
    NEEDED = "fails without it"
    BUILT_ON = "cannot be taken out alone"
    GONE = "nothing of it is left"


@dataclasses.dataclass(frozen=True)
class Edit:
    """An edit of a file.

    Attributes:
      commit: its name, short.
      message: its first line.
      without: the commit of the file without it; None where there is no such file.
      worth: why there is none; `unclear` where there is one.
    """

    commit: str
    message: str
    without: str | None
    worth: Worth = Worth.UNCLEAR


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is known of an edit.

    Attributes:
      edit: the edit.
      worth: what it is to the file.
      runs: of each file, on which this rests.
      loss: by how much the file scores less without it, on average; NaN where nothing is known.
      low, high: its interval.
    """

    edit: Edit
    worth: Worth
    runs: int = 0
    loss: float = math.nan
    low: float = math.nan
    high: float = math.nan


def edits(ongoing: Contest, whole: str) -> list[Edit]:
    """The edits that made a file of the branch's first one, the oldest first.

    Args:
      ongoing: the branch's contest.
      whole: the file's commit.
    """
    branch = ongoing.branch
    first = ongoing.read().runs[0].commit
    found = []
    for commit, _ in branch.edits(first, whole):
        file, message = branch.without(whole, commit), branch.message(commit)
        name, made, worth = commit[:NAME_LENGTH], None, Worth.UNCLEAR
        if file is None or syntax.fault(file):
            worth = Worth.BUILT_ON
        elif file == branch.edit_of(whole):
            worth = Worth.GONE
        else:
            made = branch.set_apart(file, whole, commit)[:NAME_LENGTH]
        found.append(Edit(name, message, made, worth))
    return found


def block(
    ongoing: Contest, past: History, whole: str, there: Sequence[Edit], number: int
) -> list[Part]:
    """The runs that a block lacks, in their order by lot.

    Args:
      ongoing: the branch's contest.
      past: what was measured.
      whole: the commit of the whole file.
      there: its edits.
      number: of the block, from 1.
    """
    names = [whole, *(edit.without for edit in there if edit.without)]
    random.Random(f"{whole} {number}").shuffle(names)  # the same order after a kill
    return [
        ongoing.replicates.part(Role.ABLATION, name, whole, number)
        for name in names
        if _lacks(past, whole, name, number)
    ]


def findings(past: History, whole: str, there: Sequence[Edit]) -> list[Finding]:
    """What the runs say of each edit.

    Args:
      past: what was measured.
      whole: the commit of the whole file.
      there: its edits.
    """
    known = [edit for edit in there if edit.without and not _fails(past, whole, edit.without)]
    scores = _scores(past, whole, [whole, *(edit.without or "" for edit in known)])
    intervals = _intervals(scores) if known and len(scores) > 1 else []
    measured = dict(zip((edit.commit for edit in known), intervals, strict=False))
    margin = past.margin()
    found = []
    for edit in there:
        if edit.commit in measured:
            loss, low, high = measured[edit.commit]
            worth = _worth(low, high, margin)
            found.append(Finding(edit, worth, len(scores), loss, low, high))
        elif edit.without and edit not in known:
            found.append(Finding(edit, Worth.NEEDED))
        else:
            found.append(Finding(edit, edit.worth))
    return found


def step(ongoing: Contest, left: float = math.inf, runs: int = BLOCKS) -> str | None:
    """The next thing to do with the incumbent's edits: a block of runs, or a passenger's trial.

    To be called while nothing is on trial.

    Args:
      ongoing: the branch's contest.
      left: runs that there is time for.
      runs: of each file.

    Returns:
      What came of it, in words; None where nothing is left to do, or no time for it.
    """
    past = ongoing.measured(ongoing.read())
    whole = past.incumbent
    there = edits(ongoing, whole)
    if (made := measure(ongoing, whole, there, runs, left)) is not None:
        return made
    return propose(ongoing, whole, there) if left >= search.LOOKS else None


def measure(
    ongoing: Contest, whole: str, there: Sequence[Edit], runs: int, left: float = math.inf
) -> str | None:
    """Make the runs of the first block that lacks some; arguments and answer as of `step`."""
    if not any(edit.without for edit in there):
        return None
    past = ongoing.read()
    for number in range(1, runs + 1):
        parts = block(ongoing, past, whole, there, number)
        if parts and len(parts) > left:
            return None
        if parts:
            failures = [one for one in ongoing.beside(parts, "with and without an edit") if one]
            lost = f", {len(failures)} of them failed" if failures else ""
            return f"the incumbent's edits, block {number} of {runs}: {len(parts)} runs{lost}"
    return None


def propose(ongoing: Contest, whole: str, there: Sequence[Edit]) -> str | None:
    """Offer the next passenger's removal as an edit on trial, where the whole file is the lead.

    So one alone is taken out, until the file without it is proved and taken apart itself: of two
    edits that do the same, each looks like a passenger while the other one is there.

    Args:
      ongoing: the branch's contest.
      whole: the commit of the whole file.
      there: its edits.

    Returns:
      What came of it, in words; None where nothing is to be taken out.
    """
    past = ongoing.read()
    if past.lead != whole:
        return None
    ended = [name for name in past.progress().made_on if past.verdict(name) is not None]
    tried = {ongoing.branch.edit_of(name) for name in ended}  # what was cut off goes on
    for found in findings(past, whole, there):
        if found.worth != Worth.PASSENGER or found.edit.without is None:
            continue
        file = ongoing.branch.edit_of(found.edit.without)
        if file in tried or ongoing.branch.simpler(found.edit.without, whole) is None:
            continue
        message = f"Take out a passenger: {found.edit.message}"
        outcome = ongoing.challenge(message, file)
        return f"{message}: {outcome.verdict}: {outcome.reason}"
    return None


def _worth(low: float, high: float, margin: float) -> Worth:
    """What an edit is, by the interval of its loss and the loss that does not count."""
    if low > 0:
        return Worth.CARRIES
    return Worth.PASSENGER if high < margin else Worth.UNCLEAR


def _intervals(scores: np.ndarray) -> list[tuple[float, float, float]]:
    """Loss of each file against the first one, with its interval.

    Args:
      scores: two rows or more, one a block; two columns or more, one a file.
    """
    blocks, files = scores.shape
    means = scores.mean(axis=0)
    rest = scores - means - scores.mean(axis=1, keepdims=True) + scores.mean()
    freedom = (blocks - 1) * (files - 1)
    deviation = math.sqrt(float((rest**2).sum()) / freedom)
    half = float(special.stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * deviation * math.sqrt(2 / blocks)
    losses = [float(means[0] - mean) for mean in means[1:]]
    return [(loss, loss - half, loss + half) for loss in losses]


def _scores(past: History, whole: str, names: Sequence[str]) -> np.ndarray:
    """The scores of the blocks in which all files have one: a row a block."""
    last = max((row.replicate for row in _rows(past, whole)), default=0)
    blocks = [
        [past.score(Role.ABLATION, whole, number, name) for name in names]
        for number in range(1, last + 1)
    ]
    there = [block for block in blocks if None not in block]
    return np.array(there, float).reshape(len(there), len(names))


def _rows(past: History, whole: str, name: str = "") -> list[Run]:
    """The ended runs of a file's ablation, by what measures now; all, or those of one file."""
    return [
        row
        for row in past.runs
        if row.role == Role.ABLATION
        and row.harness == past.instrument
        and row.challenger == whole[:NAME_LENGTH]
        and (not name or row.commit == name[:NAME_LENGTH])
    ]


def _fails(past: History, whole: str, name: str) -> bool:
    """Whether a file has failed by its own fault."""
    return any(row.status.at_fault for row in _rows(past, whole, name))


def _lacks(past: History, whole: str, name: str, number: int) -> bool:
    """Whether a file's run in a block is still to be made: a file that fails runs no more."""
    if past.score(Role.ABLATION, whole, number, name) is not None:
        return False
    mine = [row for row in _rows(past, whole, name) if row.replicate == number]
    given_up = sum(row.status.cut_off for row in mine) >= LOSSES
    failed = any(row.status.at_fault for row in mine) or (
        name != whole and _fails(past, whole, name)
    )
    return not (given_up or failed)
