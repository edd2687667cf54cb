"""A branch whose lead runs ahead of its proof: every kill, several slots, and what may go wrong.

Scores follow from the file, the role and the place of a run, so that two branches measure the same.
"""

import contextlib
import dataclasses
import itertools
import math
import random
import re
import threading
import time

import pytest

from harness.checkout.beginning import create
from harness.checkout.branch import Branch
from harness.confinement import sandbox
from harness.errors import BusyError, InputError, IntegrityError, TrainingError, WorkerError
from harness.judgement import confirmation, contest, layout, progress, proof, search
from harness.judgement.batches import Batches
from harness.judgement.contest import Contest
from harness.judgement.history import RUNS_PER_END, Conditions, History
from harness.judgement.rulings import LOSSES
from harness.morning import reader
from harness.places import EDITABLE, LEDGER
from harness.record.entries import ConfirmationBegun, Role, Run, SetBack, Status, Verdict
from harness.record.ledger import Ledger
from harness.tasks import anchors
from tests.conftest import HALF_CHEETAH, git, rows, run_row
from tests.fake_site import FakeSite, KilledError

LUCKY = 9
"""By how much a file with this word scores better on trial than side by side."""


def repeatable(**options):
    """A place where a run has the score of its file, its role and its place."""
    here = threading.local()

    def score(order, text):
        row, words = here.row, text.split()
        if "crash" in words or f"crash-{row.role}" in words:
            raise TrainingError("as the file wants it")
        luck = LUCKY if "lucky" in words and row.role == Role.CHALLENGER else 0
        drawn = random.Random(repr((words, row.role.value, row.replicate)))
        return float(words[2]) + luck + drawn.gauss(0, 1)

    site = FakeSite(score=score, **options)
    site.before = lambda row: setattr(here, "row", row)
    return site


@pytest.fixture(autouse=True)
def _same_lots(monkeypatch):
    """Lots that fall the same way in all branches."""
    monkeypatch.setattr(proof, "_shuffled", lambda places: [*places[::2], *places[1::2]])
    monkeypatch.setattr(proof, "_ways", lambda: 1)


def begun(root, site=None, conditions=HALF_CHEETAH):
    """A branch with a measured baseline."""
    made = Contest(create(root, "tag"), conditions, sandbox.NONE, site=site or repeatable())
    made.measure()
    return made


def again(root, site, conditions=HALF_CHEETAH):
    """The same branch for another process."""
    return Contest(Branch(root, "tag"), conditions, sandbox.NONE, site=site)


def file(skill, *words):
    return f"{' '.join(['SKILL =', str(skill), *words])}\n".encode()


def lead_at(ongoing, *skills):
    """Edits that are accepted, one after the other."""
    for skill in skills:
        assert ongoing.challenge(f"skill {skill}", file(skill)).verdict == Verdict.ACCEPT


def entries(root, kind):
    return [entry for entry in Ledger(root / LEDGER).read().entries if isinstance(entry, kind)]


def beside(root):
    """The runs of confirmations that have ended."""
    return [row for row in rows(root) if row.role == Role.CONFIRMATION]


def state(root):
    """Where a branch is, with files in the place of commits and nothing that is drawn."""
    branch = Branch(root, "tag")

    def text(name):
        return branch.edit_of(name).decode()

    past = contest.known(branch)
    there = past.progress()
    runs = [
        (text(row.commit), row.role, row.replicate, row.avg_return, row.verdict, row.reason)
        for row in past.runs
        if not row.status.cut_off
    ]
    return {
        "runs": runs,
        "lots": [(row.lots.number, row.lots.blocks) for row in entries(root, ConfirmationBegun)],
        "falls": [(text(row.challenger), row.reason) for row in entries(root, SetBack)],
        "incumbent": (text(there.incumbent), text("tip"), past.fresh()),
        "lead": ([text(name) for name in there.stack], [text(name) for name in branch.stack()]),
        "shown": branch.edit().decode(),
        "on trial": branch.trials(),
        "open": Ledger(root / LEDGER).read().open(),
    }


EDITS = [file(2), file(-5), file(5), file(2, "lucky"), file(-9), file(10)]
"""A night with everything: a lead of two edits is proved, a lucky one is not, the last one is."""

LEFT = 16
"""Runs for the confirmation that closes it: three of each file, and then four."""


@pytest.fixture
def _soon(monkeypatch):
    """Confirmations that are due before a lead is far ahead."""
    monkeypatch.setattr(search, "CONFIRM", 3.5)


def script(ongoing, edits=EDITS):
    """The night, or the rest of it."""
    ongoing.settle()
    ongoing.measure()
    for number, edit in enumerate(edits):
        ongoing.advance()
        mine = [row for row in rows(ongoing.branch.root) if row.description == str(number)]
        if not any(row.verdict.final for row in mine):
            ongoing.challenge(str(number), edit)
    ongoing.advance(LEFT, closing=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a night comes to where nobody kills anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "_shuffled", lambda places: [*places[::2], *places[1::2]])
        patch.setattr(search, "CONFIRM", 3.5)
        root = committed(tmp_path_factory.mktemp("undisturbed"))
        script(begun(root))
        return state(root)


def committed(folder):
    (folder / "agent_space").mkdir()
    (folder / EDITABLE).write_bytes(file(0))
    (folder / ".gitignore").write_text("/runs/\n/results.tsv\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(folder, *arguments)
    return folder


@contextlib.contextmanager
def killed_after(effects, monkeypatch):
    """The harness is killed after each of the first so many effects; nothing is written then."""
    left = iter(range(effects))
    with monkeypatch.context() as patch:

        def dying(act, is_one=lambda *there: True):
            def done(self, *there, **named):
                if dead:
                    raise KilledError
                came = act(self, *there, **named)
                if is_one(came) and next(left, None) is not None:
                    dead.append(1)
                    raise KilledError
                return came

            return done

        def decides(there):
            row = there.entries[-1]
            decided = isinstance(row, Run) and row.verdict.final
            return decided or isinstance(row, ConfirmationBegun | SetBack)

        dead = []
        patch.setattr(Ledger, "conclude", dying(Ledger.conclude, decides))
        patch.setattr(Branch, "_update", dying(Branch._update))
        yield dead


@pytest.mark.slow
@pytest.mark.usefixtures("_soon")
def test_a_night_that_is_killed_after_every_step_ends_as_one_that_is_not(
    root, monkeypatch, undisturbed
):
    """A step is a verdict, lots, a lead that is set back, or a change of refs."""
    site, lives = repeatable(), 0
    ongoing = begun(root, site)
    while True:
        with killed_after(1, monkeypatch), contextlib.suppress(KilledError):
            script(again(root, site))
            break
        lives += 1
        assert lives < 100
    assert lives >= 25
    assert state(root) == undisturbed
    assert ongoing.settle() == []


ROLES = {
    "baseline": lambda row, _: (row.role, row.replicate) == ("incumbent", 2),
    "first look": lambda row, _: (row.role, row.replicate) == ("challenger", 1),
    "second look": lambda row, _: (row.role, row.replicate) == ("challenger", 2),
    "first of a confirmation": lambda row, _: row.replicate == 101,
    "middle of a block": lambda row, _: row.replicate == 103,
    "end of a block": lambda row, _: row.replicate == 106,
    "estimate": lambda row, _: (row.role, row.replicate) == ("estimate", 1),
}
"""Which run is killed, by its place."""

ONE = [file(5)]


@pytest.fixture(scope="module")
def one_edit(tmp_path_factory):
    """What becomes of a single edit that is proved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "_shuffled", lambda places: [*places[::2], *places[1::2]])
        root = committed(tmp_path_factory.mktemp("one"))
        script(begun(root), ONE)
        return state(root)


@pytest.mark.parametrize("which", ROLES)
def test_a_run_that_is_killed_is_made_again_as_the_same(root, one_edit, which):
    site = repeatable()
    made = Contest(create(root, "tag"), HALF_CHEETAH, sandbox.NONE, site=site)
    with site.killing(ROLES[which]), pytest.raises(KilledError):
        script(made, ONE)
    script(again(root, site), ONE)
    there = state(root)
    assert len(there["lots"]) == 1
    runs = [run[:4] for run in there["runs"]]
    cut_off = [row for row in rows(root) if row.status == Status.INTERRUPTED]
    (ended,) = cut_off
    (repeated,) = [
        row
        for row in rows(root)
        if row.scored
        and (row.role, row.replicate, row.challenger, row.commit)
        == (ended.role, ended.replicate, ended.challenger, ended.commit)
    ]
    assert repeated.seed == ended.seed
    mine = [run for run in runs if run[:3] != ("SKILL = 5\n", Role.ESTIMATE, 1)]
    expected = [run[:4] for run in one_edit["runs"]]
    if which == "estimate":  # who ends its runs has the estimate rest on more of them
        assert len(there["incumbent"][2]) == RUNS_PER_END
        assert len(mine) == len(expected) - 1 + RUNS_PER_END - search.ESTIMATE_RUNS
    elif ended.role != Role.CONFIRMATION:
        assert runs == expected
        assert there["incumbent"] == one_edit["incumbent"]
    assert there["incumbent"][:2] == one_edit["incumbent"][:2]
    assert (there["lead"], there["on trial"], there["open"]) == (([], []), [], [])


def test_lots_are_in_the_ledger_before_the_first_run_and_drawn_once(root, monkeypatch):
    drawn = []

    def shuffled(places):
        drawn.append(places)
        return sorted(places)

    monkeypatch.setattr(proof, "_shuffled", shuffled)
    site = repeatable()
    lead_at(begun(root, site), 5)
    with site.killing(lambda row, _: row.replicate == 104), pytest.raises(KilledError):
        again(root, site).advance(LEFT, closing=True)
    (lots,) = entries(root, ConfirmationBegun)
    there = Ledger(root / LEDGER).read().entries
    first = next(row for row in there if isinstance(row, Run) and row.role == Role.CONFIRMATION)
    assert there.index(lots) < there.index(first)
    later = again(root, site)
    later.settle()
    later.advance(LEFT, closing=True)
    assert [lots] == entries(root, ConfirmationBegun)
    assert drawn[-2:] == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]]
    commits = [row.commit for row in beside(root) if row.scored and row.replicate <= 106]
    lead, incumbent = lots.challenger, lots.lots.incumbent
    assert commits == [incumbent] * 3 + [lead] * 3


def test_a_second_command_draws_no_lots_of_its_own(root):
    ongoing = begun(root)
    lead_at(ongoing, 5)
    ongoing._proof.draw_lots(8.0, closing=True)
    with pytest.raises(BusyError, match="has begun a confirmation"):
        again(root, ongoing.site)._proof.draw_lots(8.0, closing=True)
    assert len(entries(root, ConfirmationBegun)) == 1


def test_runs_of_a_confirmation_that_were_cut_off_divide_its_level(root):
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 5)
    ongoing._proof.draw_lots(16.0, closing=True)
    (lots,) = entries(root, ConfirmationBegun)
    for times in range(LOSSES - 1):
        assert layout.design(ongoing.read(), lots).picks == math.comb(13 + times, times)
        ended = site.ending(lambda row, _: row.replicate == 101, KeyboardInterrupt())
        with ended, pytest.raises(KeyboardInterrupt):
            ongoing.advance()
    assert layout.design(ongoing.read(), lots).picks == math.comb(15, 2)
    ongoing.advance()
    first = next(row for row in beside(root) if row.replicate == 106)
    share = (3 / 7) ** confirmation.SPENDING * confirmation.level(1, ()) / math.comb(15, 2)
    said = f"where {share:.2g} is allowed (divided by 105, for runs were cut off)"
    assert said in first.reason
    assert first.reason.endswith("it goes on.")


def test_of_several_tasks_each_run_could_have_been_picked(root):
    both = dataclasses.replace(
        HALF_CHEETAH, tasks=("HalfCheetah-v5", "Hopper-v5"), backends=("auto",) * 2
    )
    ongoing = begun(root, repeatable(), both)
    lead_at(ongoing, 5)
    ongoing._proof.draw_lots(16.0, closing=True)
    (lots,) = entries(root, ConfirmationBegun)
    places = sum(map(len, lots.lots.blocks))
    assert layout.design(ongoing.read(), lots, more=1).picks == 2 * places


def test_a_confirmation_that_could_keep_nothing_any_more_ends(root):
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 5)
    ended = site.ending(lambda row, _: row.replicate == 101, KeyboardInterrupt())
    with ended, pytest.raises(KeyboardInterrupt):
        ongoing.advance(10.0, closing=True)
    (lots,) = entries(root, ConfirmationBegun)
    assert [len(block) for block in lots.lots.blocks] == [8]  # 70 ways, divided by 8
    (last,) = beside(root)
    assert (last.status, last.verdict) == (Status.INTERRUPTED, Verdict.UNPROVED)
    assert "no order of its runs is rare enough" in last.reason


def test_a_confirmation_whose_row_is_damaged_has_spent_its_level(root):
    ongoing = begun(root)
    lead_at(ongoing, 5)
    ongoing._proof.draw_lots(16.0, closing=True)
    whole = Ledger(root / LEDGER).read().entries
    damaged = dataclasses.replace(entries(root, ConfirmationBegun)[0], lots=None)
    there = progress.reached([*whole[:-1], damaged], ongoing.read().incumbent)
    assert there.begun is None
    assert there.level() == there.level(simpler=True) == confirmation.level(2, ())


def test_a_keep_of_a_confirmation_whose_row_is_damaged_pays_nothing_back(root):
    ongoing = begun(root)
    lead_at(ongoing, 5)
    ongoing.advance(16.0, closing=True)
    whole = Ledger(root / LEDGER).read().entries
    damaged = [
        dataclasses.replace(entry, lots=None) if isinstance(entry, ConfirmationBegun) else entry
        for entry in whole
    ]
    first = next(entry.commit for entry in whole if isinstance(entry, Run))
    there = progress.reached(damaged, first)
    assert there.incumbent == ongoing.read().incumbent != first
    assert (there.keeps, there.simpler_keeps) == ((), ())
    assert there.yardstick == first


def test_ends_that_another_instrument_has_found_count_where_the_confirmation_goes_on(root):
    site = repeatable()
    lead_at(begun(root, site), 5)
    for place in (101, 102, 103):
        dies = site.killing(lambda row, _, place=place: row.replicate == place)
        with dies, pytest.raises(KilledError):
            again(root, site).advance(40.0, closing=True)
        again(root, repeatable(instrument="another one")).settle()
    assert [row.status for row in beside(root) if not row.scored] == [Status.INTERRUPTED] * 3
    home = again(root, site)
    assert home.read().progress().begun is not None
    assert home.advance(1.0, closing=False) == [f"confirmation 1: {proof.ENDED_TOO_OFTEN}"]
    assert home.read().progress().begun is None
    assert home.read().progress().level() == confirmation.level(2, ())


def test_an_edit_that_was_made_beside_another_one_is_proved_without_it(root):
    site = repeatable()
    ongoing = begun(root, site)
    refs, past = ongoing.branch.read(), ongoing.read()
    one, other = (ongoing.enter(file(skill), "an edit", refs, past) for skill in (2, 5))
    ended = site.ending(lambda row, _: row.role == Role.CHALLENGER, KeyboardInterrupt())
    with ended, pytest.raises(KeyboardInterrupt):
        ongoing.pursue(other, "an edit", past)  # it was begun before the other one leads
    for name in (one, other):
        assert ongoing.pursue(name, "an edit", ongoing.read()).verdict == Verdict.ACCEPT
    ongoing.advance(LEFT, closing=True)
    assert ongoing.branch.edit_of("tip") == file(5)
    found = reader.read(root / LEDGER)
    assert [there.commit for there in found.kept] == [other[:12]]
    (without,) = [there for there in found.experiments if one.startswith(there.commit)]
    assert "is without it" in without.reason


def test_a_confirmation_that_is_cut_off_three_times_is_unproved_and_the_next_one_begins_anew(root):
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 5)
    for _ in range(LOSSES):
        ended = site.ending(lambda row, _: row.replicate == 102, KeyboardInterrupt())
        with ended, pytest.raises(KeyboardInterrupt):
            ongoing.advance(LEFT, closing=True)
    last = beside(root)[-1]
    assert (last.status, last.verdict) == (Status.INTERRUPTED, Verdict.UNPROVED)
    assert "cut off too often: 3 times" in last.reason
    ongoing.settle()
    (stayed,) = entries(root, SetBack)
    assert stayed.reason.startswith("The lead stays")
    ongoing.advance(LEFT, closing=True)
    second = entries(root, ConfirmationBegun)[-1]
    assert (second.lots.number, second.lots.level) == (2, confirmation.level(2, ()))
    assert layout.design(ongoing.read(), second).picks == 1
    assert beside(root)[-1].verdict in (Verdict.KEEP, Verdict.UNPROVED)
    assert {row.replicate // 100 for row in beside(root)} == {1, 2}


@pytest.fixture
def _in_vain(monkeypatch):
    """Confirmations that prove nothing."""
    monkeypatch.setattr(confirmation, "look", lambda *there: confirmation.Look(False, 1.0, 0.1))


@pytest.mark.usefixtures("_in_vain")
def test_what_was_asked_in_vain_is_asked_again_by_a_person_or_after_a_new_run(root):
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 5)
    ongoing.advance(LEFT, closing=True)
    assert beside(root)[-1].verdict == Verdict.UNPROVED
    there = ongoing.read()
    assert len(there.progress().stack) == 1
    assert search.is_due(there.outlook(), LEFT, True, there.progress().level())
    for closing in (True, False):  # a closed night that is continued
        assert again(root, site).advance(40, closing) == []
        assert again(root, site).advance(40, closing, again(root, site).read()) == []
    assert len(entries(root, ConfirmationBegun)) == 1
    ongoing.advance(LEFT, closing=True, asked=True)
    assert len(entries(root, ConfirmationBegun)) == 2
    assert ongoing.advance(LEFT, closing=True) == []
    ongoing.challenge("nothing", file(-5))
    ongoing.advance(LEFT, closing=True)
    assert len(entries(root, ConfirmationBegun)) == 3


@pytest.mark.usefixtures("_in_vain")
def test_another_lead_than_the_one_that_was_not_proved_is_confirmed(root):
    ongoing = begun(root)
    lead_at(ongoing, 3, 6)
    ongoing.advance(LEFT, closing=True)
    there = ongoing.read().progress()
    assert len(there.stack) == 2
    below = dataclasses.replace(there, stack=there.stack[:1])
    lots = entries(root, ConfirmationBegun)[0].lots
    assert there.repeats(lots)
    assert not below.repeats(lots)
    assert not there.repeats(dataclasses.replace(lots, margin=1.0))  # another question


def test_a_lead_that_fails_side_by_side_is_unproved_and_falls_at_once(root):
    ongoing = begun(root)
    ongoing.challenge("fails later", file(5, "crash-confirmation"))
    said = ongoing.advance(LEFT, closing=True)
    (failed,) = beside(root)  # no other run of the block is made
    assert (failed.status, failed.verdict) == (Status.CRASH, Verdict.UNPROVED)
    assert "The lead ended as crash" in said[-1]
    (fell,) = entries(root, SetBack)
    assert "fell back by 1 edit" in fell.reason
    assert ongoing.read().lead == ongoing.read().incumbent
    assert ongoing.branch.stack() == []
    assert ongoing.branch.edit() == file(0)


def test_an_incumbent_that_fails_side_by_side_counts_as_the_highest_of_its_block(root):
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 5)

    def beside_it(row, _):
        return row.role == Role.CONFIRMATION and row.commit != row.challenger

    with site.ending(beside_it, TrainingError("its own fault")):
        ongoing.advance(LEFT, closing=True)
    runs = beside(root)
    assert {row.status for row in runs if row.commit != row.challenger} == {Status.CRASH}
    assert sum(row.verdict.final for row in runs) == 1
    assert runs[-1].verdict == Verdict.UNPROVED
    lead = max(row.avg_return for row in runs if row.scored and row.replicate <= 106)
    first = next(row for row in runs if row.replicate == 106)
    assert f"the incumbent {lead:,.4g} in 3 runs" in first.reason
    assert first.reason.startswith("The incumbent failed: its run counts as the highest")


def test_a_confirmation_of_another_instrument_is_given_up_and_proved_anew(root):
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 5)
    with site.killing(lambda row, _: row.replicate == 104), pytest.raises(KilledError):
        ongoing.advance(LEFT, closing=True)
    other = again(root, repeatable(instrument=f"{site.instrument} and another card"))
    other.settle()
    said = other.advance(LEFT, closing=True)
    assert "What measures has changed" in said[0]
    first, second = entries(root, ConfirmationBegun)
    assert (first.lots.number, second.lots.number) == (1, 2)
    given_up = entries(root, SetBack)[0]
    assert given_up.challenger == first.challenger  # the lead stays
    fresh = [row for row in rows(root) if row.harness == other.site.instrument]
    assert [row.role for row in fresh][: search.BASELINE_RUNS] == ["incumbent"] * 4
    looked = [row for row in fresh if row.role == Role.CHALLENGER]
    assert len(looked) == search.LOOKS  # the lead is known by the new one, too
    proof = [row for row in fresh if row.role == Role.CONFIRMATION]
    assert {row.replicate // 100 for row in proof} == {2}
    assert proof[-1].verdict == Verdict.KEEP
    assert other.branch.edit_of("tip") == file(5)
    assert other.settle() == []


def test_a_lead_that_has_to_fall_does_so_by_what_measured_it(root, monkeypatch):
    """Though there is another instrument, by which nothing is known yet."""
    site = repeatable()
    ongoing = begun(root, site)
    ongoing.challenge("lucky", file(-1, "lucky"))
    with monkeypatch.context() as patch:
        patch.setattr(ongoing._proof, "_follow", lambda: [])
        patch.setattr(Batches, "fill", lambda self, lacking, message: self.replicates.read())
        ongoing.advance(LEFT, closing=True)
    assert ongoing.read().progress().falling is not None
    other = again(root, repeatable(instrument="another one"))
    other.settle()
    assert "fell back by 1 edit" in entries(root, SetBack)[0].reason
    assert (other.branch.stack(), other.branch.edit()) == ([], file(0))


def test_the_lead_is_run_once_more_where_nothing_is_accepted_for_long(root, monkeypatch):
    monkeypatch.setattr(search, "LONG_ASIDE", 2)
    ongoing = begun(root)
    for skill in (-5, -6):
        ongoing.challenge(f"skill {skill}", file(skill))
    assert ongoing.advance() == ["the lead was run once more"]
    assert ongoing.advance() == []
    assert len(ongoing.read().fresh()) == search.BASELINE_RUNS + 1
    lead_at(ongoing, 3)
    lead = ongoing.read().lead
    for skill in (-7, -8):
        ongoing.challenge(f"skill {skill}", file(skill))
    assert ongoing.advance() == ["the lead was run once more"]
    assert ongoing.advance() == []
    assert len(ongoing.read().scores(Role.CHALLENGER, lead)) == search.LOOKS + 1
    assert ongoing.read().progress().stack == (lead,)
    assert entries(root, SetBack)[-1].reason.startswith("The lead stays")
    once_more = [row for row in rows(root) if row.challenger == lead][-1]
    assert re.match(
        r"The lead, once more: [23]\.\d+ \(3 runs\) against the incumbent's -?0\.\d+ \(5 runs\): "
        r"it is thought to be \+\d\.\d\d deviations ahead\.",
        once_more.reason,
    )


def test_a_lead_that_fails_when_it_is_run_once_more_falls(root, monkeypatch):
    monkeypatch.setattr(search, "LONG_ASIDE", 1)
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 2)
    ongoing.challenge("worse", file(-5))
    with site.ending(lambda row, _: row.replicate == 3, TrainingError("now and then")):
        ongoing.advance()
    assert ongoing.read().lead == ongoing.read().incumbent
    assert (ongoing.branch.stack(), ongoing.branch.edit()) == ([], file(0))
    assert ongoing.settle() == []


def test_an_edit_that_was_set_aside_leads_after_a_second_look(root):
    unlucky = {"by": -2.0}
    site = repeatable()
    drawn = site._score
    site._score = lambda order, text: drawn(order, text) + unlucky["by"] * ("late" in text)
    ongoing = begun(root, site)
    outcome = ongoing.challenge("unlucky once", file(2.5, "late"))
    assert outcome.verdict == Verdict.DISCARD
    unlucky["by"] = 3.0
    (ongoing.branch.root / EDITABLE).write_bytes(file(0))
    for _ in range(search.MOST_SECOND_LOOKS):
        ongoing.look_again()
    assert ongoing.read().progress().stack == (outcome.challenger[:12],)
    assert ongoing.branch.stack() == [outcome.challenger]
    assert ongoing.branch.edit() == ongoing.branch.edit_of("lead") == file(2.5, "late")
    assert ongoing.branch.trials() == []
    assert ongoing.settle() == []


def test_nothing_is_looked_at_again_for_ever(root):
    ongoing = begun(root)
    ongoing.challenge("as good", file(0, "x"))
    said = list(itertools.takewhile(lambda line: line, (ongoing.look_again() for _ in range(9))))
    assert len(said) < search.MOST_SECOND_LOOKS
    assert ongoing.look_again() is None


def test_a_calibration_is_of_the_incumbent_after_a_proof_too(root):
    ongoing = begun(root)
    lead_at(ongoing, 5)
    ongoing.advance(LEFT, closing=True)
    assert ongoing.branch.edit_of("tip") == file(5)
    scores = ongoing.repeat(5)
    assert len(scores) == 5
    assert min(scores) > 2


def test_an_estimate_counts_what_failed_as_the_lowest_return(root):
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 5)
    with site.ending(lambda row, _: row.role == Role.ESTIMATE, TrainingError("a bad seed")):
        ongoing.advance(LEFT, closing=True)
    lowest = min(row.avg_return for row in rows(root) if row.role == Role.INCUMBENT)
    assert ongoing.read().fresh() == [lowest] * search.ESTIMATE_RUNS


def test_an_edit_that_is_accepted_on_a_lead_that_falls_falls_with_it(root, monkeypatch):
    """As where another slot's row came a moment before the lead was set back."""
    site = repeatable(slots=2)
    ongoing = begun(root, site)
    lead_at(ongoing, 2)
    edit = ongoing.enter(file(6), "on top", ongoing.branch.read(), ongoing.read())
    with monkeypatch.context() as patch:
        patch.setattr(Contest, "_follow", lambda self: [])
        patch.setattr(Contest, "_set_aside", lambda self, challenger, run: None)
        assert ongoing.pursue(edit, "on top").verdict == Verdict.ACCEPT
    there = ongoing.read()
    circumstances = ongoing.replicates.circumstances(there, "lead")
    row = SetBack(**circumstances, challenger=there.incumbent, reason="it fell")
    ongoing.replicates.conclude(lambda past: row)
    ongoing.settle()
    assert (ongoing.branch.stack(), ongoing.branch.trials()) == ([], [])
    assert ongoing.branch.edit_of("lead") == file(0)
    assert ongoing.settle() == []


@pytest.mark.slow
def test_two_slots_confirm_while_a_trial_goes_on_and_what_it_accepts_stays_lead(root):
    """Nobody waits for anybody for ever: the other trial ends while lots are played."""
    site = repeatable(slots=2)
    ongoing = begun(root, site)
    lead_at(ongoing, 5)
    edit = ongoing.enter(file(9), "on top", ongoing.branch.read(), ongoing.read())
    outcomes, before = [], site.before

    def meanwhile():
        outcomes.append(ongoing.pursue(edit, "on top"))

    other = threading.Thread(target=meanwhile, daemon=True)

    def start(row):
        before(row)
        if row.replicate == 103:
            other.start()
        if row.replicate in (105, 106):
            other.join(30)

    site.before = start
    ongoing.advance(LEFT, closing=True)
    other.join(30)
    assert not other.is_alive()
    assert [outcome.verdict for outcome in outcomes] == [Verdict.ACCEPT]
    assert ongoing.branch.edit_of("tip") == file(5)
    assert ongoing.branch.edit_of("lead") == ongoing.branch.edit() == file(9)
    assert ongoing.read().progress().stack == (edit[:12],)
    assert len(ongoing.read().fresh()) == search.ESTIMATE_RUNS
    assert ongoing.settle() == []


def test_trials_of_two_slots_are_accepted_one_on_the_other(root):
    ongoing = begun(root, repeatable(slots=2))
    refs, past = ongoing.branch.read(), ongoing.read()
    first = ongoing.enter(file(3), "first", refs, past)
    second = ongoing.enter(file(7), "second", ongoing.branch.read(), past)
    assert ongoing.pursue(first, "first").verdict == Verdict.ACCEPT
    assert ongoing.pursue(second, "second").verdict == Verdict.ACCEPT
    assert ongoing.read().progress().stack == (first[:12], second[:12])
    steps = ongoing.branch.steps()
    assert [first in steps[0], second in steps[1]] == [True, True]
    assert ongoing.branch.edit_of("lead") == file(7)
    ongoing.advance(LEFT, closing=True)
    assert ongoing.branch.edit_of("tip") == file(7)
    assert ongoing.settle() == []


def test_a_confirmed_lead_goes_on_top_of_what_a_person_has_committed(root):
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 5)

    def committed_meanwhile(row, _):
        if row.replicate == 102:
            (root / "README.md").write_text("their word\n")
            git(root, "commit", "-qm", "a word", "README.md")
        return False

    beside_them = site.ending(committed_meanwhile, KeyboardInterrupt())
    with beside_them, pytest.raises(IntegrityError, match="README"):
        ongoing.advance(LEFT, closing=True)
    ongoing.settle()
    ongoing.advance(LEFT, closing=True)
    assert ongoing.branch.edit_of("tip") == file(5)
    assert (root / "README.md").read_text() == "their word\n"
    assert ongoing.settle() == []


def test_a_training_file_that_nobody_judged_is_told(root):
    ongoing = begun(root)
    (root / EDITABLE).write_bytes(file(9))
    git(root, "commit", "-qm", "by hand", EDITABLE)
    with pytest.raises(InputError, match="without having been judged"):
        ongoing.settle()


@pytest.mark.parametrize("whose", ["lead", "incumbent"])
def test_the_file_of_lead_or_incumbent_is_no_edit(root, whose):
    ongoing = begun(root)
    lead_at(ongoing, 5)
    count = len(rows(root))
    with pytest.raises(InputError, match=f"is the {whose}'s: there is nothing to try"):
        ongoing.challenge("the same", file({"lead": 5, "incumbent": 0}[whose]))
    assert len(rows(root)) == count


def test_a_trial_that_is_withdrawn_has_no_verdict_and_stays_reachable(root):
    ongoing = begun(root)
    edit = ongoing.enter(file(5), "withdrawn", ongoing.branch.read(), ongoing.read())
    ongoing.withdraw(edit, ongoing.read())
    assert ongoing.branch.trials() == []
    assert ongoing.branch.whole(edit) == edit
    assert ongoing.read().verdict(edit) is None
    assert ongoing.settle() == []


def test_several_tasks_are_one_objective_for_search_and_proof(root):
    tasks = ("HalfCheetah-v5", "Hopper-v5")

    def score(order, text):
        told = order.assignment
        worth = anchors.AUTORL[told.task_id] * (2 if "better" in text else 1)
        return worth * (1 + told.seed % 1000 / 10_000)

    (root / EDITABLE).write_text("first")
    git(root, "commit", "-qam", "first")
    conditions = Conditions(tasks, ("auto", "auto"), 1.0, 1, sandbox=sandbox.NONE)
    ongoing = begun(root, FakeSite(score=score), conditions)
    assert len(rows(root)) == len(tasks) * search.BASELINE_RUNS
    assert ongoing.challenge("twice as good", b"better").verdict == Verdict.ACCEPT
    ongoing.advance(LEFT, closing=True)
    mine = beside(root)
    assert [row.task for row in mine] == list(tasks) * (len(mine) // 2)
    assert {row.verdict for row in mine[::2]} == {Verdict.GO_ON}
    assert mine[-1].verdict == Verdict.KEEP
    assert min(ongoing.read().fresh()) > 1.9
    assert ongoing.branch.edit_of("tip") == b"better"


OLD = {"branch": "autorl/tag", "objective": "HalfCheetah-v5", "harness": "f"}


def old_branch():
    """Rows of a branch that was begun before there were leads: one edit kept, one set aside."""
    first, kept, worse = "a" * 12, "b" * 12, "c" * 12
    mine = {"commit": first, "challenger": first, "role": Role.INCUMBENT}
    tried = {"role": Role.CHALLENGER, "commit": kept, "challenger": kept}
    fresh = {"role": Role.INCUMBENT, "commit": kept, "challenger": kept}
    low = {"role": Role.CHALLENGER, "commit": worse, "challenger": worse}
    beside = {"role": Role.INCUMBENT, "commit": first, "challenger": kept}
    yield from (run_row(**OLD, **mine, replicate=n, avg_return=float(n % 3)) for n in range(1, 11))
    yield run_row(**OLD, **tried, avg_return=9.0, verdict=Verdict.GO_ON)
    yield run_row(**OLD, **beside, avg_return=1.5, verdict=Verdict.GO_ON)
    yield run_row(**OLD, **tried, replicate=2, avg_return=9.5, verdict=Verdict.KEEP)
    yield from (run_row(**OLD, **fresh, replicate=n, avg_return=9.0 + n % 2) for n in range(1, 11))
    yield run_row(**OLD, **low, avg_return=1.0, verdict=Verdict.DISCARD)


def test_a_branch_from_before_there_were_leads_goes_on():
    past = History([*old_branch()], "autorl/tag", "f")
    there = past.progress()
    assert (there.incumbent, there.stack, there.confirmations) == ("b" * 12, (), 0)
    assert past.missing() == []
    assert len(past.fresh()) == 10
    files = past.files()
    assert len(files["a" * 12].scores) == 11  # those beside its challenger, too
    assert len(files["b" * 12].scores) == 12
    assert past.outlook().gain("c" * 12) < 0
    assert confirmation.level(1, there.keeps) == confirmation.level(1, ())


def test_a_keep_of_an_edit_that_a_kill_has_left_without_refs_comes_into_effect(root):
    """On a branch from before: its harness was killed between the row and the refs."""
    ongoing = begun(root)
    edit = ongoing.enter(file(5), "kept", ongoing.branch.read(), ongoing.read())
    usual = dataclasses.replace(rows(root)[-1], role=Role.CHALLENGER, avg_return=5.0)
    name = edit[:12]
    kept = {"commit": name, "challenger": name, "verdict": Verdict.KEEP, "status": Status.KEEP}
    Ledger(root / LEDGER).append(dataclasses.replace(usual, run_id="kept", **kept))
    assert [run.run_id for run in ongoing.settle()] == ["kept"]
    assert (ongoing.branch.tip(), ongoing.branch.trials()) == (edit, [])
    assert ongoing.settle() == []


def test_an_edit_far_above_all_others_is_no_chance_and_one_far_below_is_no_hope(root):
    ongoing = begun(root)
    far = ongoing.challenge("far better", file(1000))
    assert (far.verdict, len(far.scores)) == (Verdict.ACCEPT, search.LOOKS)
    worse = ongoing.challenge("far worse", file(-1000))
    assert (worse.verdict, len(worse.scores)) == (Verdict.DISCARD, 1)
    assert ongoing.look_again() is None


def test_a_run_whose_worker_dies_ends_no_confirmation(root):
    site = repeatable()
    ongoing = begun(root, site)
    lead_at(ongoing, 5)
    deaths = iter([True])
    with site.ending(
        lambda row, _: row.replicate == 103 and next(deaths, False), WorkerError("it died")
    ):
        ongoing.advance(LEFT, closing=True)
    lost = [row for row in beside(root) if row.status == Status.LOST]
    assert len(lost) == 1
    assert beside(root)[-1].verdict.final


MANY = 1000


def test_the_next_step_of_a_branch_of_a_thousand_runs_is_planned_at_once():
    generator = random.Random(1)
    first, many = "0" * 12, []
    usual = {**OLD, "role": Role.INCUMBENT, "commit": first, "challenger": first}
    many += [run_row(**usual, replicate=n, avg_return=generator.gauss(0, 1)) for n in range(1, 5)]
    for number in range(1, MANY):
        name = f"{number:012x}"
        verdict = Verdict.ACCEPT if number % 30 == 0 else Verdict.DISCARD
        tried = {**OLD, "role": Role.CHALLENGER, "commit": name, "challenger": name}
        many.append(run_row(**tried, verdict=verdict, avg_return=generator.gauss(0, 1)))
    begin = time.process_time()
    past = History(many, "autorl/tag", "f")
    assert past.missing() == []
    outlook = past.outlook()
    search.second_look(outlook, past.progress().aside, {})
    assert search.is_due(outlook, 100, False, 0.05) in (True, False)
    assert time.process_time() - begin < 1.0
