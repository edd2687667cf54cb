"""As good, and simpler: what that is, how it comes into the lead, and how it is proved."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import special

from harness import compare
from harness.checkout import syntax
from harness.checkout.beginning import create
from harness.checkout.syntax import Size
from harness.confinement import sandbox
from harness.judgement import audit, confirmation, noise, search
from harness.judgement.confirmation import Block, Design
from harness.judgement.contest import Contest
from harness.judgement.history import History
from harness.judgement.search import File, Outlook
from harness.morning import aftermath, charts, page, reader, standing
from harness.places import EDITABLE, LEDGER
from harness.record.entries import ConfirmationBegun, Fate, Lots, Role, Run, Simpler, Verdict
from harness.record.ledger import Ledger
from tests.conftest import HALF_CHEETAH, git
from tests.fake_site import FakeSite, KilledError

PROGRAM = b"x = 1\ny = 2\nif x:\n    y = f(x, y)\n"


@pytest.mark.parametrize(
    "same",
    [
        b"x = 1; y = 2\nif x: y = f(x, y)\n",
        b"# why\nx = 1\n\n\ny = 2\nif x:\n    y = f(\n        x,\n        y,\n    )\n",
        b'"""What it is."""\nx = 1\ny = 2\nif x:\n    "a note"\n    y = f(x, y)  # how\n',
    ],
)
def test_lines_are_those_of_the_program_and_not_of_its_layout(same):
    assert syntax.size(same) == syntax.size(PROGRAM)
    assert syntax.size(PROGRAM).lines == 4


def test_what_is_no_python_has_no_size():
    assert [syntax.size(file) for file in (b"def f( :", b"\xff", b"(" * 10_000)] == [None] * 3


def test_simpler_is_fewer_lines_and_no_longer_ones():
    assert syntax.size(b"x = 1\n").is_simpler(syntax.size(b"x = 1\ny = 2\n"))
    packed = syntax.size(b"x, y = 1, 2\n")  # one line instead of two
    assert packed.lines == 1
    assert not packed.is_simpler(syntax.size(b"x = 1\ny = 2\n"))
    hidden = syntax.size(b'exec("x = 1; y = 2; z = 3; w = 4")\n')
    assert hidden.lines == 1
    assert not hidden.is_simpler(syntax.size(b"x = 1\ny = 2\nz = 3\nw = 4\n"))
    assert not Size(3, 9).is_simpler(Size(3, 10))


def outlook(loss, simpler, made_on="lead"):
    """An edit of a lead that seems to lose so many deviations in two runs."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=20)
    begin = tuple(scores - scores.mean())
    files = [
        File("first", scores=begin),
        File("lead", "first", tuple(score + 1.0 for score in begin)),
        File("edit", made_on, (1.0 - loss,) * 2, looks=2, simpler=simpler),
    ]
    return Outlook({file.name: file for file in files}, "first", ["lead"])


def test_an_edit_that_is_as_good_leads_if_it_is_simpler():
    assert search.is_accepted(outlook(0.0, simpler=True), "edit") is True
    assert search.is_accepted(outlook(0.0, simpler=False), "edit") is False
    assert search.is_accepted(outlook(1.5, simpler=True), "edit") is False
    # It is simpler than another file than the one that leads.
    assert search.is_accepted(outlook(0.0, simpler=True, made_on="first"), "edit") is False


def test_a_simpler_edit_is_stopped_at_a_lower_bar():
    there = outlook(0.0, simpler=True)
    assert there.bar() - there.bar(simpler=True) == pytest.approx(search.SIMPLICITY * there.unit)


@pytest.mark.parametrize(("simpler", "falls"), [(True, 0), (False, 1)])
def test_an_unproved_lead_that_is_only_simpler_need_not_be_ahead(simpler, falls):
    files = [File("first", scores=(0.0, 1.0, -1.0)), File("edit", "first", (0.0,) * 4, 4, simpler)]
    there = Outlook({file.name: file for file in files}, "first", ["edit"])
    assert search.falls(there) == falls


def test_a_file_that_is_worse_by_the_margin_is_proved_no_more_often_than_the_level_says():
    generator = np.random.default_rng(1)
    base = generator.exponential(size=8)
    level, margin = 0.1, 0.75
    fitted = noise.fit([generator.exponential(size=8)])
    design = Design(level, (4,), margin, fitted)
    kept = 0
    ways = list(itertools.combinations(range(8), 4))
    for way in ways:  # all lots, each as probable as another
        lead = tuple(place in way for place in range(8))
        scores = tuple(float(score - margin * mine) for score, mine in zip(base, lead, strict=True))
        kept += confirmation.look(design, confirmation.raised([Block(scores, lead)], margin)).kept
    assert 0 < kept / len(ways) <= level


def test_a_file_that_fails_where_it_is_good_makes_no_other_one_better():
    """The lead loses the margin; the other one fails in half of its places."""
    base = np.random.default_rng(2).exponential(size=8)
    level, margin = 0.1, 0.75
    design = Design(level, (4,), margin, noise.fit([base]))
    kept = 0
    ways = list(itertools.combinations(range(8), 4))
    for way in ways:
        lead = tuple(place in way for place in range(8))
        scores = tuple(
            score - margin if mine else math.inf if score > np.median(base) else score
            for score, mine in zip(map(float, base), lead, strict=True)
        )
        kept += confirmation.look(design, confirmation.raised([Block(scores, lead)], margin)).kept
    assert kept / len(ways) <= level


def test_a_run_that_failed_counts_as_the_highest_of_its_block_the_margin_included():
    block = Block((1.0, math.inf, 0.0, 2.0), (True, False, True, False))
    assert confirmation.raised([block], 3.0)[0].scores == (4.0, 4.0, 3.0, 2.0)
    assert confirmation.raised([block])[0].scores == (1.0, 2.0, 0.0, 2.0)


def test_the_number_of_a_run_has_room_for_all_places_of_such_a_proof():
    for number in (1, 12, 1000):
        pairs = confirmation.simpler_pairs(confirmation.level(number, ()))
        assert 2 * sum(pairs) <= confirmation.MOST_PLACES
        assert confirmation.can_keep(pairs, confirmation.level(number, ()))


def test_the_runs_of_such_a_proof_are_those_that_its_power_needs():
    level, pairs = 0.077, confirmation.simpler_pairs(0.077)
    error = (2 / sum(pairs)) ** 0.5  # of the difference of means, in deviations
    power = special.ndtr(confirmation.TOLERANCE / error - special.ndtri(1 - level))
    assert confirmation.POWER <= power < confirmation.POWER + 0.02
    assert max(pairs) == confirmation.SIMPLER_BLOCK
    assert sum(confirmation.simpler_pairs(0.01)) > sum(pairs)


FIRST = "SKILL = 0\nx = 1\ny = 2\nz = 3\n"


def file(skill, lines):
    """A training file that is worth so much, in so many lines."""
    return "\n".join([f"SKILL = {skill}", *FIRST.splitlines()[1:lines], ""]).encode()


@pytest.fixture
def contest(root, monkeypatch):
    """A branch whose first file has four lines; of two runs one is lucky, and few are needed."""
    monkeypatch.setattr(confirmation, "TOLERANCE", 2.0)
    (root / EDITABLE).write_bytes(file(0, 4))
    git(root, "commit", "-qam", "four lines")
    noise = itertools.cycle((1.0, -1.0))
    site = FakeSite(score=lambda order, text: float(text.split()[2]) + next(noise))
    conditions = dataclasses.replace(HALF_CHEETAH, budget=2.0)
    contest = Contest(create(root, "test"), conditions, sandbox.NONE, site=site)
    contest.measure()
    return contest


def entries(contest, kind):
    """The rows of a kind."""
    rows = Ledger(contest.branch.root / LEDGER).rows()
    return [row for row in rows if isinstance(row, kind)]


def simplified(contest):
    """A simpler edit that was accepted: it is as good."""
    outcome = contest.challenge("without z", file(0.0, 3))
    assert outcome.verdict == Verdict.ACCEPT, outcome.reason
    return outcome


def test_that_an_edit_is_simpler_is_written_down_before_its_first_run(contest):
    outcome = simplified(contest)
    assert "makes the file simpler" in outcome.reason
    (row,) = entries(contest, Simpler)
    assert outcome.challenger.startswith(row.challenger)
    assert row.reason == "3 lines of code instead of the lead's 4"
    rows = Ledger(contest.branch.root / LEDGER).rows()
    first = next(r for r in rows if isinstance(r, Run) and r.role == Role.CHALLENGER)
    assert rows.index(row) < rows.index(first)
    contest.challenge("another constant", file(0.4, 3))
    assert len(entries(contest, Simpler)) == 1


def test_a_simpler_edit_is_proved_with_an_improvement_on_top(contest):
    simplified(contest)
    assert contest.advance(left=20) == []
    assert contest.challenge("better", file(2.5, 3)).verdict == Verdict.ACCEPT
    assert "proved" in contest.advance(left=40, closing=True)[-1]
    assert contest.branch.edit_of("tip") == file(2.5, 3)
    (begun,) = entries(contest, ConfirmationBegun)
    assert not begun.lots.simpler


def closed(contest):
    """The branch after a night's end; what came of it."""
    return contest.advance(closing=True)[-1]


def test_an_edit_that_scatters_gives_no_other_one_room(contest):
    past = contest.read()
    known = past.outlook().unit
    assert past.margin() == pytest.approx(confirmation.TOLERANCE * known)
    scores = iter((3.0, -90.0))
    contest.site._score = lambda order, text: next(scores)
    contest.challenge("scatters", file(3.0, 4))
    past = contest.read()
    assert past.outlook().unit > 10 * known
    assert past.margin() == pytest.approx(confirmation.TOLERANCE * known)


def test_a_lead_that_is_only_simpler_is_proved_not_to_be_worse(contest):
    simplified(contest)
    contest.site._score = lambda order, text: 0.2 * float(text.split()[2])  # certain now
    runs = 2 * sum(confirmation.simpler_pairs(contest.read().progress().level(simpler=True)))
    assert contest.advance(left=runs, closing=True) == []  # an estimate follows
    assert contest.advance(left=100) == []  # in the middle of a night
    said = closed(contest)
    assert "worse by less than" in said
    assert "3 lines of code instead of 4" in said
    assert contest.branch.edit_of("tip") == file(0.0, 3)
    (begun,) = entries(contest, ConfirmationBegun)
    assert begun.lots.simpler
    assert begun.lots.lines == [3, 4]
    there = contest.read().progress()
    assert (there.simpler, there.simpler_keeps, there.keeps) == (1, (1,), ())
    assert there.level() == confirmation.level(1, ())  # none of it was spent
    assert there.level(simpler=True) == confirmation.level(2, (1,))
    assert len(contest.read().fresh()) == search.ESTIMATE_RUNS
    rows = list(Ledger(contest.branch.root / LEDGER).rows())
    fingerprint = contest.site.instrument.partition(" ")[0]
    assert audit.faults(rows, fingerprint) == []
    wide = dataclasses.replace(begun, lots=dataclasses.replace(begun.lots, margin=100.0))
    rows[rows.index(begun)] = wide
    (fault,) = audit.faults(rows, fingerprint)
    assert fault == f"{begun.run_id}: its margin is not the one that the rule allows here"


def test_what_is_only_simpler_is_told_as_that_and_as_no_gain(contest, capsys):
    ledger = contest.branch.root / LEDGER
    before = reader.read(ledger)
    simplified(contest)
    contest.site._score = lambda order, text: 0.2 * float(text.split()[2])
    closed(contest)
    found = reader.read(ledger)
    assert (found.kept, [e.number for e in found.simplified]) == ([], [1])
    assert found.experiments[0].outcome is Fate.SIMPLER
    assert found.experiments[0].reason.endswith("has found the file with it as good since, and "
                                                "simpler.")  # fmt: skip
    assert [(one.simpler, one.verdict) for one in found.confirmations] == [(True, Verdict.KEEP)]
    assert aftermath.false_keeps(found, before) == 0
    assert aftermath.of_confirmation(contest.read(), Verdict.KEEP)[0].endswith("That is no gain.")
    said = "\n".join(standing.look(contest.branch.root))
    assert "tried: 1 edit; 0 proved, 1 kept as simpler" in said
    assert "confirmation 1 of the lead against the incumbent: kept as simpler, " in said
    text = page.write(found, {"progress": charts.progress(found).svg}, [])
    assert "Nothing was proved to be better." in text
    assert "<b>0</b><span>edits proved; 1 kept as simpler</span>" in text
    compare.compare(ledger, ledger)
    assert "0 proved, 1 kept as simpler, 1 confirmation made" in capsys.readouterr().out


def test_what_is_better_and_simpler_is_told_apart(contest):
    simplified(contest)
    contest.site._score = lambda order, text: 0.2 * float(text.split()[2])
    closed(contest)
    contest.site._score = lambda order, text: float(text.split()[2])
    assert contest.challenge("better", file(5.0, 3)).verdict == Verdict.ACCEPT
    closed(contest)
    found = reader.read(contest.branch.root / LEDGER)
    assert ([e.number for e in found.kept], [e.number for e in found.simplified]) == ([2], [1])
    assert [e.number for e in found.inside] == [1, 2]
    gain = page._gain(found)
    assert "1 edit in it only made the file simpler" in gain
    there = aftermath.of_confirmation(contest.read(), Verdict.KEEP)[0]
    assert there.startswith("What led is proved")


def test_small_losses_do_not_add_up(contest):
    first = contest.read().incumbent
    simplified(contest)
    contest.site._score = lambda order, text: 0.0
    closed(contest)
    second = contest.read().incumbent
    contest.challenge("without y", file(0.0, 2))
    closed(contest)
    assert [begun.lots.incumbent for begun in entries(contest, ConfirmationBegun)] == [first] * 2
    assert contest.read().incumbent not in (first, second)
    assert contest.branch.edit_of("tip") == file(0.0, 2)
    assert contest.read().progress().yardstick == first


def test_a_simpler_lead_that_is_worse_is_not_proved_and_falls_back(contest):
    simplified(contest)
    contest.site._score = lambda order, text: -4.0 * (len(text.splitlines()) == 3)
    closed(contest)
    assert contest.branch.edit_of("tip") == contest.branch.edit_of("lead") == file(0, 4)
    there = contest.read().progress()
    assert (there.simpler, there.simpler_keeps, there.stack) == (1, (), ())


def test_a_proof_that_was_killed_goes_on_with_its_lots(contest, monkeypatch):
    monkeypatch.setattr(confirmation, "TOLERANCE", 1.0)  # more runs, for a kill asks for more
    simplified(contest)
    contest.site._score = lambda order, text: 0.0
    count = itertools.count()
    with contest.site.killing(lambda row, score: next(count) == 5), pytest.raises(KilledError):
        closed(contest)
    contest.settle()
    assert contest.read().progress().begun is not None
    assert "worse by less than" in contest.advance(left=0)[-1]
    assert len(entries(contest, ConfirmationBegun)) == 1
    runs = [row for row in contest.read().runs if row.role == Role.CONFIRMATION and row.scored]
    assert len({row.replicate for row in runs}) == len(runs)


def test_what_is_fixed_of_a_proof_is_what_the_ledger_says(tmp_path):
    lots = Lots(1, "a" * 12, 0.05, 3.0, [[1, 0], [0, 1]], 0, margin=3.0, lines=[10, 12])
    ledger = Ledger(tmp_path / LEDGER)
    ledger.prepare()
    shared = {"run_id": "20260101-000000-lots", "commit": "a" * 12, "branch": "autorl/x"}
    ledger.append(ConfirmationBegun(**shared, challenger="b" * 12, lots=lots))
    ledger.append(Simpler(**shared, challenger="b" * 12, reason="shorter"))
    begun, simpler = ledger.read().entries
    assert (begun.lots, begun.lots.simpler) == (lots, True)
    assert (simpler.challenger, simpler.reason) == ("b" * 12, "shorter")
    assert History([begun, simpler], "autorl/x", "").night() is None
