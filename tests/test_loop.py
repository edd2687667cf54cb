"""The loop as a user types it, with training files that end at once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness import loop
from harness.places import EDITABLE, LEDGER
from harness.record.entries import NightBegun
from harness.record.ledger import Ledger
from tests.conftest import ROOT, TRAIN_FILES, begin, command, git, turns

HERE = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def checkout(tmp_path):
    """A committed checkout whose training file is quick."""
    (tmp_path / "agent_space").mkdir()
    (tmp_path / EDITABLE).write_bytes((TRAIN_FILES / "honest.py").read_bytes())
    (tmp_path / "program.md").write_text("# Be bold\n")
    (tmp_path / ".gitignore").write_text("/runs/\n/results.tsv\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(tmp_path, *arguments)
    return tmp_path


def test_the_presets_are_printed(tmp_path):
    done = command(tmp_path, "harness.loop", "--list-agents")
    assert done.returncode == 0
    for name in ("claude", "codex", "gemini", "opencode", "aider", "random", "tpe", "cmaes"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Who edits?"),
        (["--resume"], "--resume needs the experiment branch"),
        (["--agent", "true", "--task", "Hoper-v5"], "Did you mean Hopper-v5"),
        (["--agent", "true", "--budget", "0"], "positive number of seconds"),
        (["--agent", "codex"], "needs the program codex"),
        (["--agent", "tpe"], "no constant with a range"),
    ],
)
def test_what_cannot_begin_gets_one_message(checkout, arguments, message):
    if "codex" in arguments and shutil.which("codex"):
        pytest.skip("codex is installed here, and would begin")
    done = command(checkout, "harness.loop", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (checkout / "results.tsv").exists()


def test_the_loop_runs_from_its_copy_also_where_the_checkout_has_a_harness(checkout, monkeypatch):
    shutil.copytree(ROOT / "harness", checkout / "harness")
    monkeypatch.chdir(checkout)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    begun = []
    monkeypatch.setattr(os, "execve", lambda program, *rest: begun.append(rest))
    loop._become_a_copy()
    ((command_line, variables),) = begun
    before = command_line[: command_line.index("-m")]
    done = subprocess.run(
        [*before, "-c", "import harness.loop as loop; print(loop.__file__)"],
        env=variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    copy = Path(variables["PYTHONPATH"])
    assert Path(done.stdout.strip()) == copy / "harness" / "loop.py"
    shutil.rmtree(copy)


@pytest.mark.parametrize("name", ["autorl-loop-mine", "elsewhere"])
def test_a_checkout_is_never_taken_for_a_loops_copy(monkeypatch, tmp_path, name):
    """What is taken for one is removed in the end."""
    checkout = tmp_path / name
    (checkout / "harness").mkdir(parents=True)
    monkeypatch.setattr(loop, "PACKAGE", checkout / "harness")
    assert (loop._copy() == checkout) == name.startswith(loop.COPY_PREFIX)
    (checkout / "agent_space").mkdir()
    assert loop._copy() is None


@pytest.mark.slow
def test_a_night_that_is_interrupted_leaves_nothing_and_goes_on(checkout):
    """Ctrl-C in the first turn, then `--resume` to the end of its runs."""
    begin(checkout, "night")
    agent = f"sed -i 's/action_size, 0.1/action_size, 0.9/' {EDITABLE}; sleep $((4 - AUTORL_TURN))"
    night = subprocess.Popen(
        [sys.executable, "-m", "harness.loop", "--agent", agent,
         "--max-runs", "1"],
        cwd=checkout, env=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not isinstance(Ledger(checkout / LEDGER).rows()[-1], NightBegun):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(1)
    children = psutil.Process(night.pid).children(recursive=True)
    night.send_signal(signal.SIGINT)
    _, stderr = night.communicate(timeout=30)
    assert night.returncode == 130
    assert stderr.strip() == "interrupted; nothing of it keeps running"  # and nothing was measured
    assert not [child for child in children if child.is_running()]
    done = command(checkout, "harness.loop", "--resume")
    assert done.returncode == 0, done.stderr
    assert "discard" in done.stdout
    assert "the night is over: 1 run made" in done.stdout
    assert "autorl/night, in all: 1 edit; 0 proved, " in done.stdout
    assert [turn.status for turn in turns(checkout)] == ["edit"]
    assert (checkout / EDITABLE).read_bytes() == (TRAIN_FILES / "honest.py").read_bytes()


def test_a_night_that_is_resumed_has_the_limits_that_it_was_begun_with(tmp_path):
    done = command(tmp_path, "harness.loop", "--resume", "--max-runs", 9)
    assert done.returncode == 2
    assert "leave --resume out, or these" in done.stderr
