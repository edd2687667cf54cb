"""Single runs: what their score means is said at their end, and status and report show them."""

import re

import pytest

from harness import report
from harness.morning import findings, meaning, singles, standing
from harness.places import EDITABLE, LEDGER
from harness.record.ledger import Ledger
from harness.tasks import anchors
from tests.conftest import ROOT, TRAIN_FILES, command, git, summary_block

EVIDENCE = ROOT / "docs" / "evidence" / "issue8"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A checkout with a scored run and one that failed, and what the first has said."""
    folder = tmp_path_factory.mktemp("singles")
    usual = ("--task", "HalfCheetah-v5", "--budget", 2, "--episodes", 3)
    (folder / EDITABLE).parent.mkdir()
    (folder / EDITABLE).write_bytes((TRAIN_FILES / "honest.py").read_bytes())
    done = command(folder, "harness.run", *usual, "--message", "a <b>")
    assert done.returncode == 0, done.stderr
    (folder / "crash.py").write_text("raise ValueError('no')\n")
    command(folder, "harness.run", "--train", "crash.py", *usual)
    return folder, done


def test_a_run_ends_with_what_its_score_means_and_with_the_next_command(runs):
    _, done = runs
    block = summary_block(done.stdout)
    score = float(block["avg_return"])
    for line in meaning.lines("HalfCheetah-v5", 2.0, score):
        assert f"\n  {line}\n" in done.stderr
    for module in ("report", "run --init TAG", "loop --agent random"):
        assert re.search(rf"^  \S+python\S* -m harness.{module} ", done.stderr, re.MULTILINE)


def test_no_line_of_that_is_one_of_the_block(runs):
    """Both may go into one file, in which agents look for the block's lines."""
    _, done = runs
    keys = summary_block(done.stdout)
    assert "avg_return" in keys
    assert done.stdout.endswith(f"verdict: {keys['verdict']}\n")
    assert not [line for line in done.stderr.splitlines() if line.split(":")[0] in keys]


def test_a_score_stands_beside_random_actions_what_is_published_and_the_shipped_files():
    said = "\n".join(meaning.lines("HalfCheetah-v5", 120.0, -284.9 + (6117 + 284.9) / 2))
    assert "random actions reach -285" in said
    assert "autoRL's best, as published, is 6,117" in said
    assert "2,916 is 50% of the way" in said
    assert "the shipped file, in 720 s, not 120, on two cores of an Intel Xeon, before " in said
    assert ": 9,962, 9,837, 7,202" in said
    assert "in 720 s, on" in "\n".join(meaning.lines("HalfCheetah-v5", 720.0, 0.0))


def test_a_file_of_ones_own_is_not_put_beside_the_shipped_one():
    shown = meaning.lines("HalfCheetah-v5", 720.0, -500.0, shipped=False)
    assert not any("shipped" in line for line in shown)
    assert "-500 is below random actions" in shown


def test_nothing_is_said_where_nothing_is_known():
    assert len(meaning.lines("my_package:MyEnv-v0", 720.0, 1.0)) == 1
    assert not any("shipped" in line for line in meaning.lines("Hopper-v5", 721.0, 1.0))
    assert anchors.usual("Pusher-v5", 60.0) is None


def test_the_shipped_files_scores_are_those_of_the_ledgers():
    found = {}
    for name in ("four_minutes/shipped_240", "values/least_1e3_240",
                 "twelve_minutes/shipped_720", "twelve_minutes/shipped_720_2",
                 "humanoid/humanoid_720"):  # fmt: skip
        for row in Ledger(EVIDENCE / f"{name}.tsv").rows():
            found[row.run_id] = (row.task, float(row.budget), round(float(row.avg_return)))
    ours = [
        (task, seconds, score)
        for task, known in anchors.SHIPPED.items()
        for seconds, scores in known.items()
        for score in scores
    ]
    assert sorted(found.values()) == sorted(ours)


@pytest.mark.slow
def test_a_status_lists_the_latest_runs_with_their_scores(runs):
    folder, done = runs
    shown = command(folder, "harness.status")
    assert shown.returncode == 0, shown.stderr
    first, failed, scored, at_work = shown.stdout.splitlines()
    assert first.startswith("single runs: 2, and no experiment branch")
    assert "crash" in failed
    score = float(summary_block(done.stdout)["avg_return"])
    assert re.search(
        rf"HalfCheetah-v5, 2 s +{re.escape(findings.figure(score))} ± .* a <b>$", scored
    )
    assert at_work == "at work: nobody"


@pytest.mark.slow
def test_a_report_shows_every_run_its_episodes_and_its_curve(runs, tmp_path):
    folder, _ = runs
    done = command(folder, "harness.report", "--no-video", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 runs, and no experiment branch" in done.stdout
    text = (tmp_path / "index.html").read_text()
    assert text.count('class="row"') == 2
    for said in ("a &lt;b&gt;", "random actions reach -285", "Every episode", "Learning curves"):
        assert said in text
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["curves.png", "episodes.png"]
    assert len(singles.episodes(folder, singles.read(folder / LEDGER)[0])) == 3


def test_a_recorded_ledger_of_single_runs_can_be_reported_on_without_its_folders(tmp_path):
    ledger = EVIDENCE / "twelve_minutes" / "shipped_720.tsv"
    report.report(ledger, "", tmp_path, video=True)
    text = (tmp_path / "index.html").read_text()
    assert "No video: the folder of run" in text
    assert text.count('class="row"') == len(singles.read(ledger)) == 12
    assert (tmp_path / "episodes.png").exists()


def test_a_branch_is_shown_before_single_runs(runs):
    folder, _ = runs
    for arguments in (("init", "-q"), ("add", "crash.py"), ("commit", "-q", "-m", "start")):
        git(folder, *arguments)
    git(folder, "switch", "-q", "-c", "autorl/tag")
    assert standing.look(folder)[0] == "autorl/tag: no run has ended yet"
    git(folder, "switch", "-q", "-c", "other")
    assert standing.look(folder)[0].startswith("single runs: 2")
