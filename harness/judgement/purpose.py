"""What a run on a branch is made for, in words for whoever watches it."""

from collections.abc import Sequence

from harness.judgement import layout
from harness.judgement.experiment import Part
from harness.record.entries import ConfirmationBegun, Entry, Lots, Role, Run

PURPOSES = {
    Role.CHALLENGER: "the edit, run {}",
    Role.INCUMBENT: "the incumbent, run {}",
    Role.ESTIMATE: "estimate of the new incumbent, run {}",
    Role.TRANSFER: "on this task, run {}",
    Role.NONE: "a run by itself",
}
"""Of runs with a number that are not side by side with those of other files."""


def told(run: Run | Part, entries: Sequence[Entry]) -> str:
    """What a run is made for.

    Args:
      run: its row, or its part.
      entries: of the ledger: of a confirmation's run they say whose place it has.
    """
    if run.role == Role.ABLATION:
        side = "the whole file" if run.commit == run.challenger else "without one of its edits"
        return f"what carries the gain, block {run.replicate}: {side}"
    if run.role != Role.CONFIRMATION:
        return PURPOSES[run.role].format(run.replicate)
    place = layout.place_of(run.replicate)
    side = "the lead" if run.commit == run.challenger else "the incumbent"
    lots = _lots(entries, run.branch, layout.confirmation_of(run.replicate))
    of = f" of at most {sum(map(len, lots.blocks))}" if lots else ""
    return f"side by side, place {place}{of}: {side}"


def _lots(entries: Sequence[Entry], branch: str, number: int) -> Lots | None:
    """What was fixed before the first run of a confirmation; None where no row says it."""
    begun = (e.lots for e in reversed(entries) if isinstance(e, ConfirmationBegun) and
             e.branch == branch)  # fmt: skip
    return next((lots for lots in begun if lots and lots.number == number), None)
