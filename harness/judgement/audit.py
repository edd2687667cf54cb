"""Whether the proofs of a ledger are what the rule has them be: lots, levels, runs, and keeps."""

import math
from collections.abc import Iterator, Mapping, Sequence

from harness.judgement import confirmation, layout, progress
from harness.judgement.history import History
from harness.judgement.progress import NAME_LENGTH, Progress
from harness.record.entries import (
    ALONE,
    ConfirmationBegun,
    Entry,
    Lots,
    Role,
    Run,
    SetBack,
    Verdict,
)


def faults(entries: Sequence[Entry], fingerprint: str) -> list[str]:
    """What does not fit, a line each with the id of its row.

    Args:
      entries: of a ledger, in their order.
      fingerprint: of the harness here. Levels and keeps are worked out again where it was at
        work: of another one not even the rule is known.
    """
    names = dict.fromkeys(entry.branch for entry in entries if entry.branch != ALONE)
    return [fault for name in names for fault in _of_branch(entries, name, fingerprint)]


def _of_branch(entries: Sequence[Entry], name: str, fingerprint: str) -> Iterator[str]:
    mine = [entry for entry in entries if entry.branch == name]
    first = next((entry.commit for entry in mine if isinstance(entry, Run)), None)
    if first is None:
        return
    there, begun = Progress(first), dict[int, ConfirmationBegun]()
    for at, entry in enumerate(mine):
        found = [*_of_row(entry, there, begun)]
        if not found and entry.harness.partition(" ")[0] == fingerprint:
            found += _worked_out(mine[: at + 1], there, begun)
        yield from (f"{entry.run_id}: {fault}" for fault in found)
        if isinstance(entry, ConfirmationBegun) and entry.lots is not None:
            begun[entry.lots.number] = entry
        there = progress.after(there, entry)


def _worked_out(
    entries: Sequence[Entry], there: Progress, begun: Mapping[int, ConfirmationBegun]
) -> Iterator[str]:
    """What the rule gives another result for in the last of these rows, which else has no fault."""
    match entries[-1]:
        case ConfirmationBegun(lots=lots) if lots is not None:
            better = there.confirmations - there.simpler
            if any(keep > better for keep in there.keeps):
                return  # a row before it has another number than it should
            if not math.isclose(lots.level, there.level(lots.simpler)):
                yield "its level is not the one that the rule hands out here"
            past = History(entries[:-1], entries[-1].branch, entries[-1].harness)
            if lots.simpler and not math.isclose(lots.margin, past.margin()):
                yield "its margin is not the one that the rule allows here"
        case Run(role=Role.CONFIRMATION, verdict=Verdict.KEEP) as run:
            if not _keeps(entries, run, begun[layout.confirmation_of(run.replicate)]):
                yield "it keeps the lead, and its runs do not prove it"


def _of_row(
    entry: Entry, there: Progress, begun: Mapping[int, ConfirmationBegun]
) -> Iterator[str]:  # fmt: skip
    """What does not fit in one row, where the branch stood so before it."""
    match entry:
        case ConfirmationBegun(lots=None):
            yield "it does not say what was fixed before the confirmation"
        case ConfirmationBegun(lots=lots) if lots is not None:
            if lots.number != there.confirmations + 1:
                yield f"it is called confirmation {lots.number}, after {there.confirmations}"
            if not _same(lots.incumbent, there.yardstick if lots.simpler else there.incumbent):
                yield "its incumbent is not the branch's"
            if not any(_same(entry.challenger, name) for name in there.stack):
                yield "it is about a file that does not lead"
            if not _balanced(lots):
                yield "its lots do not give both files as many places in each block"
        case Run(role=Role.CONFIRMATION):
            if not _drawn(entry, begun):
                yield "it has no place in the lots of a confirmation"
        case Run(role=Role.ESTIMATE):
            if not (_same(entry.commit, there.proved) and _same(entry.challenger, there.proved)):
                yield "it is an estimate of a file that is not the one proved last"
        case SetBack():
            if not any(_same(entry.challenger, one) for one in (there.incumbent, *there.stack)):
                yield "the lead falls back to a file that is not below it"


def _balanced(lots: Lots) -> bool:
    """Whether each block has as many places for the one file as for the other."""
    halves = all(sorted(block) == sorted([0, 1] * (len(block) // 2)) for block in lots.blocks)
    places = sum(map(len, lots.blocks))
    return halves and all(lots.blocks) and 0 < places <= confirmation.MOST_PLACES


def _drawn(run: Run, begun: Mapping[int, ConfirmationBegun]) -> bool:
    """Whether a run is of the file whose place it has by lot."""
    there = begun.get(layout.confirmation_of(run.replicate))
    if there is None or there.lots is None or not _balanced(there.lots):
        return False
    place = layout.place_of(run.replicate)
    places = [one for block in there.lots.blocks for one in block]
    if not (1 <= place <= len(places) and _same(run.challenger, there.challenger)):
        return False
    return _same(run.commit, there.challenger if places[place - 1] else there.lots.incumbent)


def _keeps(entries: Sequence[Entry], run: Run, begun: ConfirmationBegun) -> bool:
    """Whether the runs of a confirmation, up to the last of these rows, prove its lead."""
    past = History(entries, run.branch, run.harness)
    blocks = layout.blocks(begun, layout.scores(past, begun))
    assert begun.lots is not None
    raised = confirmation.raised(blocks, begun.lots.margin)
    return bool(blocks) and confirmation.look(layout.design(past, begun), raised).kept


def _same(one: str, other: str) -> bool:
    """Whether two names, short or whole, are of one commit."""
    return bool(one) and one[:NAME_LENGTH] == other[:NAME_LENGTH]
