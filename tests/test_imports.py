"""Which part of the project imports which."""

import ast
import subprocess
import sys

from tests.conftest import ROOT


def imported(path):
    """Names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_harness_never_imports_what_the_agent_edits():
    names = {name for path in (ROOT / "harness").rglob("*.py") for name in imported(path)}
    assert "harness.errors.InputError" in names
    assert not [name for name in names if name.split(".")[0] in ("agent_space", "peers")]


def test_training_files_import_of_the_harness_only_trial():
    files = [ROOT / "agent_space" / "train.py", *(ROOT / "peers").glob("*.py")]
    assert len(files) > 1
    for path in files:
        names = [name for name in imported(path) if name.split(".")[0] == "harness"]
        assert names
        assert all(name.startswith("harness.trial.") for name in names), path


def test_the_process_that_holds_the_clock_never_imports_jax():
    code = "import sys, harness.run, harness.loop; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
