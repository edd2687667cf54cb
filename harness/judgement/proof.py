"""The proof of a branch's lead: when it is due, its lots, its runs, and what follows.

What a confirmation is, and what it proves, `confirmation` says; `rulings` says what each of its
runs decides. Here the runs are made, block by block, planned from the ledger alone.
"""

import functools
import secrets
from collections.abc import Callable, Iterator, Sequence

from harness.checkout.branch import Branch
from harness.errors import BusyError
from harness.judgement import confirmation, layout, rulings, search
from harness.judgement.batches import FAILED, LOST_RUNS, Batches
from harness.judgement.experiment import Part
from harness.judgement.history import History
from harness.measurement.sites import Site
from harness.record.entries import ConfirmationBegun, Entry, Lots, Role, SetBack

OTHER_INSTRUMENT = "What measures has changed: the confirmation is given up, and the lead stays."
ENDED_TOO_OFTEN = (
    f"{rulings.LOSSES} runs were cut off: the confirmation is given up, and the lead stays."
)
"""Why a confirmation that was begun is given up."""


class Proof:
    """Confirms the lead of a branch where that is due.

    Args:
      branch: the branch.
      batches: makes runs of it.
      site: where they are measured.
      follow: brings the branch's refs to where its ledger is.
    """

    def __init__(
        self, branch: Branch, batches: Batches, site: Site, follow: Callable[[], object]
    ) -> None:
        self._branch = branch
        self._batches = batches
        self._replicates = batches.replicates
        self._site = site
        self._follow = follow

    def is_due(self, past: History, left: float, closing: bool, asked: bool = False) -> bool:
        """Whether `advance` would do anything; arguments as there, with what was measured."""
        if past.progress().begun is not None or past.missing() or self._lacks_looks(past):
            return True
        refreshes = self._refreshes(past, left)
        return refreshes or self._due(past, left, closing, asked) is not None

    def advance(self, left: float, closing: bool, asked: bool = False) -> Iterator[str]:
        """Do what is due, and say what came of it.

        Args:
          left: runs that there is time for.
          closing: whether the night ends after that.
          asked: whether a person asks for a confirmation: then also for one that was just made.

        Raises:
          HarnessError: a run failed that says nothing of the files.
        """
        past = self._replicates.read()
        begun = past.progress().begun
        if begun is not None and (reason := self._gives_up(past, begun)):
            past = self._replicates.conclude(functools.partial(self._given_up, reason))
            yield f"confirmation {past.progress().confirmations}: {reason}"
            begun = None
        if begun is None:
            past = self._batches.fill(History.missing, "the incumbent")
            for _ in range(search.LOOKS):
                if not self._lacks_looks(past):
                    break
                yield self._run_lead(past)
                past = self._replicates.read()
            if self._refreshes(past, left):
                yield self._run_lead(past)
                past = self._replicates.read()
            if self._lacks_looks(past) or self._due(past, left, closing, asked) is None:
                return
            past = self.draw_lots(left, closing, asked)
            yield f"confirmation {past.progress().confirmations}: the lead against the incumbent"
        yield self._prove(past)

    def _refreshes(self, past: History, left: float) -> bool:
        """Whether the lead is run once more, for so many edits of it were set aside."""
        there = past.progress()
        return there.in_a_row >= search.LONG_ASIDE and left > search.reserve(there.level())

    def _gives_up(self, past: History, begun: ConfirmationBegun) -> str:
        """Why a confirmation that was begun does not go on; nothing where it does.

        Runs of two instruments are no comparison. And under another one a run that was cut off gets
        its row, which decides nothing there.
        """
        assert begun.lots is not None
        if begun.harness != self._site.instrument:
            return OTHER_INSTRUMENT
        ended = layout.cut_off(past, begun.lots.number)
        return ENDED_TOO_OFTEN if len(ended) >= rulings.LOSSES else ""

    def _given_up(self, reason: str, past: History) -> Entry:
        """The row that ends a confirmation which does not go on."""
        circumstances = self._replicates.circumstances(past, "lead")
        return SetBack(**circumstances, challenger=past.lead, reason=reason)

    def _lacks_looks(self, past: History) -> bool:
        """Whether the lead was accepted by runs that count no more, for want of its instrument."""
        there = past.progress()
        return bool(there.stack) and len(past.files()[there.lead].scores) < search.LOOKS

    def _run_lead(self, past: History) -> str:
        """Run the lead once more, and set it back where that says so."""
        name = past.lead
        role = Role.CHALLENGER if past.progress().stack else Role.INCUMBENT
        number = len(past.scores(role, name)) + 1
        self._batches.attempt(
            self._replicates.part(role, name, name, number), "the lead, once more"
        )
        self._follow()
        return "the lead was run once more"

    def draw_lots(self, left: float, closing: bool, asked: bool = False) -> History:
        """Fix a confirmation: its level, and who runs in which place.

        Raises:
          BusyError: there is one.
        """

        def drawn(past: History) -> Entry:
            if past.progress().begun is not None:
                raise BusyError("Another command has begun a confirmation on this branch.")
            lots = self._due(past, left, closing, asked)
            if lots is None:
                raise BusyError("Another command has changed what leads on this branch.")
            circumstances = self._replicates.circumstances(past, "lots")
            return ConfirmationBegun(**circumstances, challenger=past.lead, lots=lots)

        self._follow()  # what another slot has accepted is confirmed as git has it
        return self._replicates.conclude(drawn)

    def _due(self, past: History, left: float, closing: bool, asked: bool) -> Lots | None:
        """What is fixed of a confirmation that is due: its level, and who runs in which place.

        What was just asked in vain is not asked again by itself: nothing more is known since, and
        each time makes the next ones stricter.
        """
        lots = self._wanted(past, left, closing)
        again = lots is not None and past.progress().repeats(lots)
        return None if again and not asked else lots

    def _wanted(self, past: History, left: float, closing: bool) -> Lots | None:
        """The same, of what the search wants."""
        there, outlook = past.progress(), past.outlook()
        number = there.confirmations + 1
        level = there.level()
        if search.is_due(outlook, left, closing, level):
            blocks = _drawn(search.pairs(left, closing, level))
            jump = search.jump(outlook)
            return Lots(number, there.incumbent, level, jump, blocks, _ways())
        level = there.level(simpler=True)
        if not closing or not search.is_simpler_due(outlook, there.yardstick, left, level):
            return None
        lines = self._branch.simpler(there.lead, there.incumbent)
        if lines is None:
            return None
        margin = past.margin()
        if not margin > 0:
            return None
        blocks = _drawn(confirmation.simpler_pairs(level))
        return Lots(number, there.yardstick, level, margin, blocks, _ways(), margin, lines)

    def _prove(self, past: History) -> str:
        """Make the runs of a confirmation, block by block, to its end; what it has decided."""
        begun = past.progress().begun
        while begun is not None:
            assert begun.lots is not None
            parts = self._open_places(past, begun)
            for failure in self._batches.at_once(parts, "side by side"):
                if failure is not None and not isinstance(failure, (*LOST_RUNS, *FAILED)):
                    raise failure
            past = self._replicates.read()
            begun = past.progress().begun
        self._follow()
        past = self._batches.fill(History.missing, "the new incumbent")
        decided = (run for run in reversed(past.runs) if run.role == Role.CONFIRMATION)
        return next(run.reason for run in decided if run.verdict.final)

    def _open_places(self, past: History, begun: ConfirmationBegun) -> list[Part]:
        """The runs that the first incomplete block of a confirmation lacks, in their order."""
        assert begun.lots is not None
        place = 0
        for lots, scores in zip(begun.lots.blocks, layout.scores(past, begun), strict=True):
            lacking = [
                self._replicates.part(
                    Role.CONFIRMATION,
                    begun.challenger if is_lead else begun.lots.incumbent,
                    begun.challenger,
                    layout.numbered(begun, number),
                )
                for number, (is_lead, score) in enumerate(
                    zip(lots, scores, strict=True), start=place + 1
                )
                if score is None
            ]
            if lacking:
                return lacking
            place += len(lots)
        return []


def _drawn(pairs: Sequence[int]) -> list[list[int]]:
    """The places of blocks by lot: 1 where the lead runs."""
    return [_shuffled([1] * count + [0] * count) for count in pairs]


def _ways() -> int:
    """A seed for the random ways to hand out the places."""
    return secrets.randbelow(confirmation.WAYS)


def _shuffled(places: list[int]) -> list[int]:
    """The places of a block by lot."""
    secrets.SystemRandom().shuffle(places)
    return places
