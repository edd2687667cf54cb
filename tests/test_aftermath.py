"""What `harness.run` says of a verdict, and what it takes to prove a lead."""

import dataclasses
import re

import pytest

from harness import run
from harness.checkout import git
from harness.errors import InputError, IntegrityError, TrainingError
from harness.judgement import search
from harness.judgement.search import Outlook
from harness.morning import aftermath, reader, standing
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Role, Verdict
from harness.record.ledger import Ledger
from harness.terminal import options
from tests.conftest import summary_block
from tests.searched import begun


@pytest.fixture
def ongoing(tmp_path, monkeypatch):
    """A branch whose baseline is measured, in the working folder."""
    contest = begun(tmp_path / "checkout")
    monkeypatch.chdir(contest.branch.root)
    return contest


def edited(ongoing, skill, message="an edit", more=""):
    """A person's edit, tried as `harness.run --message` does."""
    (ongoing.branch.root / EDITABLE).write_text(f"SKILL = {skill} # truly {skill} {more}\n")
    run._go_on(ongoing, message, None, False)


def shown(ongoing, said):
    """The file of the edit that stays in git, by the command that is printed for it."""
    (name,) = re.findall(rf"git show (refs/autorl/night/discarded/\S+:{EDITABLE})$", said, re.M)
    return git.text(ongoing.branch.root, "show", name)


def test_an_accepted_edit_leads_and_what_proves_it_is_said(ongoing, capsys):
    edited(ongoing, 4)
    said = capsys.readouterr()
    block = summary_block(said.out)
    assert block["verdict"] == "accept"
    assert block["ahead"] == "1 edit, not proved"
    assert "The edit leads: it is expected to be better, which is not proved yet." in said.err
    assert (
        "Above +5.40 it is confirmed without being asked for, with at most 16 runs (32 seconds of "
        "training). Above +0.40 --confirm does it, with at most 42 runs (84 seconds of training). "
        "The 2 runs of a new incumbent's estimate are among them." in said.err
    )
    following = said.err.partition("next:\n")[2]
    assert re.findall(r"-m (harness\.\w+(?: --\w+)?)", following) == [
        "harness.run --message", "harness.run --confirm", "harness.status"
    ]  # fmt: skip


def test_a_finer_level_takes_more_runs_and_that_is_said(ongoing):
    """The 21st confirmation has a block more: 720 orders of three blocks are too few."""
    edited(ongoing, 4)
    past = ongoing.read()
    past._progress = dataclasses.replace(past.progress(), confirmations=20)
    said = aftermath.of_confirmation(past, Verdict.UNPROVED)[1]
    assert "with at most 20 runs (40 seconds of training). Above +0.40" in said


def test_an_edit_that_is_set_aside_says_what_leads(ongoing, capsys):
    edited(ongoing, -9)
    said = capsys.readouterr()
    assert summary_block(said.out)["ahead"] == "0 edits"
    assert "The edit is set aside: too little speaks for it." in said.err
    assert "--confirm" not in said.err  # there is nothing to confirm
    assert shown(ongoing, said.err).startswith("SKILL = -9")


def test_an_edit_that_fails_says_what_follows_and_where_it_is(ongoing, capsys):
    with pytest.raises(TrainingError, match="as the file wants it"):
        edited(ongoing, 9, more="crash")
    said = capsys.readouterr()
    block = summary_block(said.out)
    assert (block["verdict"], block["ahead"]) == ("discard", "0 edits")
    assert block["reason"] == ongoing.read().runs[-1].reason
    assert f"The edit is set aside: its file failed. {EDITABLE} is again the file" in said.err
    assert shown(ongoing, said.err).endswith("crash")
    assert ongoing.branch.edit() == ongoing.branch.edit_of("lead")


def test_a_trial_that_goes_on_keeps_the_message_that_git_has(ongoing, capsys):
    root = ongoing.branch.root
    stray = root / "stray.py"
    stray.touch()
    with pytest.raises(IntegrityError, match=r"stray\.py"):
        edited(ongoing, -9, "the first words\n\nand more")
    said = capsys.readouterr()
    assert (said.out, "what it means" in said.err) == ("", False)  # it stays on trial
    stray.unlink()
    edited(ongoing, -9, "other words")
    assert "goes on under its first message: the first words and more\n" in capsys.readouterr().err
    past = ongoing.read()
    row = past.runs[-1]
    assert row.description == "the first words and more"
    commit = git.text(root, "rev-parse", ongoing.branch.discarded(row.run_id))
    assert ongoing.branch.description(commit) == "the first words\n\nand more"
    edited(ongoing, -9, "other words")  # its trial is over: this is another one
    assert "first message" not in capsys.readouterr().err
    assert ongoing.read().runs[-1].description == "other words"


def test_what_an_interrupted_confirmation_costs_is_said_and_what_goes_on_with_it(ongoing, capsys):
    edited(ongoing, 5)
    root = ongoing.branch.root
    capsys.readouterr()
    in_it = ongoing.site.ending(lambda row, _: row.role == Role.CONFIRMATION, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt), options.at_work(root), in_it:
        run._go_on(ongoing, "", None, True)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "a run of confirmation 1 was cut off: the next command makes it again, and what is "
        "allowed is finer now"
    )
    waits = (
        "; confirmation 1 has not ended: the next command goes on with it, or python -m "
        "harness.run --confirm by itself"
    )
    assert standing.look(root)[-1] == "at work: nobody" + waits
    with options.at_work(root):
        assert waits not in standing.look(root)[-1]
    with pytest.raises(KeyboardInterrupt), options.at_work(root):
        raise KeyboardInterrupt  # in a command that has cut off none
    assert capsys.readouterr().err == ""
    run._go_on(ongoing, "", None, True)
    assert ongoing.read().progress().keeps == (1,)
    assert standing.look(root)[-1] == "at work: nobody"


def test_the_third_run_that_is_cut_off_ends_a_confirmation_and_that_is_said(ongoing):
    edited(ongoing, 5)
    with ongoing.site.ending(lambda row, _: row.role == Role.CONFIRMATION, KeyboardInterrupt()):
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                run._go_on(ongoing, "", None, True)
    entries = Ledger(ongoing.branch.root / LEDGER).read().entries
    (said,) = aftermath.of_interruption(entries, [])
    assert said.startswith("confirmation 1 has ended, and proved nothing: ")
    assert said.endswith(entries[-1].reason)


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
    assert "harness.report" in said.err.partition("next:\n")[2]
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
    with pytest.raises(InputError, match=r"worth \+\d\.\d\d deviations .* more than \+99\.00"):
        run._go_on(ongoing, "", None, True)


@pytest.mark.parametrize(("ahead", "told"), [(0.38, "+0.38"), (0.398, "+0.39"), (-0.05, "-0.05")])
def test_what_is_not_above_a_bound_does_not_look_it(ongoing, monkeypatch, ahead, told):
    edited(ongoing, 4)
    monkeypatch.setattr(Outlook, "ahead", lambda self, name=None: ahead)
    assert f"worth {told} deviations between runs. For a confirmation it has to be more than " \
           "+0.40: " in aftermath.undue(ongoing.read())  # fmt: skip


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
    found = reader.read(searched.branch.root / LEDGER)
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
