"""Which part of the project imports which."""

import ast
import importlib
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


ROOMS = {path.parent.name: path.parent for path in (ROOT / "harness").glob("*/__init__.py")}


def offered(room):
    """The modules of a room that others may use, as its `__all__` says."""
    for node in ast.parse((room / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    return []


def test_a_room_is_used_by_the_modules_that_it_offers():
    used = set()
    for path in (ROOT / "harness").rglob("*.py"):
        for name in imported(path):
            whole, room, module, *_ = [*name.split("."), "", ""]
            if whole == "harness" and room in ROOMS and path.parent != ROOMS[room]:
                used.add((room, module))
    assert ("record", "ledger") in used
    modules = {(room, module) for room, module in used if (ROOMS[room] / f"{module}.py").exists()}
    assert sorted(pair for pair in modules if pair[1] not in offered(ROOMS[pair[0]])) == []


def test_what_a_room_offers_is_there_and_its_page_says_what_it_is_for():
    assert len(ROOMS) > 10
    for room, folder in ROOMS.items():
        assert "May import:" in ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        package = importlib.import_module(f"harness.{room}")
        for name in offered(folder):
            assert hasattr(package, name) or (folder / f"{name}.py").exists(), (room, name)


def test_the_package_holds_its_commands_and_doors_and_little_else():
    assert len([*(ROOT / "harness").glob("*.py")]) <= 18


def test_the_harness_never_imports_what_the_agent_edits():
    names = {name for path in (ROOT / "harness").rglob("*.py") for name in imported(path)}
    assert "harness.errors.InputError" in names
    folders = "agent_space", "algorithms", "peers"
    assert not [name for name in names if name.split(".")[0] in folders]


def test_training_files_import_of_the_harness_only_trial():
    folders = (ROOT / name for name in ("agent_space", "algorithms", "peers"))
    files = [file for folder in folders for file in folder.glob("*.py")]
    assert len(files) > 1
    for path in files:
        names = [name for name in imported(path) if name.split(".")[0] == "harness"]
        assert names
        assert all(name.startswith("harness.trial.") for name in names), path


def test_the_process_that_holds_the_clock_never_imports_jax():
    code = "import sys, harness.run, harness.loop; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
