"""Where search and proof are on a branch, from its rows, one after the other."""

import dataclasses
from collections.abc import Mapping, Sequence

from harness.judgement import confirmation
from harness.judgement.search import File
from harness.record.entries import (
    ConfirmationBegun,
    Entry,
    Lots,
    Role,
    Run,
    SetBack,
    Simpler,
    Verdict,
)

NAME_LENGTH = 12
"""Characters of a commit's name in the ledger."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where search and proof are on a branch; files by their names.

    Attributes:
      incumbent: that is proved.
      stack: accepted edits on top of it, in their order.
      made_on: of each edit the lead that it was made on.
      aside: edits that were set aside, those that were stopped among them.
      confirmations: that were begun.
      simpler: those of them that asked if the lead is as good and simpler; the others, if better.
      keeps: of the others, counted by themselves, the numbers of those that kept something.
      simpler_keeps: the same of those.
      proved: the incumbent that the last of all these made; empty if there is none.
      before_simpler: the incumbent before those that were proved to be as good and simpler, and
        nothing else, last; empty if none was.
      simplified: edits after which the file that they were made on is simpler.
      in_a_row: edits set aside since the lead changed or was run.
      begun: the confirmation that goes on; None if none does.
      unproved: the one that has proved nothing, where the search has no score since; None else.
      falling: the run after which the lead has to be set back, which it is not yet; None if none.
    """

    incumbent: str
    stack: tuple[str, ...] = ()
    made_on: Mapping[str, str] = dataclasses.field(default_factory=dict)
    aside: tuple[str, ...] = ()
    confirmations: int = 0
    simpler: int = 0
    keeps: tuple[int, ...] = ()
    simpler_keeps: tuple[int, ...] = ()
    proved: str = ""
    before_simpler: str = ""
    simplified: frozenset[str] = frozenset()
    in_a_row: int = 0
    begun: ConfirmationBegun | None = None
    unproved: ConfirmationBegun | None = None
    falling: Run | None = None

    @property
    def lead(self) -> str:
        """The file that edits are made on."""
        return self.stack[-1] if self.stack else self.incumbent

    @property
    def yardstick(self) -> str:
        """The file with which a simpler one is compared, so that small losses do not add up.

        It is the incumbent that was proved to be better last, or that the branch began with.
        """
        return self.before_simpler or self.incumbent

    def file(self, name: str) -> File:
        """A file before any score of it."""
        return File(name, self.made_on.get(name), simpler=name in self.simplified)

    def repeats(self, lots: Lots) -> bool:
        """Whether a confirmation of the lead asks again what was just asked in vain."""
        before = self.unproved
        return (
            before is not None
            and before.lots is not None
            and same(before.challenger, self.lead)
            and (before.lots.incumbent, before.lots.simpler) == (lots.incumbent, lots.simpler)
        )

    def level(self, simpler: bool = False) -> float:
        """The level of the next confirmation that asks one question or the other."""
        if simpler:
            return confirmation.level(self.simpler + 1, self.simpler_keeps)
        return confirmation.level(self.confirmations - self.simpler + 1, self.keeps)


def reached(entries: Sequence[Entry], first: str) -> Progress:
    """Where a branch is after these rows, the first of which ran `first`."""
    there = Progress(first)
    for entry in entries:
        there = after(there, entry)
    return there


def after(there: Progress, entry: Entry) -> Progress:
    """Where a branch is after one more of its rows."""
    if isinstance(entry, Run) and entry.scored and entry.role in (Role.CHALLENGER, Role.INCUMBENT):
        there = dataclasses.replace(there, unproved=None)
    match entry:
        case ConfirmationBegun(lots=lots) if lots is not None:
            there = dataclasses.replace(
                there, begun=entry, confirmations=lots.number, simpler=there.simpler + lots.simpler
            )
        case ConfirmationBegun():  # its row was damaged: it has spent the level of both questions
            there = dataclasses.replace(
                there, begun=None, confirmations=there.confirmations + 2, simpler=there.simpler + 1
            )
        case Simpler():
            there = dataclasses.replace(there, simplified=there.simplified | {entry.challenger})
        case SetBack():
            stack = there.stack[: _height(there, entry.challenger)]
            there = dataclasses.replace(there, stack=stack, falling=None, in_a_row=0, begun=None)
        case Run(role=Role.INCUMBENT) if not entry.begun and not entry.status.cut_off:
            there = dataclasses.replace(there, in_a_row=0)
        case Run(role=Role.CHALLENGER):
            there = _after_trial(there, entry)
        case Run(role=Role.CONFIRMATION, verdict=Verdict.KEEP):
            return _after_keep(there, entry.challenger)
        case Run(role=Role.CONFIRMATION, verdict=Verdict.UNPROVED):
            vain = None if entry.status.cut_off else there.begun
            there = dataclasses.replace(there, begun=None, unproved=vain, falling=entry)
    return there


def _after_keep(there: Progress, name: str) -> Progress:
    """After a confirmation that has proved a lead."""
    lots = there.begun.lots if there.begun else None
    keeps, simpler_keeps, before = there.keeps, there.simpler_keeps, there.yardstick
    if lots is not None and lots.simpler:
        simpler_keeps = (*simpler_keeps, there.simpler)
    elif lots is not None:  # of a damaged row nobody knows what was asked: it pays nothing back
        keeps, before = (*keeps, there.confirmations - there.simpler), ""
    return dataclasses.replace(
        there, incumbent=name, proved=name, stack=there.stack[_height(there, name) :],
        keeps=keeps, simpler_keeps=simpler_keeps, before_simpler=before, begun=None, unproved=None,
        in_a_row=0,
    )  # fmt: skip


def _height(there: Progress, name: str) -> int:
    """How many accepted edits there are up to a file; none up to the incumbent."""
    return next((i for i, one in enumerate(there.stack, start=1) if same(one, name)), 0)


def _after_trial(there: Progress, row: Run) -> Progress:
    """After a row of an edit's trial."""
    name = row.challenger
    if name in (*there.stack, there.incumbent):  # the lead, once more
        ended = row.verdict == Verdict.NONE and (row.scored or row.status.at_fault)
        return dataclasses.replace(there, falling=row) if ended and there.stack else there
    if name not in there.made_on:
        there = dataclasses.replace(there, made_on={**there.made_on, name: there.lead})
    aside = tuple(one for one in there.aside if one != name)
    match row.verdict:
        case Verdict.ACCEPT:
            stack = (*there.stack, name)
            return dataclasses.replace(there, stack=stack, aside=aside, in_a_row=0)
        case Verdict.KEEP:  # of a branch without leads
            return dataclasses.replace(
                there, incumbent=name, before_simpler="", stack=(), in_a_row=0
            )
        case Verdict.DISCARD | Verdict.INCONCLUSIVE:
            aside = aside if row.status.at_fault or row.status.cut_off else (*aside, name)
            return dataclasses.replace(there, aside=aside, in_a_row=there.in_a_row + 1)
    return there


def same(one: str, other: str) -> bool:
    """Whether two names, short or whole, are of one commit."""
    return one[:NAME_LENGTH] == other[:NAME_LENGTH]
