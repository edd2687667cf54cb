"""What is worth a run next: a lead runs ahead of the proved incumbent, and edits are made on it.

Everything here is a guess, by Bayes' rule, from all scores so far (`belief`, `noise`). It decides
what is run and what is not, and may be wrong as often as it pays. What is called an improvement is
decided elsewhere (`confirmation`), on runs that nothing here has seen.

An edit is looked at once, and again while it seems to be better than the lead. It becomes the lead
when it is expected to be, and else goes to those that were set aside, of which the best may be
looked at again when there is nothing better to do. When the lead stands far above the incumbent, or
the night ends, a confirmation is spent. A lead that it does not confirm falls back, edit by edit,
as far as nobody would have made it the lead.

An edit after which the file is *simpler* has less to show (`SIMPLICITY`): as good is enough. It
rides in the stack with the others, and what is proved is the sum. A lead that is no more than
simpler has a confirmation of its own, which asks whether it is worse (`confirmation.TOLERANCE`).

All thresholds are in standard deviations of the noise. They were found by simulation
(`scripts/simulate_nights.py`), for the gain of a night and nothing else.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from harness.judgement import belief, confirmation, noise
from harness.judgement.noise import Noise

BASELINE_RUNS = 4
"""Of a branch's first file, before anything is compared with it."""

ACCEPT = 0.25
"""Expected gain of an edit that becomes the lead."""

LOOK_AGAIN = 0.31
"""Expected gain after its first run of an edit that is run again."""

SIMPLICITY = 0.45
"""What fewer lines are worth: an edit that makes the file simpler leads where it is expected to
lose no more than a fifth of a deviation. One that is as good does so in six of ten cases, one that
is worse by a deviation in two. Where a quarter of the edits are such, a night gains as much as
without."""

LOOKS = 2
"""Runs of an edit that gives hope: one alone makes no lead, and after these it is decided."""

BAR = 0.9
"""Share of `ACCEPT` that a first run has to be above the lead's value to give hope."""

CHANCE = 0.45
"""Of a first run to pass that bar, below which it is stopped."""

CONFIRM = 5.4
"""Expected lead over the incumbent at which a confirmation is spent in the middle of a night: the
expectation is too high by about one, for the best of many guesses was chosen."""

CLOSING = 0.4
"""The same when a night ends: what is not tried then is lost until the next one."""

FALL = 0.75
"""Expected lead over the incumbent that an unconfirmed lead must keep."""

FUTILE = 0.1
"""Expected lead below which a confirmation is ended between two blocks."""

PAIRS = (3, 2, 2)
"""Runs of each file in a confirmation, by block. Where the level is too fine for these, more blocks
of the last size follow."""

MOST_BLOCKS = 12
"""Of a confirmation: so many have more ways than can be looked at."""

CLOSING_PAIRS = 3, 4, 20
"""Of one that closes a night: in the first block, in each further one, and at most in all."""

JUMP = 1.0, 2.0
"""Bounds of the difference for which a confirmation is made sharp."""

ESTIMATE_RUNS = 2
"""Of a new incumbent, after the decision and seen by no other one: its estimate."""

RESERVE = 11
"""Runs that are left for the confirmation that closes a night, and the estimate after it. Where its
level is so fine that it needs more, it is more."""

LONG_ASIDE = 40
"""Edits set aside in a row after which the lead is run once more: an unlucky look of it would keep
all others out."""

SECOND_LOOKS = 60
"""At edits that were set aside, when there is nothing better to do."""

SECOND_LOOK = -1.0
"""Expected gain that one of those must have."""

MOST_SECOND_LOOKS = 6
"""Runs of an edit, those of the first trial included."""

ANCESTORS = 12
"""Edits back to a file of which nothing is supposed but its own runs."""


@dataclasses.dataclass(frozen=True)
class File:
    """A training file and what it scored.

    Attributes:
      name: its commit.
      made_on: the name of the file that was edited; None of a branch's first one.
      scores: of all runs that the search may see, in their order.
      looks: runs as an edit on trial.
      simpler: whether it has fewer lines of code than the file that it was made on.
    """

    name: str
    made_on: str | None = None
    scores: tuple[float, ...] = ()
    looks: int = 0
    simpler: bool = False


class Outlook:
    """What is believed of the files of a branch, from all that was measured.

    Args:
      files: by their names.
      incumbent: the name of the proved one, which has two runs at least.
      stack: names of the accepted edits on top of it; the last one is the lead.
    """

    def __init__(self, files: Mapping[str, File], incumbent: str, stack: Sequence[str]) -> None:
        self.files = files
        self.incumbent = incumbent
        self.stack = tuple(stack)
        self.noise: Noise = noise.fit([file.scores for file in files.values()])
        self.unit = self.noise.deviation
        self.origin = belief.origin(files[incumbent].scores, files[self.lead].scores, self.unit)
        self._beliefs: dict[tuple[str, int, int], np.ndarray] = {}

    @property
    def lead(self) -> str:
        """The name of the file on which edits are made."""
        return self.stack[-1] if self.stack else self.incumbent

    def value(self, name: str) -> float:
        """The expected value of a file, in deviations from the incumbent's mean score."""
        return belief.mean(self._belief(name))

    def gain(self, name: str) -> float:
        """By how much a file is expected to be better than the lead, in deviations."""
        return self.value(name) - self.value(self.lead)

    def ahead(self, name: str | None = None) -> float:
        """The same of the lead, or another file, against the incumbent."""
        return self.value(name or self.lead) - self.value(self.incumbent)

    def bar(self, simpler: bool = False) -> float:
        """The score from which on a first run of an edit gives hope; of one that is simpler."""
        bonus = SIMPLICITY if simpler else 0.0
        return self.origin + self.unit * (self.value(self.lead) + BAR * ACCEPT - bonus)

    def bonus(self, name: str) -> float:
        """What an edit has less to show than others: it makes the lead simpler."""
        file = self.files[name]
        return SIMPLICITY if file.simpler and file.made_on == self.lead else 0.0

    def needed(self, name: str) -> float:
        """The expected lead over the incumbent that an unconfirmed file must keep."""
        stack = self.stack[: self.stack.index(name) + 1]
        only = all(self.files[one].simpler for one in stack)
        return ACCEPT - SIMPLICITY if only else FALL

    def with_file(self, file: File) -> "Outlook":
        """The same with other runs of a file that do not tell more of the noise."""
        other = Outlook.__new__(Outlook)
        vars(other).update(vars(self))
        other.files = {**self.files, file.name: file}
        other._beliefs = {}  # those of its edits rest on it
        return other

    def _belief(self, name: str, depth: int = ANCESTORS) -> np.ndarray:
        file = self.files[name]
        key = name, len(file.scores), depth
        if key not in self._beliefs:
            known = file.made_on is not None and file.made_on in self.files and depth > 0
            there = (
                belief.edited(self._belief(file.made_on or "", depth - 1))
                if known
                else belief.unknown()
            )
            for score in file.scores:
                there = belief.seen(there, (score - self.origin) / self.unit, self.noise, self.unit)
            self._beliefs[key] = there
        return self._beliefs[key]


def is_accepted(outlook: Outlook, name: str) -> bool | None:
    """Whether an edit becomes the lead, after a run of it; None if it is run once more."""
    looks, gain = outlook.files[name].looks, outlook.gain(name) + outlook.bonus(name)
    if looks >= LOOKS:
        return gain > ACCEPT
    return None if gain >= LOOK_AGAIN else False


def reserve(level: float) -> float:
    """Runs below which, if there is a lead, no new edit is begun: what is left is for its proof.

    An edit of `LOOKS` runs that is begun with so many leaves what a confirmation needs to keep.

    Args:
      level: of the confirmation.
    """
    most = 2 * CLOSING_PAIRS[2] + ESTIMATE_RUNS
    enough = (
        left for left in range(RESERVE, most)
        if confirmation.can_keep(pairs(left - LOOKS, True, level), level)
    )  # fmt: skip
    return next(enough, most)


def is_over(stack: Sequence[str], left: float, level: float) -> bool:
    """Whether no new edit is begun.

    Args:
      stack: names of the accepted edits.
      left: runs that the night still has.
      level: of the next confirmation.
    """
    return left < (reserve(level) if stack else 1)


def second_look(outlook: Outlook, aside: Sequence[str], hopes: Mapping[str, float]) -> str | None:
    """The edit of those set aside that is worth another look; None if none is.

    Args:
      outlook: as it is.
      aside: names of edits that were made on the present lead.
      hopes: the scores to be expected of those that were stopped and never ran whole.
    """

    def gain(name: str) -> float:
        if outlook.files[name].scores or name not in hopes:
            return outlook.gain(name) + outlook.bonus(name)
        hoped = (hopes[name] - outlook.origin) / outlook.unit - outlook.value(outlook.lead)
        return hoped + outlook.bonus(name)

    there = [name for name in aside if outlook.files[name].looks < MOST_SECOND_LOOKS]
    best = max(there, key=gain, default=None)
    return best if best is not None and gain(best) >= SECOND_LOOK else None


def is_due(outlook: Outlook, left: float, closing: bool, level: float) -> bool:
    """Whether the lead should be confirmed now.

    Args:
      outlook: as it is.
      left: runs that the night still has.
      closing: whether it ends after that.
      level: of the confirmation.
    """
    design = pairs(left, closing, level)
    possible = 2 * sum(design) + ESTIMATE_RUNS <= left and confirmation.can_keep(design, level)
    wanted = CLOSING if closing else CONFIRM
    return bool(outlook.stack) and possible and outlook.ahead() > wanted


def is_simpler_due(outlook: Outlook, yardstick: str, left: float, level: float) -> bool:
    """Whether a lead that is simpler should now be proved to be no worse: when the night ends.

    Args:
      outlook: as it is.
      yardstick: the name of the file that it must not be worse than.
      left: runs that the night still has.
      level: of the confirmation.
    """
    runs = 2 * sum(confirmation.simpler_pairs(level)) + ESTIMATE_RUNS
    loss = outlook.value(yardstick) - outlook.value(outlook.lead)
    return bool(outlook.stack) and left >= runs and loss <= SIMPLICITY - ACCEPT


def pairs(left: float, closing: bool, level: float = 1.0) -> tuple[int, ...]:
    """Runs of each file in a confirmation, by block.

    Args:
      left: runs that the night still has.
      closing: whether it ends after that.
      level: of the confirmation. In the middle of a night there are as many blocks as it needs;
        when the night ends there is what there is time for.
    """
    if not closing:
        design = list(PAIRS)
        while len(design) < MOST_BLOCKS and not confirmation.can_keep(design, level):
            design.append(PAIRS[-1])
        return tuple(design)
    first, further, most = CLOSING_PAIRS
    there = max(int((min(left, 2 * most + ESTIMATE_RUNS) - ESTIMATE_RUNS) // 2), 0)
    found = [min(first, there)]
    while there - sum(found) > 1:
        found.append(min(further, there - sum(found)))
    found[-1] += there - sum(found)  # a pair alone would make no block
    return tuple(found)


def jump(outlook: Outlook) -> float:
    """By how much the lead is thought to be better, for a confirmation's design; in scores."""
    least, most = JUMP
    return outlook.unit * min(max(outlook.ahead(), least), most)


def keeps_on(outlook: Outlook) -> bool:
    """Whether a confirmation that was not decided by a block goes on."""
    return outlook.ahead() >= FUTILE


def keeps_on_simpler(outlook: Outlook, yardstick: str) -> bool:
    """The same of one that asks whether the lead is no worse than a file: while it may be."""
    loss = outlook.value(yardstick) - outlook.value(outlook.lead)
    return loss <= confirmation.TOLERANCE


def falls(outlook: Outlook) -> int:
    """By how many edits an unconfirmed lead falls back."""
    names = (outlook.incumbent, *outlook.stack)
    top = len(outlook.stack)
    while top and outlook.ahead(names[top]) < outlook.needed(names[top]):
        top -= 1
    return len(outlook.stack) - top
