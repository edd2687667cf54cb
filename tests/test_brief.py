"""What an agent is told: facts, curves, and earlier edits, the most valuable first."""

import contextlib
import dataclasses
import math
import random
import threading

import pytest

from harness.checkout.beginning import create
from harness.errors import TrainingError
from harness.judgement import search
from harness.judgement.contest import Contest
from harness.measurement.sites import RETURN, curve
from harness.night import agents, brief, course, facts, tries
from harness.night.memory import Memory
from harness.night.tries import Group
from harness.night.turns import Night
from harness.places import CURVE, EDITABLE, run_folder
from harness.record.entries import Plan, Verdict
from tests.conftest import HALF_CHEETAH
from tests.fake_site import FakeSite

SITUATION = brief.Situation("9.5", "2 hours")

UPDATE = 4096
"""Environment steps of an update of these trainings."""


def trained(measured, updates):
    """Let a measurement tell of a training of one second with so many updates."""
    training = measured.training
    training.curve = [((i + 1) / updates, UPDATE * (i + 1), {}) for i in range(updates)]
    training.updates = updates
    training.device = "2 × cpu"


@pytest.fixture
def ongoing(root):
    """A branch whose scores lie around the file's skill, and whose slow edits are half as fast."""
    noise = random.Random(0)

    def score(order, text):
        if "crash" in text:
            raise TrainingError("as the file wants it")
        return float(text.split()[2]) + noise.gauss(0, 1)

    made = FakeSite(score=score)
    made.after = lambda row, measured: trained(measured, 50 if "slow" in row.description else 100)
    contest = Contest(create(root, "night"), HALF_CHEETAH, "none", site=made)
    contest.measure()
    return contest


def attempt(ongoing, skill, message):
    """One edit, to its verdict; what the brief knows of it then."""
    edit = f"SKILL = {skill} # {message}\n".encode()
    refs, past = ongoing.branch.read(), ongoing.read()
    challenger = ongoing.enter(edit, message, refs, past)
    with contextlib.suppress(TrainingError):
        ongoing.pursue(challenger, message)
    return tries.read(ongoing.branch.root, ongoing.read())[-1]


def test_an_edit_is_told_with_its_scores_its_gain_and_its_pace(ongoing):
    fresh = ongoing.read().fresh()
    worse = attempt(ongoing, -4, "slow and worse")
    assert worse.group == Group.HARM
    mean, deviation = sum(fresh) / len(fresh), ongoing.read().outlook().noise.deviation
    assert worse.gain == pytest.approx((worse.scores[0] - mean) / deviation)
    assert (worse.pace, worse.updates) == (pytest.approx(0.5), 0.5)
    better = attempt(ongoing, 6, "better")
    assert (better.group, better.pace) == (Group.KEPT, pytest.approx(1.0))
    assert len(better.scores) >= search.LOOKS
    failed = attempt(ongoing, 0, "crash")
    assert (failed.group, failed.scores, failed.gain) == (Group.FAILED, (), None)
    again = attempt(ongoing, 0, "as the first file was")
    # By the file that it was made on, whose own few runs may be alike.
    mean = sum(better.scores) / len(better.scores)
    deviation = ongoing.read().outlook().noise.deviation
    assert again.gain == pytest.approx((again.scores[0] - mean) / deviation)


def made(gain, scores=1, verdict=Verdict.DISCARD, words="idea"):
    """An edit with a verdict."""
    return tries.Try("c" * 12, words, verdict, "why", (1.0,) * scores, gain, None, None, "run")


def test_near_misses_that_were_ahead_for_long_come_first():
    tried = [made(0.3), made(1.5), made(0.4, scores=12), made(-0.2), made(-1.0), made(None),
             made(9.0, verdict=Verdict.KEEP)]  # fmt: skip
    near = brief._chosen(tried, Group.NEAR)
    assert [one.gain for one in near] == [0.4, 1.5, 0.3]
    assert [one.gain for one in brief._chosen(tried, Group.BEHIND)] == [-0.2]
    assert [one.gain for one in brief._chosen(tried, Group.HARM)] == [-1.0]
    assert len(brief._chosen(tried * 30, Group.NEAR)) == brief.SHOWN[Group.NEAR]


def test_a_brief_has_the_most_valuable_first_and_its_length_has_a_limit(ongoing, root, monkeypatch):
    near = attempt(ongoing, 1.1, "near")
    assert near.group == Group.NEAR, near
    attempt(ongoing, -4, "worse | than before")
    past = ongoing.read()
    for run, factor in ((tries.runs_of(past, past.incumbent)[-1], 1), (past.runs[-1], 2)):
        rows = "".join(f"{i / 50},{i},{i * factor}\n" for i in range(50))
        (run_folder(root, run.run_id) / CURVE).write_text(f"seconds,step,{RETURN}\n{rows}")
    text = brief.write(root, past, SITUATION).text
    heads = [line for line in text.splitlines() if line.startswith("#")]
    order = ["# This turn", "## The budget", f"## {Group.NEAR}", "## The lead's last run"]
    assert [head for head in heads if head in order] == order
    assert heads[-2:] == [f"## {Group.HARM}", "## The last edit's last run"]
    assert "| worse / than before |" in text
    assert text.index("by 5 in the last tenth") < text.index("by 10 in the last tenth")
    one = made(0.1, words="x" * 500)
    monkeypatch.setattr(tries, "read", lambda root, past: [one, made(-2.0, words="y" * 500)] * 30)
    monkeypatch.setattr(brief, "MOST", 5_000)
    text = brief.write(root, past, dataclasses.replace(SITUATION, repair="z" * 10**6)).text
    assert len(text) < 5_000 + brief.ERROR_SHOWN
    assert "zzz" in text
    said = text.splitlines()[-1]
    assert said.startswith("Left out, for want of room: ")
    assert Group.NEAR in said


def test_an_agent_can_look_at_what_was_tried_in_its_clone(ongoing, root):
    tried = attempt(ongoing, -4, "worse")
    (run_folder(root, tried.run) / CURVE).write_text("seconds,step\n1,1\n")
    lent = brief.write(root, ongoing.read(), SITUATION)
    shell = f"git show {tried.commit} | tail -1; git show {tried.commit}:{EDITABLE} | wc -l;"
    shell += f"git for-each-ref --format='%(refname)' refs/autorl; cat runs/{tried.run}/curve.csv"
    said = agents.call(shell, root, ongoing.branch.tip(), b"", lent, 1, 60.0, threading.Event())
    shown, lines, ref, *curve = said.detail.splitlines()
    assert shown == "+SKILL = -4 # worse"
    assert lines.strip() == "1"
    assert ref == f"refs/autorl/night/discarded/{tried.run}"
    assert curve == ["seconds,step", "1,1"]


def test_the_budget_is_told_in_figures(ongoing, root):
    past = ongoing.read()
    _, updates, startup, spread, lead, bar, doubt = facts.lines(root, past, past.incumbent)
    assert updates.startswith("100 updates of 4,096 steps fit into the 1 s (409,600 steps/s, 10 ms")
    assert updates.endswith("an update; engine native)")
    assert "60.0 s, of which 63.0 s are free" in startup
    outlook = past.outlook()
    assert float(spread.split(": ")[1].split(",")[0]) == pytest.approx(outlook.unit, abs=2e-3)
    assert lead == "The lead is the proved incumbent"
    assert f"from {outlook.bar():,.4g} on" in bar
    assert "nothing is learned" in doubt


def test_what_is_left_is_told_in_runs_too(ongoing, root, monkeypatch):
    Night(ongoing, Plan("true", 1.0, 7, 1.0))._begin(Plan("true", 1.0, 7, 1.0))
    memory = Memory(root, ongoing.read(), Plan("true", 2.0, 7, 1.0), 0)
    monkeypatch.setattr("harness.night.memory.medians", lambda *_: {"HalfCheetah-v5": 900.0})
    assert memory.left() == "2.0 hours, some 8 runs; 7 runs at most"


def test_a_curve_is_told_in_ten_lines(tmp_path):
    file = run_folder(tmp_path, "run") / CURVE
    file.parent.mkdir(parents=True)
    rows = [f"{i * 0.1:.1f},{1000 * i},{'nan' if i < 30 else 10 * i},{1 / (i + 1)},7"
            for i in range(100)]  # fmt: skip
    file.write_text(f"seconds,step,{RETURN},losses/approx_kl,x\n" + "\n".join(rows) + "\n")
    table = course.table(curve(file.parent), 10.0)
    head, _, *lines = table.splitlines()
    assert head == "| seconds | return | KL | steps/s |"
    assert lines[0].startswith("| 1 | - | 0.293 | 10,000 |")
    assert lines[3].startswith("| 4 | 345 | ")
    assert lines[9].endswith("| 10,000 |")
    assert lines[-1] == "Still rising at the end: by 100 in the last tenth."
    file.write_text("seconds,step,loss,a|b\n0.5,1,3,4\n")
    assert course.table(curve(file.parent), 10.0).startswith("| seconds | loss | a/b | steps/s |")
    for nothing in ("", "seconds,step\n", "seconds,step\nx,y\n", "\0"):
        file.write_text(nothing)
        assert course.table(curve(file.parent), 10.0) == ""
    assert course.table(curve(tmp_path), 10.0) == ""


@pytest.mark.parametrize(
    ("returns", "said"),
    [
        ([1, 2, 3, 4], "Still rising at the end: by 1 "),
        ([1, 90, 100, 100.5], "Not rising at the end: the best tenth is number 4 of 4."),
        ([1, 100, 90, 80], "Not rising at the end: the best tenth is number 2 of 4."),
        ([math.nan] * 4, "No episode ended"),
        ([math.nan, 1, 2, 3], ""),
        ([5, 5, 5, 5], "Not rising"),
    ],
)
def test_whether_a_curve_still_rises_is_said(returns, said):
    assert course.rising(returns).startswith(said)
    assert bool(course.rising(returns)) == bool(said)
