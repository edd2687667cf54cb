"""What lies in a checkout and was never committed stands before nothing that is imported."""

import json
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.checkout import sources
from harness.errors import IntegrityError
from tests.conftest import ROOT

LOOK = """
import importlib.metadata, json, sys
import harness.system.origin; harness.system.origin.allow("my_tasks.envs:X-v0")
import harness.evaluate, numpy, my_tasks.envs
print(json.dumps({
    "harness": harness.evaluate.__file__,
    "numpy": numpy.__file__,
    "tasks": my_tasks.envs.WHO,
    "plugins": [p.name for p in importlib.metadata.entry_points(group="jax_plugins")],
    "marks": [sys.modules[m].__file__ for m in ("sitecustomize", "usercustomize")
              if m in sys.modules],
    "poisoned": hasattr(harness.evaluate, "POISON") or hasattr(my_tasks.envs, "POISON"),
}))
"""
"""What a child of the harness finds."""

START = """
import pathlib, subprocess, sys
from harness.confinement import sandbox
mounts = [*sandbox.system(), *sandbox.checkout(pathlib.Path.cwd(), "my_tasks.envs:X-v0")]
child = sandbox.start(sys.argv[1], [sys.executable, "-c", sys.argv[2]], mounts, {},
                      stdout=sys.stdout)
sys.exit(child.wait())
"""
"""Starts one as trainings and evaluations are started."""


def poison(source, text):
    """Bytecode beside a source that Python takes without a look at it."""
    evil = source.with_name("evil.py")
    evil.write_text(text)
    cache = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(evil), cfile=str(cache), doraise=True, invalidation_mode=mode)
    evil.unlink()


@pytest.fixture(scope="module")
def littered(tmp_path_factory):
    """A checkout with a harness, a user's package, and all that somebody could leave there."""
    folder = tmp_path_factory.mktemp("littered")
    shutil.copytree(
        ROOT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__")
    )
    poison(folder / "harness" / "evaluate.py", "POISON = True\n")
    (folder / "my_tasks").mkdir()
    (folder / "my_tasks" / "__init__.py").write_text("")
    (folder / "my_tasks" / "envs.py").write_text("WHO = 'the user'\n")
    poison(folder / "my_tasks" / "envs.py", "WHO = 'the bytecode'\nPOISON = True\n")
    (folder / "sitecustomize").mkdir()
    (folder / "sitecustomize" / "__init__.py").write_text("")
    for name in ("numpy", "typer", "usercustomize"):
        (folder / f"{name}.py").write_text("")
    (folder / "loot.egg-info").mkdir()
    (folder / "loot.egg-info" / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: loot\n")
    (folder / "loot.egg-info" / "entry_points.txt").write_text("[jax_plugins]\nloot = loot\n")
    return folder


def python(folder, *arguments, **variables):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["none", "bubblewrap", "namespaces"])
def test_a_child_imports_the_harness_what_is_installed_and_then_the_user_s(littered, kind):
    from harness.confinement import sandbox

    if not sandbox.works(kind):
        pytest.skip(f"no {kind} here")
    done = python(littered, "-c", START, kind, LOOK, PYTHONPATH=str(littered))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not Path(found["harness"]).is_relative_to(littered)
    assert "site-packages" in found["numpy"]
    assert found["tasks"] == "the user"
    assert "loot" not in found["plugins"]
    assert not [mark for mark in found["marks"] if Path(mark).is_relative_to(littered)]
    assert not found["poisoned"]


def test_with_the_checkout_on_the_path_all_of_it_is_found(littered):
    """So that the test above could fail."""
    look = LOOK.replace("import harness.evaluate, numpy, ", "import numpy, ")
    look = look.replace(
        'import harness.system.origin; harness.system.origin.allow("my_tasks.envs:X-v0")', ""
    )
    look = look.replace("harness.evaluate", "my_tasks.envs")
    done = python(littered, "-c", look, PYTHONPATH=str(littered))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["numpy"] == str(littered / "numpy.py")
    assert found["tasks"] == "the bytecode"
    assert "loot" in found["plugins"]
    assert str(littered / "sitecustomize" / "__init__.py") in found["marks"]


def test_a_command_is_not_misled_by_what_lies_in_the_folder_it_is_started_in(littered):
    done = python(littered, "-m", "harness.run", "--help", PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    assert "--budget" in done.stdout


def test_bytecode_of_a_checkout_is_not_read_by_a_command_either(littered):
    code = (
        "import sys; sys.path.append(sys.argv[1]); import harness.evaluate as e;"
        "print(e.__file__, hasattr(e, 'POISON'))"
    )
    done = python(littered, "-P", "-c", code, str(littered), PYTHONPATH="")
    assert done.stdout.split() == [str(littered / "harness" / "evaluate.py"), "False"], done.stderr
    cached = littered / "harness" / "__pycache__" / f"evaluate.{sys.implementation.cache_tag}.pyc"
    direct = (
        "import importlib.util as u; s = u.spec_from_file_location('e', 'harness/evaluate.py');"
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(hasattr(m, 'POISON'))"
    )
    assert cached.exists()
    assert python(littered, "-P", "-c", direct).stdout.strip() == "True"  # it could be


def test_the_copy_that_children_run_is_what_this_process_has_loaded(monkeypatch):
    sources.check()
    file = sources.folder() / "harness" / "evaluate.py"
    whole = file.read_bytes()
    file.write_bytes(whole + b"\n")
    with pytest.raises(IntegrityError, match="copy of the harness"):
        sources.check()
    file.write_bytes(whole)
    extra = sources.folder() / "harness" / "sitecustomize.py"
    extra.write_text("")
    with pytest.raises(IntegrityError, match="copy of the harness"):
        sources.check()
    extra.unlink()
    sources.check()


PYTHONS = ("typing", "tempfile", "shutil", "random", "weakref", "bisect", "runpy", "lzma")
"""Modules of Python's own that are not loaded when a command begins."""

PROBED = ("zstandard", "uarray", "cffi", "jax_plugins", "libtpu", "cython", "sksparse", "cupy")
"""Modules that libraries look for, and do without where there are none."""


@pytest.fixture(scope="module")
def trapped(tmp_path_factory):
    """A folder with modules that libraries look for, and with a task of the user's own."""
    folder = tmp_path_factory.mktemp("trapped")
    for name in PROBED:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write(__name__)\n")
    (folder / "my_tasks").mkdir()
    (folder / "my_tasks" / "__init__.py").write_text("")
    (folder / "my_tasks" / "sizes.py").write_text("STEPS = 7\n")
    (folder / "my_tasks" / "envs.py").write_text(
        "import gymnasium\nfrom my_tasks.sizes import STEPS\n"
        "gymnasium.register('X-v0', 'gymnasium.envs.classic_control:CartPoleEnv',"
        " max_episode_steps=STEPS)\n"
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("module", ["harness.tasks", "harness.status"])
def test_nothing_that_libraries_look_for_is_found_in_the_folder_of_a_command(trapped, module):
    done = python(trapped, "-m", module, PYTHONPATH=str(ROOT))
    assert done.returncode in (0, 2), done.stderr
    assert not (trapped / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize("module", ["harness.tasks", "harness.status"])
def test_nothing_in_the_folder_of_a_command_stands_for_a_module_of_python_s_own(tmp_path, module):
    for name in PYTHONS:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted')\n")
    done = python(tmp_path, "-m", module, PYTHONPATH=str(ROOT))
    assert "planted" not in done.stderr
    assert done.returncode in (0, 2), done.stderr


CHILD = """
import importlib
from harness import tasks
from harness.engines import backends
task = tasks.get("my_tasks.envs:X-v0")
import jax, scipy.fft, scipy.sparse, harness.evaluate
jax.devices()
for name in {probed!r}:
    try:
        found = importlib.import_module(name)
    except ImportError:
        pass
print(tasks.horizon(task), backends.spaces(task, "gymnasium")[1].n)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "bubblewrap", "namespaces"])
def test_a_child_finds_the_package_of_its_task_and_no_other(trapped, kind):
    from harness.confinement import sandbox

    if not sandbox.works(kind):
        pytest.skip(f"no {kind} here")
    code = CHILD.format(probed=PROBED)
    done = python(trapped, "-c", START, kind, code, PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["7", "2"]
    assert not (trapped / "ran").exists()


def test_a_command_finds_the_package_of_its_task_in_its_folder(trapped):
    """Of which its spaces are asked, in a process of their own; the budget is looked at later."""
    done = python(trapped, "-m", "harness.run", "--task", "my_tasks.envs:X-v0", "--budget", "0",
                  PYTHONPATH=str(ROOT))  # fmt: skip
    assert "--budget is 0" in done.stderr, done.stderr
    assert not (trapped / "ran").exists()
