"""What `harness.run` says of a verdict, and what it takes to prove a lead."""

import dataclasses
import math

import pytest

from harness import run
from harness.errors import InputError
from harness.judgement import search
from harness.morning import aftermath, findings
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Role, Verdict
from tests.conftest import summary_block
from tests.searched import begun


@pytest.fixture
def ongoing(tmp_path, monkeypatch):
    """A branch whose baseline is measured, in the working folder."""
    contest = begun(tmp_path / "checkout")
    monkeypatch.chdir(contest.branch.root)
    return contest


def edited(ongoing, skill, message="an edit"):
    """A person's edit, tried as `harness.run --message` does."""
    (ongoing.branch.root / EDITABLE).write_text(f"SKILL = {skill} # truly {skill}\n")
    run._go_on(ongoing, message, None, False)


def test_an_accepted_edit_leads_and_what_proves_it_is_said(ongoing, capsys):
    edited(ongoing, 4)
    said = capsys.readouterr()
    block = summary_block(said.out)
    assert block["verdict"] == "accept"
    assert block["ahead"] == "1 edit, not proved"
    assert "The edit leads: it is expected to be better, which is not proved yet." in said.err
    assert f"From {search.CONFIRM:+.0f} on it is confirmed without being asked for" in said.err
    most = 2 * sum(search.pairs(math.inf, closing=True))
    assert f"--confirm does it now, with at most {most} runs (0.0 hours of training)" in said.err


def test_an_edit_that_is_set_aside_says_what_leads(ongoing, capsys):
    edited(ongoing, -9)
    said = capsys.readouterr()
    assert summary_block(said.out)["ahead"] == "0 edits"
    assert "The edit is set aside: too little speaks for it." in said.err
    assert "--confirm" not in said.err  # there is nothing to confirm


def test_a_person_proves_the_lead_by_one_confirmation(ongoing, capsys):
    edited(ongoing, 5)
    capsys.readouterr()
    run._go_on(ongoing, "", None, True)
    said = capsys.readouterr()
    block = summary_block(said.out)
    assert (block["confirmation"], block["verdict"], block["ahead"]) == ("1", "keep", "0 edits")
    past = ongoing.read()
    assert block["reason"] == aftermath.last_confirmation(past).reason
    assert past.incumbent == past.progress().proved
    assert "What led is proved, and is the incumbent" in said.err
    assert sum(one.role == Role.ESTIMATE for one in past.runs) == search.ESTIMATE_RUNS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", None, True), "nothing to confirm: no edit is ahead of the incumbent"),
        (("an edit", None, True), "--confirm tries no edit"),
        (("", 2, True), "--confirm tries no edit"),
    ],
)
def test_a_confirmation_of_nothing_is_refused(ongoing, arguments, message):
    before = len(ongoing.read().runs)
    with pytest.raises(InputError, match=message):
        run._go_on(ongoing, *arguments)
    assert len(ongoing.read().runs) == before


def test_a_lead_that_is_hardly_ahead_is_not_confirmed_and_the_figures_say_why(ongoing, monkeypatch):
    edited(ongoing, 4)
    monkeypatch.setattr(search, "CLOSING", 99.0)
    with pytest.raises(InputError, match=r"worth \+\d\.\d deviations .* more than \+99\.0"):
        run._go_on(ongoing, "", None, True)


def test_false_keeps_are_those_of_confirmations(ongoing, capsys, monkeypatch):
    """Edits that change nothing are accepted, and the lead is confirmed at the end."""
    monkeypatch.setattr(search, "is_accepted", lambda outlook, name: True)
    monkeypatch.setattr(search, "is_due", lambda outlook, left, closing, level: closing)
    run._go_on(ongoing, "", 3, False)
    block = summary_block(capsys.readouterr().out)
    past = ongoing.read()
    accepted = sum(one.verdict == Verdict.ACCEPT for one in past.runs)
    assert accepted > 1  # the third one may be stopped
    assert (block["challengers"], block["accepted"]) == ("3", str(accepted))
    assert block["confirmations"] == "1"
    assert block["false_keeps"] == str(len(past.progress().keeps))


def test_a_keep_of_what_led_before_an_aa_test_is_no_false_one(searched):
    found = findings.read(searched.branch.root / LEDGER)
    (proved, unproved) = found.confirmations

    def since(experiments, confirmations=0):
        """The branch at that time."""
        return dataclasses.replace(
            found,
            experiments=found.experiments[:experiments],
            confirmations=found.confirmations[:confirmations],
        )

    assert (proved.edits, proved.verdict, unproved.verdict) == ([2, 4], "keep", "unproved")
    assert aftermath.false_keeps(found, since(1)) == 1
    assert aftermath.false_keeps(found, since(2)) == 0  # the second edit led already
    assert aftermath.false_keeps(found, since(4, 1)) == 0
    simpler = [dataclasses.replace(proved, simpler=True)]
    assert aftermath.false_keeps(dataclasses.replace(found, confirmations=simpler), since(1)) == 0


def test_what_a_failed_confirmation_leaves_is_said(searched):
    past = searched.read()
    there = past.progress()
    past._progress = dataclasses.replace(there, stack=())
    try:
        (said,) = aftermath.of_confirmation(past, Verdict.UNPROVED)
        assert said == "The lead is not proved. The incumbent leads again."
    finally:
        past._progress = there
    said = aftermath.of_confirmation(past, Verdict.UNPROVED)
    assert said[0] == "The lead is not proved. It still leads, and may be proved later."
    assert "The lead is 1 edit ahead of the incumbent" in said[1]
