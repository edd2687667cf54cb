"""What all tests share."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parent.parent
TRAIN_FILES = Path(__file__).resolve().parent / "train_files"

# The heads of the ledgers that tests write.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="autorl-state-")

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
