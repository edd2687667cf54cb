"""A branch on which nothing can be found is told so when it begins, not in the morning."""

import random

import pytest

from harness.checkout.beginning import create
from harness.checkout.branch import Branch
from harness.judgement import prospects, search
from harness.judgement.contest import Contest
from harness.measurement.sites import RETURN
from harness.night.turns import Night
from harness.places import CURVE, run_folder
from harness.record.entries import Plan
from harness.terminal import options
from tests.conftest import HALF_CHEETAH, rows
from tests.fake_site import FakeSite

NOISE = random.Random(0)


def begun(root, score, returns="nan"):
    """A branch with a baseline of these scores, and curves with these returns."""
    site = FakeSite(score=score)
    site.before = lambda row: (run_folder(root, row.run_id) / CURVE).write_text(
        f"seconds,step,{RETURN}\n1,1,{returns}\n"
    )
    made = Contest(create(root, "tag"), HALF_CHEETAH, "none", options.shown, site)
    made.measure()
    return made.read()


def test_a_baseline_at_its_ceiling_is_told_after_two_runs(root, capsys):
    (doubt,) = prospects.doubts(root, begun(root, lambda order, text: 1000.0))
    assert doubt.startswith("HalfCheetah-v5: 4 of 4 runs scored exactly 1,000.00, and none more.")
    said = capsys.readouterr().err
    assert said.index("note: HalfCheetah-v5: 2 of 2 runs") < said.index("the incumbent, run 3")
    assert "the incumbent, run 1: the incumbent, 1 s of training" in said  # told before it runs


@pytest.mark.parametrize(
    ("returns", "ended"), [("nan", " No episode ended in its training."), ("1", "")]
)
def test_a_budget_in_which_nothing_is_learned_is_told(root, returns, ended):
    past = begun(root, lambda order, text: -270.0 + NOISE.gauss(0, 5), returns)
    (doubt,) = prospects.doubts(root, past)
    assert "and random actions -284.9: in 1 s nothing is learned." in doubt
    assert f"learned.{ended} Give a longer --budget" in doubt


def test_a_baseline_that_learns_raises_no_doubt(root):
    past = begun(root, lambda order, text: 3000.0 + NOISE.gauss(0, 100))
    assert prospects.doubts(root, past) == []


def test_one_lucky_equal_pair_is_no_ceiling(root):
    scores = iter([3000.0, 3000.0, 2900.0, 2950.0, 2800.0, 2910.0, 2920.0, 2930.0, 2940.0, 2999.0])
    past = begun(root, lambda order, text: next(scores))
    assert prospects.doubts(root, past) == []
    assert len(rows(root)) == search.BASELINE_RUNS


def test_a_night_says_so_when_it_begins(root):
    begun(root, lambda order, text: 1000.0)
    ongoing = Contest(Branch(root, "tag"), HALF_CHEETAH, "none", site=FakeSite())
    said = []
    Night(ongoing, Plan("true", 0.0, 1, 1.0), said.append).run()
    assert said[0].startswith("HalfCheetah-v5: 4 of 4 runs scored exactly 1,000.00")


def test_a_night_too_short_for_a_proof_says_so(root):
    past = begun(root, lambda order, text: 3000.0 + NOISE.gauss(0, 100))
    least = search.reserve(past.progress().level())
    ongoing = Contest(Branch(root, "tag"), HALF_CHEETAH, "none", site=FakeSite())
    said = []
    Night(ongoing, Plan("false", 1.0, int(least) - 1, 1.0), said.append, lambda _: None).run()
    assert said[0].startswith(f"this night has {least - 1} runs, and a proof takes up to {least}: ")
    assert prospects.too_short(least, past.progress().level()) == ""
