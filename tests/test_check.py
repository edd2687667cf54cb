"""A check of a training file: what is wrong with it, told in seconds, and no score."""

import math
import os
import shutil
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from harness import check
from harness.confinement import sandbox, view
from harness.contract.order import Assignment, Order
from harness.errors import OutOfTimeError
from harness.measurement import rehearsal
from harness.night import agents
from harness.night.brief import Brief
from harness.places import EDITABLE
from tests.conftest import ROOT, TRAIN_FILES, begin, command, git, summary_block


@pytest.mark.slow
def test_a_file_that_works_is_told_its_rate_and_leaves_nothing(tmp_path):
    file = TRAIN_FILES / "honest.py"
    done = command(
        tmp_path, "harness.check", "--train", file, "--seconds", 2, "--budget", 60,
        "--task", "Hopper-v5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    assert (block["check"], block["task"], block["backend"]) == ("ok", "Hopper-v5", "native")
    assert 5 <= int(block["num_updates"]) <= 20
    assert block["steps_per_update"] == "64"
    assert 200 <= float(block["steps_per_second"]) <= 640
    assert 200 <= int(block["updates_in_budget"]) <= 600
    assert "return" not in done.stdout
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("raises", 3, "ZeroDivisionError: an ordinary bug"),
        ("fails_later", 3, "exit code 1 after 1 update. Its last output"),
        ("nan_action", 4, "The policy gave a NaN action"),
    ],
)
def test_what_is_wrong_is_said_with_the_exit_code_of_a_run(tmp_path, name, code, said):
    file = TRAIN_FILES / f"{name}.py"
    done = command(tmp_path, "harness.check", "--train", file, "--seconds", 1, "--no-sandbox")
    assert done.returncode == code
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_a_clock_that_is_never_started_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assignment = Assignment("HalfCheetah-v5", "native", 0, 1.0)
    order = Order(assignment, rehearsal.EPISODES, sandbox.NONE, allowance=2.0)
    source = (TRAIN_FILES / "never_starts.py").read_bytes()
    said = r"(?s)never called trial.start\(\).*--seconds gives up"
    with pytest.raises(OutOfTimeError, match=said):
        rehearsal.rehearse(source, order, tmp_path)


def test_where_a_training_diverged_is_told():
    finite = {"seconds": 0.1, "loss": 1.0, "charts/episodic_return": math.nan}
    assert rehearsal._began([finite]) == ""
    later = [{"seconds": s, "loss": math.inf, "kl": math.nan} for s in (0.5, 1.0)]
    said = rehearsal._began([finite, *later])
    assert said == " In this check loss, kl is NaN or infinite from 0.5 s on."


def test_seconds_are_few(tmp_path):
    done = command(tmp_path, "harness.check", "--seconds", rehearsal.LONGEST + 1)
    assert done.returncode == 2
    assert "--seconds" in done.stderr


def test_on_a_branch_its_conditions_are_those_of_the_check(tmp_path, monkeypatch):
    begin(tmp_path)
    monkeypatch.chdir(tmp_path)
    laid = check._conditions(None, None, None, False, None)
    assert (laid.tasks, laid.backends, laid.budget) == (("HalfCheetah-v5",), ("native",), 2.0)
    assert laid.sandbox == sandbox.available()
    other = check._conditions("Hopper-v5,Ant-v5", 60.0, None, True, None)
    assert (other.tasks, other.backends) == (("Hopper-v5", "Ant-v5"), ("auto", "auto"))
    assert (other.budget, other.sandbox) == (60.0, sandbox.NONE)


@pytest.mark.parametrize(("engine", "reserved"), [("auto", "false"), ("warp", None)])
def test_a_check_leaves_processor_and_accelerator_to_a_run_beside_it(monkeypatch, engine, reserved):
    monkeypatch.setattr(view, "accelerators", lambda: [Path("/dev/nvidia0")])
    monkeypatch.setattr(os, "nice", nice := Mock())
    monkeypatch.setattr(os, "environ", {})
    check._give_way([engine])
    nice.assert_called_once_with(19)
    assert os.environ.get(check.PREALLOCATION) == reserved


@pytest.mark.slow
def test_an_agent_can_check_its_file_in_its_clone(root):
    """It has no ledger there, and no harness but the clone's."""
    sources = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "harness", root / "harness", ignore=sources)
    for arguments in (("add", "."), ("commit", "-q", "-m", "the harness")):
        git(root, *arguments)
    variables = {"AUTORL_TASK": "Hopper-v5", "AUTORL_BUDGET": "60", "AUTORL_BACKEND": "native"}
    shell = f"cp {TRAIN_FILES}/honest.py {EDITABLE}; python -m harness.check --seconds 1 2>&1"
    shell += "; touch MUJOCO_LOG.TXT"
    made = agents.call(shell, root, "HEAD", b"", Brief("", (), variables), 1, 120.0,
                       threading.Event())  # fmt: skip
    assert "check: ok\ntask: Hopper-v5\n" in made.detail
    assert made.edit == (TRAIN_FILES / "honest.py").read_bytes()
    assert made.forbidden == ()
    assert not (root / "runs").exists()
