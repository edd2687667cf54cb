"""What carries the gain: a proved file without each of its edits, beside the whole."""

import dataclasses
import functools
import statistics

import numpy as np
import pytest

from harness import ablate
from harness.checkout.beginning import create
from harness.confinement import sandbox
from harness.errors import TrainingError
from harness.judgement import ablation
from harness.judgement.ablation import Worth
from harness.judgement.contest import Contest
from harness.night.turns import Night
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Plan, Role, Run, Verdict
from harness.record.ledger import Ledger
from tests.conftest import HALF_CHEETAH, git
from tests.fake_site import FakeSite, KilledError

GAP = ["pass", "pass", "pass", "pass"]
"""Between the places of two edits, so that each can be taken out alone."""

FIRST = [*GAP, "rate = 1", *GAP, "depth = 1", *GAP, *GAP]
WHOLE = [*GAP, "rate = 2", *GAP, "depth = 1", "clip = 1", *GAP, "norm = 1", "norm = norm", *GAP]
"""Lines of files: a constant is another one, and three lines are new, two of them in one edit."""

RUNS = 5


def text(lines):
    return "\n".join([*lines, ""])


class Worths:
    """What lines of a file are worth, in a place of measurement whose machine may drift.

    Attributes:
      of: scores, by the line.
      noise: by how much of two runs one is lucky, the other one unlucky.
      needed: lines without which a file fails, once there was one with them.
    """

    def __init__(self):
        self.of = {"rate = 2": 1.0, "clip = 1": 1.0, "norm = norm": 1.0}
        self.noise = 0.4
        self.needed = set()
        self.drift = 0.0  # from one run to the next
        self._made = 0

    def shift(self, line, worth):
        """Another worth of a line, at the expense of another one; few runs show that."""
        self.of["norm = norm"] += self.of[line] - worth
        self.of[line], self.noise = worth, 0.02

    def score(self, order, file):
        self._made += 1
        lines = file.splitlines()
        if self.needed - set(lines):
            raise TrainingError("a line is missing")
        worth = sum(self.of.get(line, 0.0) for line in lines)
        return worth + self.drift * self._made + self.noise * (-1) ** self._made


def proved(root, worths):
    """A branch whose three edits are proved together."""
    (root / EDITABLE).write_text(text(FIRST))
    git(root, "commit", "-qam", "a file of several lines")
    site = FakeSite(score=worths.score)
    conditions = dataclasses.replace(HALF_CHEETAH, budget=2.0)
    contest = Contest(create(root, "test"), conditions, sandbox.NONE, site=site)
    contest.measure()
    rate = [*GAP, "rate = 2", *GAP, "depth = 1", *GAP, *GAP]
    clip = [*GAP, "rate = 2", *GAP, "depth = 1", "clip = 1", *GAP, *GAP]
    for lines, message in ((rate, "faster"), (clip, "clipped"), (WHOLE, "normed")):
        made = contest.challenge(message, text(lines).encode())
        assert made.verdict == Verdict.ACCEPT, made.reason
    assert "proved" in contest.advance(closing=True)[-1]
    assert contest.branch.edit_of("tip") == text(WHOLE).encode()
    return contest


def apart(contest, runs=RUNS):
    """The incumbent's edits, measured, by their messages."""
    whole = contest.read().incumbent
    there = ablation.edits(contest, whole)
    while ablation.measure(contest, whole, there, runs):
        pass
    return {found.edit.message: found for found in ablation.findings(contest.read(), whole, there)}


def test_an_edit_carries_what_the_file_loses_without_it_and_a_passenger_nothing(
    root, monkeypatch, capsys
):
    worths = Worths()
    contest = proved(root, worths)
    worths.shift("clip = 1", 0.0)
    worths.drift = 0.02  # within a block as between blocks
    before = contest.read()
    found = apart(contest)
    assert {name: one.worth for name, one in found.items()} == {
        "faster": Worth.CARRIES, "clipped": Worth.PASSENGER, "normed": Worth.CARRIES,
    }  # fmt: skip
    assert found["faster"].runs == RUNS
    assert found["faster"].loss == pytest.approx(1.0, abs=0.2)
    assert found["clipped"].loss == pytest.approx(0.0, abs=0.2)
    after = contest.read()
    assert after.progress() == before.progress()  # nothing is decided by it
    assert after.files() == before.files()
    runs = [row for row in after.runs if row.role == Role.ABLATION]
    assert len(runs) == 4 * RUNS
    assert contest.settle() == []
    assert contest.branch.edit() == text(WHOLE).encode()
    monkeypatch.chdir(root)
    monkeypatch.setattr(ablate.contest, "resume", lambda *arguments: contest)
    ablate.ablate(runs=RUNS, lead=True)
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:5]]
    assert [(cells[2].strip(), cells[-2].strip()) for cells in lines] == [
        ("faster", "carries"), ("clipped", "passenger"), ("normed", "carries"),
    ]  # fmt: skip
    assert contest.read().runs == after.runs


def test_a_block_has_every_file_once_by_lot_and_goes_on_where_it_was_killed(root):
    contest = proved(root, Worths())
    whole = contest.read().incumbent
    there = ablation.edits(contest, whole)
    files = sorted([whole, *(edit.without for edit in there)])
    orders = [
        tuple(part.commit for part in ablation.block(contest, contest.read(), whole, there, number))
        for number in range(1, 9)
    ]
    assert {tuple(sorted(order)) for order in orders} == {tuple(files)}
    assert len(set(orders)) > 1
    assert ablation.step(contest, left=3) is None  # there is no time for four runs
    seen = []
    with (
        contest.site.killing(lambda row, score: seen.append(row) or len(seen) == 3),
        pytest.raises(KilledError),
    ):
        ablation.measure(contest, whole, there, 2)
    contest.settle()
    assert ablation.edits(contest, whole) == there  # the same commits
    assert "2 runs" in ablation.measure(contest, whole, there, 2)
    scored = [r for r in contest.read().runs if r.role == Role.ABLATION and r.scored]
    assert sorted(run.commit for run in scored) == files


def test_what_a_file_fails_without_is_run_no_more(root):
    worths = Worths()
    contest = proved(root, worths)
    worths.needed, worths.noise = {"clip = 1"}, 0.02
    found = apart(contest, 3)
    assert found["clipped"].worth == Worth.NEEDED
    assert found["faster"].worth == Worth.CARRIES
    failed = [r for r in contest.read().runs if r.role == Role.ABLATION and r.status.at_fault]
    assert len(failed) == 1


def test_an_edit_that_others_are_built_on_is_named(root):
    worths = Worths()
    worths.of["rate = 3"] = 2.0
    contest = proved(root, worths)
    faster = [line.replace("rate = 2", "rate = 3") for line in WHOLE]
    contest.challenge("faster still", text(faster).encode())
    contest.advance(closing=True)
    found = {one.message: one for one in ablation.edits(contest, contest.read().incumbent)}
    assert found["faster"].worth == Worth.BUILT_ON
    assert found["faster"].without is None
    assert found["faster still"].without is not None


def test_a_passenger_is_taken_out_by_an_edit_on_trial(root):
    worths = Worths()
    contest = proved(root, worths)
    worths.shift("rate = 2", 0.0)  # as long without it: there is nothing to win
    worths.shift("clip = 1", -0.5)
    before = contest.read().incumbent
    steps = []
    while (said := ablation.step(contest, runs=RUNS)) is not None:
        steps.append(said)
    assert len(steps) == RUNS + 1
    assert steps[-1].startswith("Take out a passenger: clipped: accept")
    assert b"clip = 1" not in contest.branch.edit_of("lead")
    assert contest.read().incumbent == before  # which a confirmation alone can move
    assert contest.branch.edit_of("tip") == text(WHOLE).encode()


FEW = 2
"""Blocks of a night's ablation, which is certain enough where runs hardly differ."""


@pytest.fixture
def _few(monkeypatch):
    monkeypatch.setattr(ablation, "step", functools.partial(ablation.step, runs=FEW))


def closed(contest, runs, plan=True):
    """The end of a night that has so many runs left, or of one that was begun before; its runs."""
    site = contest.site
    again = Contest(contest.branch, contest.conditions, sandbox.NONE, site=site)
    night = Night(again, Plan("true", 1.0, runs, 20.0) if plan else None)
    night._over = lambda now: "the agent is gone"
    night.run()
    entries = Ledger(again.branch.root / LEDGER).read().entries
    there = entries[entries.index(again.read().night()) :]
    return [row for row in there if isinstance(row, Run) and not row.begun]


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(("left", "made"), [(3, 0), (4, 4), (7, 4), (99, 8)])
def test_a_night_takes_its_gain_apart_with_whole_blocks_and_no_run_too_many(root, left, made):
    runs = closed(proved(root, Worths()), left)
    assert [run.role for run in runs] == [Role.ABLATION] * made


@pytest.mark.usefixtures("_few")
def test_the_confirmation_that_closes_a_night_goes_before_its_ablation(root):
    worths = Worths()
    contest = proved(root, worths)
    better = [line.replace("depth = 1", "depth = 2") for line in WHOLE]
    worths.of["depth = 2"], worths.noise = 2.0, 0.02
    assert contest.challenge("deeper", text(better).encode()).verdict == Verdict.ACCEPT
    runs = closed(contest, 14)
    assert contest.branch.edit_of("tip") == text(better).encode()
    roles = [run.role for run in runs]
    assert list(dict.fromkeys(roles)) == [Role.CONFIRMATION, Role.ESTIMATE, Role.ABLATION]
    assert roles.count(Role.ABLATION) == 4  # a block: two of the four edits are one place
    assert len(runs) <= 14


@pytest.mark.slow
@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(
    ("role", "number"),
    [(Role.ABLATION, 3), (Role.CHALLENGER, 2), (Role.CONFIRMATION, 2)],
)
def test_a_passenger_is_taken_out_at_night_and_a_kill_changes_nothing(root, role, number):
    worths = Worths()
    contest = proved(root, worths)
    worths.shift("rate = 2", 0.0)
    worths.shift("clip = 1", -0.5)
    seen = []

    def last(row, score):
        seen.append(row.role)
        return row.role == role and seen.count(role) == number

    with contest.site.killing(last), pytest.raises(KilledError):
        closed(contest, 50)
    runs = closed(contest, 50, plan=False)
    assert b"clip = 1" not in contest.branch.edit_of("tip")
    scored = [run for run in runs if run.scored]
    assert len({(r.role, r.commit, r.challenger, r.replicate) for r in scored}) == len(scored)
    tried = [run for run in scored if run.role == Role.CHALLENGER]
    assert {run.description for run in tried} == {"Take out a passenger: clipped"}
    assert len({run.challenger for run in tried}) == 1
    assert len(runs) <= 50


def test_where_nothing_was_proved_there_is_nothing_to_take_out(root):
    contest = Contest(create(root, "test"), HALF_CHEETAH, sandbox.NONE, site=FakeSite())
    contest.measure()
    assert ablation.edits(contest, contest.read().incumbent) == []
    assert ablation.step(contest) is None


def test_of_two_files_the_interval_is_that_of_their_differences():
    scores = np.random.default_rng(0).normal(size=(9, 2))
    ((loss, low, high),) = ablation._intervals(scores)
    differences = list(scores[:, 0] - scores[:, 1])
    assert loss == pytest.approx(statistics.fmean(differences))
    half = 2.306 * statistics.stdev(differences) / 3  # Student's t, 8 degrees of freedom
    assert (low, high) == pytest.approx((loss - half, loss + half), rel=1e-3)


def test_what_is_common_to_a_block_widens_no_interval():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(6, 4))
    drifted = scores + 100.0 * generator.normal(size=(6, 1))
    intervals = np.array([ablation._intervals(one) for one in (scores, drifted)])
    assert intervals[0] == pytest.approx(intervals[1])
