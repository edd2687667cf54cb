"""Any task by its id: what can be run, what cannot and why, and how a new one is added."""

import os
import re
import shutil
import subprocess
import sys

import gymnasium
import pytest

from harness import tasks
from harness.engines import backends
from harness.errors import InputError
from harness.record.ledger import Ledger
from harness.tasks import anchors
from tests.conftest import ROOT, summary_block

MUJOCO_V5 = {
    spec.id for spec in gymnasium.registry.values()
    if str(spec.entry_point).startswith("gymnasium.envs.mujoco") and spec.id.endswith("-v5")
}  # fmt: skip


def test_all_of_gymnasiums_v5_tasks_are_here():
    ours = {task.id for task in tasks.TASKS.values() if isinstance(task, tasks.MujocoTask)}
    assert len(MUJOCO_V5) == 11
    assert ours >= MUJOCO_V5


def test_a_registered_id_is_stepped_by_the_gymnasium_engine():
    for task_id in ("CartPole-v1", "LunarLander-v3", "tests.scripted:Scripted-v0"):
        assert backends.resolve(tasks.get(task_id)) == "gymnasium"


@pytest.mark.parametrize(
    ("task_id", "message"),
    [
        ("DictObservation-v0", "Dict observations; a Box is needed. Wrap .*FlattenObservation"),
        ("ImageObservation-v0", r"shape \(8, 8, 3\); one axis is needed"),
        ("UnboundedAction-v0", "unbounded actions; .*TransformAction"),
        ("TupleAction-v0", "Tuple actions; Box or Discrete is needed"),
    ],
)
def test_what_cannot_be_run_says_why_and_what_would_help(task_id, message):
    with pytest.raises(InputError, match=message):
        backends.resolve(tasks.get(f"tests.scripted:{task_id}"))


@pytest.mark.parametrize(
    ("task_id", "message"),
    [
        ("HalfCheeta-v5", "Did you mean HalfCheetah-v5"),
        ("CartPol-v1", "Did you mean CartPole-v1"),
        ("CartPole-v99", "Did you mean CartPole-v1"),
        ("no_such_package:Env-v0", "No module named 'no_such_package'.*Install the package"),
        ("tests.does_not_import:Env-v0", "an ordinary bug .ZeroDivisionError."),
        ("ALE/Pong-v5", "Unknown task 'ALE/Pong-v5'.*importing my_package registers it"),
        ("", "Unknown task ''"),
    ],
)
def test_an_unknown_task_suggests_what_was_meant(task_id, message):
    with pytest.raises(InputError, match=message):
        tasks.get(task_id)


@pytest.mark.slow
def test_the_table_lists_every_task():
    done = subprocess.run(
        [sys.executable, "-m", "harness.tasks"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:] if line.strip()}
    assert set(tasks.TASKS) <= set(rows)
    assert "native, gymnasium" in rows["HalfCheetah-v5"]
    assert "6,117.0" in rows["HalfCheetah-v5"]
    assert "4,800.0" in rows["HalfCheetah-v5"]
    assert set(anchors.RANDOM) == set(tasks.TASKS)


@pytest.mark.slow
def test_discrete_actions_are_learnt_from_command_line_to_row(harness_run, checkout):
    done = harness_run("--task", "CartPole-v1", "--budget", 15)
    assert done.returncode == 0, done.stderr
    assert float(summary_block(done.stdout)["avg_return"]) > 100  # random: 22
    (row,) = Ledger(checkout / "results.tsv").rows()
    assert (row.task, row.backend) == ("CartPole-v1", "gymnasium")


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with all that docs/environments.md adds to it."""
    copy = tmp_path_factory.mktemp("extended")
    for name in ("harness", "tests", "pyproject.toml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    page = (ROOT / "docs" / "environments.md").read_text()
    blocks = re.findall(r"```python\n# ([\w/.]+)(?:, in (\w+))?\n(.*?)```", page, re.DOTALL)
    for path, table, code in blocks:
        file = copy / path
        assert file.exists() == bool(table)
        file.write_text(with_entries(file.read_text(), table, code) if table else code)
    return copy


def with_entries(text, table, code):
    """A file's text with imports among the others, and entries at the end of a table in it."""
    lines = code.splitlines(keepends=True)
    imports = "".join(line for line in lines if line.startswith("from"))
    entries = "".join(line for line in lines if not line.startswith("from"))
    text = re.sub(r"^(?=from harness)", imports, text, count=1, flags=re.MULTILINE)
    end = re.search(rf"^{table}\b.*?\n(?= *[)\]}}]+$)", text, re.DOTALL | re.MULTILINE).end()
    return text[:end] + entries + text[end:]


def outcome_of(copy, *arguments):
    """The report of some tests of a copy of the project."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", *arguments],
        cwd=copy, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(copy)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_documented_task_passes_the_tests_of_all_tasks(extended):
    files = ("tests/test_native.py", "tests/test_evaluate.py", "tests/test_tasks.py")
    report = outcome_of(extended, *files, "-k", "InvertedPendulum-v4 or table or v5_tasks")
    assert re.search(r"^[6-9] passed", report, re.M)


@pytest.mark.slow
def test_the_documented_engine_passes_the_tests_of_all_engines(extended):
    report = outcome_of(extended, "tests/test_envs.py", "-k", "sync")
    assert re.search(r"^4 passed", report, re.M)
