"""What `harness.verify` asks of the proofs in a ledger."""

import dataclasses

import pytest

from harness.judgement import audit
from harness.measurement import instrument
from harness.places import LEDGER
from harness.record.entries import ConfirmationBegun, Role, SetBack, Verdict
from harness.record.ledger import Ledger


@pytest.fixture(scope="module")
def entries(searched):
    return Ledger(searched.branch.root / LEDGER).read().entries


def faults(entries):
    return audit.faults(entries, instrument.fingerprint())


def lots(entry, **changes):
    """The beginning of a confirmation, with other lots."""
    return dataclasses.replace(entry, lots=dataclasses.replace(entry.lots, **changes))


def changed(entries, which, change):
    """The rows, the first that is so and was not yet changed replaced."""
    at = next(at for at, entry in enumerate(entries) if which(entry))
    return [*entries[:at], change(entries[at]), *entries[at + 1 :]]


def is_begun(entry):
    return isinstance(entry, ConfirmationBegun)


def is_of(role, verdict=None):
    return lambda entry: (
        getattr(entry, "role", None) == role and verdict in (None, getattr(entry, "verdict", None))
    )


def test_a_branch_that_the_harness_has_written_has_no_fault(entries):
    assert faults(entries) == []


FORGED = {
    "level": (
        is_begun,
        lambda entry: lots(entry, level=2 * entry.lots.level),
        "its level is not the one that the rule hands out here",
    ),
    "balance": (
        is_begun,
        lambda entry: lots(entry, blocks=[[1, 1, 1, 1, 0, 0], *entry.lots.blocks[1:]]),
        "its lots do not give both files as many places in each block",
    ),
    "number": (
        is_begun,
        lambda entry: lots(entry, number=2),
        "it is called confirmation 2, after 0",
    ),
    "incumbent": (
        is_begun,
        lambda entry: lots(entry, incumbent="f" * 12),
        "its incumbent is not the branch's",
    ),
    "lead": (
        is_begun,
        lambda entry: dataclasses.replace(entry, challenger="f" * 12),
        "it is about a file that does not lead",
    ),
    "no lots": (
        is_begun,
        lambda entry: dataclasses.replace(entry, lots=None),
        "it does not say what was fixed before the confirmation",
    ),
    "place": (
        is_of(Role.CONFIRMATION),
        lambda entry: dataclasses.replace(entry, commit="f" * 12),
        "it has no place in the lots of a confirmation",
    ),
    "keep": (
        is_of(Role.CONFIRMATION, Verdict.UNPROVED),
        lambda entry: dataclasses.replace(entry, verdict=Verdict.KEEP),
        "it keeps the lead, and its runs do not prove it",
    ),
    "estimate": (
        is_of(Role.ESTIMATE),
        lambda entry: dataclasses.replace(entry, commit="f" * 12),
        "it is an estimate of a file that is not the one proved last",
    ),
    "set back": (
        lambda entry: isinstance(entry, SetBack),
        lambda entry: dataclasses.replace(entry, challenger="f" * 12),
        "the lead falls back to a file that is not below it",
    ),
}


@pytest.mark.parametrize(("which", "change", "message"), FORGED.values(), ids=FORGED)
def test_what_is_not_as_the_rule_has_it_is_told_with_its_row(entries, which, change, message):
    forged = changed(entries, which, change)
    row = next(entry for entry in entries if which(entry))
    assert f"{row.run_id}: {message}" in faults(forged)


def test_levels_of_another_harness_are_not_worked_out_here(entries):
    forged = changed(entries, is_begun, lambda entry: lots(entry, level=0.5))
    assert audit.faults(forged, "another") == []


def test_a_confirmation_of_which_a_run_was_taken_out_proves_nothing(entries):
    """The verdict is worked out again from all rows before it."""
    kept = next(entry for entry in entries if is_of(Role.CONFIRMATION, Verdict.KEEP)(entry))
    ended = [e for e in entries if is_of(Role.CONFIRMATION)(e) and not e.begun]
    without = [entry for entry in entries if entry is not ended[0]]
    assert f"{kept.run_id}: it keeps the lead, and its runs do not prove it" in faults(without)
