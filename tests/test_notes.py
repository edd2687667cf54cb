"""What a row's reason says of a training, beside the ruling."""

import json
import re

import pytest

from harness.judgement import notes
from harness.measurement.training import Training
from harness.record.ledger import Ledger
from tests.conftest import TRAIN_FILES, summary_block


def training(**known):
    """One of a minute that ended after 12 s."""
    return Training(60.0, **{"begun": 0.0, "clock_start": 100.0, "ended": 112.0, **known})


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, ""),
        ({"exit_code": 0}, ""),
        (
            {"exit_code": 1},
            "The training ended by itself after 12 of 60 s, with exit code 1; its last policy was "
            "scored.",
        ),
        (
            {"exit_code": 3, "num_seeds": 4},
            "The training ended by itself after 12 of 60 s, with exit code 3; its last 4 policies "
            "were scored.",
        ),
        (
            {"protocol_error": "two\nlines " + "x" * 500},
            "The training was ended after 12 of 60 s, because it sent two lines "
            + "x" * (notes.FAULT_SHOWN - len("two lines ") - 1)
            + "…; its last policy was scored.",
        ),
        ({"exit_code": 1, "ended": 161.0}, ""),  # nothing was lost
    ],
)
def test_how_a_training_failed_before_its_time(known, said):
    assert notes.cut_short(training(**known)) == said


@pytest.mark.parametrize(
    ("backend", "diverged", "said"),
    [
        ("warp", 0.0, ""),
        ("warp", 1.0, "In training 1 episode ended because the simulation broke down."),
        ("mjx", 1200.0, "In training 1,200 episodes ended because the simulation broke down."),
        ("mjx", -3.0, ""),
        ("native", 1200.0, ""),  # which tells of none: the file counts something else
    ],
)
def test_how_often_a_simulation_broke_down(backend, diverged, said):
    assert notes.breakdowns(training(backend=backend, diverged=diverged)) == said


@pytest.mark.slow
def test_a_run_whose_training_failed_early_says_so_in_its_row(harness_run, checkout):
    file = TRAIN_FILES / "fails_later.py"
    done = harness_run("--train", file, "--budget", 60, "--episodes", 2, "--no-sandbox")
    assert done.returncode == 0, done.stderr
    (row,) = Ledger(checkout / "results.tsv").rows()
    assert row.status == "scored"
    early = re.compile(
        r"The training ended by itself after \d+ of 60 s, with exit code 1; its last policy was "
        r"scored\."
    )
    assert early.fullmatch(row.reason)
    assert f"note: {row.reason} " in done.stderr
    folder = checkout / "runs" / row.run_id
    assert "after a policy that would count" in (folder / "train.log").read_text()
    block = summary_block(done.stdout)
    summary = json.loads((folder / "summary.json").read_text())
    assert block["reason"] == summary["reason"] == row.reason
