"""The command line, from arguments to ledger row, and every way to get it wrong."""

import contextlib
import csv
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest

from harness.checkout import integrity
from harness.contract.order import Assignment, Order
from harness.record.ledger import Ledger
from harness.system import storage
from harness.tasks import anchors
from tests.conftest import ROOT, TRAIN_FILES, summary_block

EPISODES = 10
"""Of a run that shows that an engine's way is open; the native engine's is scored as usual."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "task_id", "budget"),
    [
        ("native", "HalfCheetah-v5", 10),
        ("envpool", "BipedalWalker-v3", 10),
        ("gymnasium", "BipedalWalker-v3", 10),
        ("mjx", "HalfCheetah-v5", 20),
    ],
)
def test_a_short_run_ends_with_a_score_and_a_row(harness_run, checkout, backend, task_id, budget):
    arguments = () if backend == "native" else ("--episodes", EPISODES)
    before = psutil.Process().children(recursive=True)  # of earlier tests, as zombies are
    done = harness_run("--task", task_id, "--backend", backend, "--budget", budget, *arguments)
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    assert (block["task"], block["backend"], block["verdict"]) == (task_id, backend, "none")
    assert float(block["steps_per_second"]) > 0
    assert float(block["training_seconds"]) <= budget
    if backend == "native":
        assert float(block["avg_return"]) > anchors.RANDOM[task_id] + 100

    folder = checkout / "runs" / block["run_id"]
    assert {p.name.partition(".out.tfevents")[0] for p in folder.iterdir()} == {
        "summary.json", "train.log", "curve.csv", "events", "policy", "train.py"
    }  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["episode_returns"]) == len(set(summary["episode_seeds"]))
    assert len(summary["episode_returns"]) == (100 if backend == "native" else EPISODES)
    assert np.mean(summary["episode_returns"]) == pytest.approx(summary["avg_return"])
    with open(folder / "curve.csv") as file:
        curve = list(csv.DictReader(file))
    assert len(curve) == summary["num_updates"]
    assert int(curve[-1]["step"]) == summary["total_timesteps"]

    (row,) = Ledger(checkout / "results.tsv").rows()
    assert (row.run_id, row.status, row.comparable) == (block["run_id"], "scored", False)
    assert row.avg_return == pytest.approx(summary["avg_return"], abs=1e-3)
    assert set(psutil.Process().children(recursive=True)) <= set(before)


@pytest.mark.slow
def test_a_second_simulator_adds_a_figure_and_breakdowns_are_counted(harness_run, checkout):
    done = harness_run(
        "--task", "InvertedPendulum-v5", "--train", TRAIN_FILES / "honest.py", "--budget", 2,
        "--episodes", 3, "--eval-engine", "mjx",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    assert block["simulator"] == "native"
    # The same first states and the same policy: the same moment at which the pole falls.
    assert float(block["second_return"]) == pytest.approx(float(block["avg_return"]), abs=1)
    summary = json.loads((checkout / "runs" / block["run_id"] / "summary.json").read_text())
    assert summary["second_simulator"] == "mjx"
    assert len(summary["second_episode_returns"]) == 3
    assert int(block["diverged"]) == 2 * int(block["num_updates"])  # as the file says it


@pytest.mark.slow
def test_an_environment_of_brax_is_trained_and_scored_in_its_own_simulator(harness_run, checkout):
    done = harness_run(
        "--task", "brax:inverted_pendulum", "--budget", 5, "--episodes", 3, timeout=500
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    assert (block["backend"], block["simulator"]) == ("brax", "brax")
    assert float(block["avg_return"]) > 0


@pytest.mark.slow
def test_an_unknown_environment_of_brax_is_told_without_a_traceback(harness_run):
    done = harness_run("--task", "brax:inverted_pendulumm", "--budget", 10)
    assert done.returncode == 3
    assert "Unknown task 'brax:inverted_pendulumm'. brax has: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_nothing_but_the_block_and_what_it_means_is_printed_where_nobody_watches(
    harness_run, checkout
):
    done = harness_run("--train", TRAIN_FILES / "honest.py", "--budget", 1, "--episodes", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("---\navg_return: ")
    note, meaning = done.stderr.split("what it means:\n")
    assert note == integrity.unguarded(checkout) + "\n"
    told, steps = meaning.split("next:\n")
    assert all(line.startswith("  ") for line in (told + steps).splitlines())
    assert len(done.stdout.splitlines()) == 20


def test_a_recurrent_policy_is_scored_with_its_memory(harness_run, checkout):
    """The policy acts by the number of the step; the reference counts the steps itself."""
    done = harness_run("--train", TRAIN_FILES / "recurrent.py", "--budget", 2, "--episodes", 1)
    assert done.returncode == 0, done.stderr
    (folder,) = (checkout / "runs").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    env = gymnasium.make("HalfCheetah-v5")
    env.reset(seed=summary["episode_seeds"][0])
    total = 0.0
    for step in range(1, 1001):
        action = np.full(6, np.sin(np.float32(0.3) * np.float32(step)), np.float32)
        total += float(env.step(action)[1])
    # Sines of XLA and NumPy differ in their last bits, and a cheetah is chaotic: not to the bit.
    assert summary["episode_returns"][0] == pytest.approx(total, rel=0.2, abs=40)


def test_a_place_that_cannot_be_written_is_told_before_anything_starts(harness_run, checkout):
    (checkout / "runs").write_text("a file where a folder should be")
    done = harness_run("--train", TRAIN_FILES / "honest.py", "--budget", 1)
    assert done.returncode == 6
    assert "Traceback" not in done.stderr
    assert "runs" in done.stderr


@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_run_costs_the_summary_and_not_the_row(checkout, monkeypatch):
    from harness.errors import StorageError
    from harness.judgement import experiment

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(storage, "replace", full)
    request = experiment.Request(
        checkout,
        (TRAIN_FILES / "recurrent.py").read_bytes(),
        Order(Assignment("HalfCheetah-v5", "native", 1, 2.0), 1, "none"),
        "",
        False,
    )
    with pytest.raises(StorageError, match="The disk is full"):
        experiment.run(request)
    (row,) = Ledger(checkout / "results.tsv").rows()
    assert row.status == "scored"


@pytest.mark.slow
def test_a_message_and_a_seed_stand_in_the_row(harness_run, checkout):
    train = TRAIN_FILES / "honest.py"
    done = harness_run(
        "--train", train, "--budget", 1, "--episodes", 2, "--seed", 5, "--message", "wider\tnets"
    )
    assert done.returncode == 0, done.stderr
    (row,) = Ledger(checkout / "results.tsv").rows()
    assert (row.seed, row.description) == (5, "wider nets")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "HalfCheeta-v5"], "Did you mean HalfCheetah-v5"),
        (["--task", "BipedalWalker-v3", "--backend", "native"], "choose one of: envpool"),
        (["--task", "BipedalWalker-v3", "--backend", "mjx"], "is not a MuJoCo task"),
        (["--task", "Ant-v5", "--backend", "warp"], "NVIDIA GPU"),
        (["--task", "CartPole-v1", "--backend", "warp"], "not a MuJoCo task"),
        (["--task", "BipedalWalker-v3", "--eval-engine", "mjx"], "is not a MuJoCo task"),
        (["--task", "BipedalWalker-v3", "--eval-engine", "envpool"], "does not evaluate"),
        (["--eval-engine", "auto"], "does not evaluate"),
        (["--backend", "cuda"], "Unknown backend 'cuda'"),
        (["--budget", "0"], "positive number of seconds"),
        (["--budget", "-3"], "positive number of seconds"),
        (["--budget", "nan"], "positive number of seconds"),
        (["--episodes", "0"], "--episodes"),
        (["--seed", "-1"], "--seed is -1"),
        (["--train", "missing.py"], "There is no training file missing.py"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_bad_arguments_get_one_message_and_start_nothing(harness_run, checkout, arguments, message):
    done = harness_run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout / "results.tsv").exists()
    assert not (checkout / "runs").exists()


def test_a_syntax_error_is_told_with_its_line_and_starts_nothing(harness_run, checkout):
    (checkout / "agent_space" / "train.py").write_text("x = 1\ndef f(:\n")
    done = harness_run()
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert not (checkout / "results.tsv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "status", "message"),
    [
        ("raises.py", 3, "crash", "an ordinary bug"),
        ("silent.py", 3, "crash", "never called trial.publish"),
        ("hangs.py", 3, "timeout", "No policy was published within 2 s"),
        ("nan_action.py", 4, "crash", "NaN action at step 0 of episode 0"),
        ("wrong_shape.py", 4, "crash", "action has shape (7,)"),
    ],
)
def test_a_bad_training_file_gets_a_message_and_a_row(
    harness_run, checkout, name, code, status, message
):
    done = harness_run("--train", TRAIN_FILES / name, "--budget", 2, "--episodes", 3)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stdout == ""
    (row,) = Ledger(checkout / "results.tsv").rows()
    assert (row.status, row.avg_return) == (status, None)
    assert message in (checkout / "runs" / row.run_id / "error.txt").read_text()


def test_a_damaged_ledger_stops_a_run_before_it_starts(harness_run, checkout):
    (checkout / "results.tsv").write_text("commit\tavg_return\n")
    done = harness_run("--train", TRAIN_FILES / "honest.py", "--budget", 1)
    assert done.returncode == 5
    assert "line 1" in done.stderr
    assert (checkout / "results.tsv").read_text() == "commit\tavg_return\n"
    assert not (checkout / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("training", signal.SIGINT),
        pytest.param("evaluation", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("training", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("training", signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_being_ended_ends_every_process_and_leaves_a_row(checkout, phase, number):
    budget, episodes = (60, 2) if phase == "training" else (1, 2000)
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.run", "--train", TRAIN_FILES / "honest.py",
         "--budget", str(budget), "--episodes", str(episodes)],
        cwd=checkout, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wanted = "train.py" if phase == "training" else "harness.evaluate"
    children = wait_for_child(process.pid, wanted)
    time.sleep(2)
    process.send_signal(number)
    time.sleep(0.05)
    process.send_signal(number)  # an impatient user
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.strip().splitlines()[-1] == "interrupted; nothing of it keeps running"
    assert not [child for child in children if child.is_running()]
    (row,) = Ledger(checkout / "results.tsv").rows()
    assert row.status == "interrupted"


@pytest.mark.slow
def test_a_run_during_which_the_harness_was_stopped_measures_nothing(checkout):
    """As by Ctrl-Z; the training goes on meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.run", "--train", TRAIN_FILES / "honest.py",
         "--budget", "60", "--episodes", "2"],
        cwd=checkout, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    children = wait_for_child(process.pid, "train.py")
    process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    process.send_signal(signal.SIGCONT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 10, stderr
    assert re.search(r"The harness stood still for [12]\.\d s", stderr)
    assert not [child for child in children if child.is_running()]
    (row,) = Ledger(checkout / "results.tsv").rows()
    assert (row.status, row.avg_return) == ("interrupted", None)


def wait_for_child(pid, word):
    """The children of a process as soon as one of them is the interpreter of a file or module."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.Error):  # one that has just ended
            children = psutil.Process(pid).children(recursive=True)
            commands = [child.cmdline()[1:3] for child in children]
            if any(c == ["-m", word] or (c and Path(c[0]).name == word) for c in commands):
                return children
        time.sleep(0.05)
    raise AssertionError(f"no child that runs {word} appeared")
