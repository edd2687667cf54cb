"""What all tests share."""

import dataclasses
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import pytest

from harness.checkout.beginning import create
from harness.confinement import sandbox
from harness.judgement.contest import Contest
from harness.judgement.history import Conditions
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Run, Status, Turn
from harness.record.ledger import Ledger
from tests.fake_site import FakeSite

ROOT = Path(__file__).resolve().parent.parent
TRAIN_FILES = Path(__file__).resolve().parent / "train_files"

HALF_CHEETAH = Conditions(("HalfCheetah-v5",), ("native",), 1.0, 2)
"""Of the experiment branches of tests."""

# The heads of the ledgers that tests write.
HEADS = tempfile.TemporaryDirectory(prefix="autorl-state-")
os.environ["XDG_STATE_HOME"] = HEADS.name

# What one test has compiled no other one compiles again, in whichever of pytest's workers it runs.
# What the harness starts never sees it: a variable that only these processes read says where it is.
COMPILED = "AUTORL_TESTS_COMPILED"
if COMPILED not in os.environ:
    SESSION = tempfile.TemporaryDirectory(prefix="autorl-compiled-", ignore_cleanup_errors=True)
    os.environ[COMPILED] = SESSION.name
jax.config.update("jax_compilation_cache_dir", os.environ[COMPILED])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# As in every training process: host callbacks can hang with asynchronous dispatch.
jax.config.update("jax_cpu_enable_async_dispatch", False)


@pytest.fixture
def checkout(tmp_path):
    """A folder to run experiments in, with the shipped training file and nothing else."""
    shutil.copytree(ROOT / "agent_space", tmp_path / "agent_space")
    return tmp_path


@pytest.fixture
def harness_run(checkout):
    """`python -m harness.run` as a user types it, in a fresh checkout."""

    def run(*arguments, timeout=300):
        return subprocess.run(
            [sys.executable, "-m", "harness.run", *map(str, arguments)],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def summary_block(stdout):
    """The `key: value` lines after `---`."""
    lines = stdout.split("---\n", 1)[1].splitlines()
    return dict(line.split(": ", 1) for line in lines)


def command(folder, module, *arguments):
    """`python -m MODULE …` as a user types it, in a checkout."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip


def git(folder, *arguments):
    """One git command, by somebody."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def rows(folder):
    """The runs in a checkout's ledger that have ended."""
    return Ledger(folder / LEDGER).runs()


def turns(folder):
    """The turns of agents in a checkout's ledger."""
    return [row for row in Ledger(folder / LEDGER).rows() if isinstance(row, Turn)]


def run_row(run_id="r1", **fields):
    """A row of a run, of which only so much matters."""
    usual = {"commit": "-", "task": "HalfCheetah-v5", "status": Status.SCORED, "budget": 1.0}
    usual |= {"backend": "native", "comparable": True, "avg_return": 1.0, "seed": 0}
    return Run(**usual | {"run_id": run_id} | fields)


def begin(folder, tag="tag", score=1000.0):
    """A checkout of a quick training file on a branch whose incumbent was measured in no time."""
    (folder / EDITABLE).parent.mkdir(exist_ok=True)
    (folder / EDITABLE).write_bytes((TRAIN_FILES / "honest.py").read_bytes())
    (folder / ".gitignore").write_text("/runs/\n/results.tsv\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "--allow-empty", "-m", "go")):
        git(folder, *arguments)
    noise = random.Random(0)
    site = FakeSite(score=lambda order, text: score + noise.gauss(0, 1))
    conditions = dataclasses.replace(HALF_CHEETAH, budget=2.0, stopping=True)
    Contest(create(folder, tag), conditions, sandbox.available(), site=site).measure()
    return folder


@pytest.fixture
def site():
    """Where the runs of a test's branch are measured: by the words of their training file."""
    return FakeSite()


@pytest.fixture
def root(tmp_path):
    """A committed checkout whose training file says what it is worth, see `FakeSite`."""
    folder = tmp_path / "checkout"
    (folder / "agent_space").mkdir(parents=True)
    (folder / EDITABLE).write_text("SKILL = 0\n")
    (folder / "program.md").write_text("be honest\n")
    (folder / "README.md").write_text("the rules\n")
    (folder / ".gitignore").write_text("/runs/\n/results.tsv\n/notes/\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(folder, *arguments)
    return folder


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """A branch on which everything has happened, see `tests.searched`; to be read only."""
    from tests.searched import searched

    return searched(tmp_path_factory.mktemp("searched") / "checkout")
