"""The launcher for Modal, as far as it can be checked without an account."""

import importlib.util
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from harness.places import EDITABLE, LEDGER
from harness.record.ledger import Ledger
from tests.conftest import ROOT, TRAIN_FILES, git, rows

modal = pytest.importorskip("modal")


@pytest.fixture(scope="module")
def launcher():
    """scripts/modal_app.py as a module."""
    spec = importlib.util.spec_from_file_location("modal_app", ROOT / "scripts" / "modal_app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path, launcher, monkeypatch):
    """A committed checkout in the place of the one in the cloud."""
    (tmp_path / "agent_space").mkdir()
    (tmp_path / EDITABLE).write_bytes((TRAIN_FILES / "honest.py").read_bytes())
    (tmp_path / ".gitignore").write_text("/runs/\n/results.tsv\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(tmp_path, *arguments)
    monkeypatch.setattr(launcher, "CHECKOUT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def test_the_image_holds_what_pyproject_asks_for_and_jax_for_cuda(launcher):
    wanted = {Requirement(line).name for line in launcher.requirements("cuda")}
    assert {"jax", "mujoco", "mujoco-mjx", "flax", "optax", "gymnasium", "typer"} <= wanted
    assert any("cuda12" in Requirement(line).extras for line in launcher.requirements("cuda"))
    assert isinstance(launcher.build(), modal.Image)


def test_everything_that_a_run_checks_is_sent(launcher):
    """A tracked file that were left out would count as tampered with."""
    ignore = modal.FilePatternMatcher(*launcher.NOT_SENT)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True,
                             check=True).stdout.splitlines()  # fmt: skip
    assert not [path for path in tracked if ignore(launcher.Path(path))]
    assert ignore(launcher.Path(".venv/bin/python"))


@pytest.mark.slow
def test_a_run_in_the_cloud_comes_back_with_its_output_and_its_row(launcher, checkout, tmp_path):
    arguments = ["--task", "InvertedPendulum-v5", "--budget", "1", "--episodes", "2"]
    outcome = launcher.experiment.local(arguments)
    assert outcome.code == 0, outcome.output
    assert "avg_return:" in outcome.output
    here = tmp_path / "here"
    here.mkdir()
    launcher.take(outcome, here)
    launcher.take(outcome, here)
    first, second = rows(here)
    assert first.run_id == second.run_id == rows(checkout)[0].run_id
    assert (checkout / "runs" / first.run_id / "summary.json").exists()
    Ledger(here / LEDGER).check()


def test_a_run_that_fails_there_says_why_here(launcher, checkout):
    outcome = launcher.experiment.local(["--task", "Hoper-v5"])
    assert outcome.code == 2
    assert "Did you mean Hopper-v5" in outcome.output
    assert outcome.rows == []


def test_modal_finds_its_entry_point_and_its_options():
    done = subprocess.run(
        [sys.executable, "-m", "modal", "run", str(ROOT / "scripts" / "modal_app.py"), "--help"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--arguments" in done.stdout
    assert "--runs" in done.stdout
