"""Warp's kernels: compiled by the harness before a training, read by it, written by none."""

import dataclasses
import importlib.util
import threading
from pathlib import Path

import pytest

from harness.confinement import sandbox
from harness.contract.order import Assignment, Order
from harness.engines import backends, warp_cache
from harness.measurement import kernels, sites
from harness.places import LOG, TRAIN_FILE, kernels_folder
from tests.conftest import TRAIN_FILES

ON_WARP = Assignment("InvertedPendulum-v5", backends.WARP, 0, 60.0)
COMPILED, KEPT = "(compiled)", "(cached)"
"""What Warp says of a kernel that it loads."""

needs_warp = pytest.mark.skipif(
    importlib.util.find_spec("warp") is None, reason="warp-lang is not installed"
)


@pytest.fixture(scope="module", autouse=True)
def state(tmp_path_factory):
    """A home of our own for kernels, on a machine where Warp may run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setattr(backends, "NVIDIA_DRIVER", Path("/"))
        patch.setattr(kernels, "_failed", set())
        yield


@pytest.fixture
def quick(monkeypatch):
    """Tasks whose kernels were compiled, which takes no time and gives one file each."""
    compiled = []

    def compile_nothing(task_id, folder):
        compiled.append(task_id)
        (folder / "kernel").write_text(task_id)

    monkeypatch.setattr(kernels, "_compile", compile_nothing)
    return compiled


def order(kind, budget=60.0):
    return Order(dataclasses.replace(ON_WARP, budget=budget), 1, kind)


def content(folder):
    """All files in a folder, and what is in them."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_warp
@pytest.mark.slow
def test_no_training_compiles_what_the_harness_has_compiled_and_none_adds_to_it(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    compiled = kernels.ready(ON_WARP, "")
    assert "note: compiling Warp's kernels for InvertedPendulum-v5 once" in capfd.readouterr().err
    before = content(compiled)
    (tmp_path / TRAIN_FILE).write_bytes((TRAIN_FILES / "steps_in_warp.py").read_bytes())
    result = sites.measure(order(sandbox.available()), tmp_path, tmp_path)
    said = (tmp_path / LOG).read_text()
    assert said.count(KEPT) > 20
    assert said.count(COMPILED) == 1  # its own kernel, which it puts beside its copy of them
    assert result.training.curve[-1][2] == {"counted": 3.0}
    assert result.doubt == ""
    assert content(compiled) == before
    assert capfd.readouterr().err == ""  # nothing is compiled twice, and no process fails


@pytest.mark.slow
def test_where_nothing_could_be_compiled_the_run_goes_on_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernels, "WARMING", "harness.no_such_module")
    source = (TRAIN_FILES / "honest.py").read_text()
    patch = "import pathlib\nfrom harness.engines import backends\n"
    patch += "backends.NVIDIA_DRIVER = pathlib.Path('/')\n"
    (tmp_path / TRAIN_FILE).write_text(patch + source)
    result = sites.measure(order(sandbox.available(), 0.5), tmp_path, tmp_path, tool="broken")
    assert result.doubt == kernels.COLD
    said = capsys.readouterr().err
    assert "could not be compiled beforehand" in said
    assert "harness.no_such_module" in said
    assert kernels.ready(ON_WARP, "broken") is None
    assert capsys.readouterr().err == ""  # a command tries once
    assert not [path for path in kernels_folder().rglob("*") if "Inverted" in path.name
                and path.is_dir() and path.name.endswith(kernels.UNFINISHED)]  # fmt: skip


def test_a_compilation_without_end_is_ended(capsys, monkeypatch):
    monkeypatch.setattr(kernels, "MOST_SECONDS", 0.01)
    assert kernels.ready(ON_WARP, "slow") is None
    assert "it took over 0.01 s" in capsys.readouterr().err


def test_a_process_that_leaves_no_kernels_has_failed(capsys, monkeypatch):
    monkeypatch.setattr(kernels, "_compile", lambda task_id, folder: None)
    assert kernels.ready(ON_WARP, "idle") is None
    assert "left none" in capsys.readouterr().err


def test_of_several_that_find_no_kernels_one_compiles(monkeypatch):
    begun, going_on, compiled, found = threading.Event(), threading.Event(), [], []

    def compile_slowly(task_id, folder):
        compiled.append(task_id)
        (folder / "kernel").write_text("half")
        begun.set()
        assert going_on.wait(20)
        (folder / "kernel").write_text("whole")

    monkeypatch.setattr(kernels, "_compile", compile_slowly)
    threads = [
        threading.Thread(target=lambda: found.append(kernels.ready(ON_WARP, "shared")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    assert not list(kernels_folder().glob(f"*/{ON_WARP.task_id}/kernel"))  # not half of it
    going_on.set()
    for thread in threads:
        thread.join(20)
    assert compiled == [ON_WARP.task_id]
    assert len(found) == 3
    assert [(path / "kernel").read_text() for path in found] == ["whole"] * 3


def test_what_a_killed_harness_left_is_no_cache(quick):
    folder = kernels.ready(ON_WARP, "killed")
    folder.rename(folder.with_name(folder.name + kernels.UNFINISHED)).joinpath("junk").touch()
    assert kernels.ready(ON_WARP, "killed") == folder
    assert [path.name for path in folder.iterdir()] == ["kernel"]
    assert [path.name for path in folder.parent.iterdir()] == [ON_WARP.task_id]


def test_another_instrument_has_other_kernels_and_the_oldest_are_removed(
    quick, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    clock = iter(range(1, 100))
    monkeypatch.setattr(kernels.os, "utime", _dated(kernels.os.utime, clock))
    tools = [f"tool {number}" for number in range(kernels.INSTRUMENTS)]
    folders = [kernels.ready(ON_WARP, tool) for tool in tools]
    ant = kernels.ready(dataclasses.replace(ON_WARP, task_id="Ant-v5"), tools[0])
    assert len({*folders, ant}) == len(tools) + 1
    assert ant.parent == folders[0].parent
    another = kernels.ready(ON_WARP, "another")
    there = [folder for folder in (*folders, ant, another) if folder.exists()]
    assert there == [folders[0], *folders[2:], ant, another]  # the first one was in use since
    assert kernels.ready(ON_WARP, tools[1]) == folders[1]
    assert folders[1].exists()  # compiled anew


def _dated(utime, clock):
    """`os.utime` at a clock of ours: several folders are made within one tick of the system's."""
    return lambda path: utime(path, (seconds := next(clock), seconds))


@pytest.mark.parametrize("backend", ["auto", "native", "mjx"])
def test_nothing_is_compiled_for_another_engine(quick, backend):
    assert kernels.ready(dataclasses.replace(ON_WARP, backend=backend), "other") is None
    assert quick == []
    assert kernels.doubt(None, backend) == ""


def test_auto_compiles_where_it_takes_warp(quick, monkeypatch):
    monkeypatch.setattr(kernels.instrument, "accelerators", lambda: ["NVIDIA H100"])
    monkeypatch.setattr(backends, "resolve", lambda task, backend, accelerator: backends.WARP)
    assert kernels.ready(dataclasses.replace(ON_WARP, backend="auto"), "gpu").is_dir()
    assert quick == [ON_WARP.task_id]


def test_a_process_begins_with_a_whole_copy_of_its_own_or_with_none(tmp_path, monkeypatch):
    kept, own = tmp_path / "kept", tmp_path / "own"
    (kept / "1.18.0" / "wp_one").mkdir(parents=True)
    (kept / "1.18.0" / "wp_one" / "one.o").write_text("code")
    for name, value in warp_cache.variables(own, kept).items():
        monkeypatch.setenv(name, value)
    (own / "1.18.0").mkdir(parents=True)  # as Warp makes it at its start
    warp_cache.prefill.__wrapped__()
    mine = own / "1.18.0" / "wp_one" / "one.o"
    assert mine.read_text() == "code"
    mine.write_text("other code")
    warp_cache.prefill.__wrapped__()  # nothing that Warp has put there is replaced
    assert mine.read_text() == "other code"
    assert (kept / "1.18.0" / "wp_one" / "one.o").read_text() == "code"
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "own"}
    monkeypatch.setenv(warp_cache.KEPT_VARIABLE, str(tmp_path / "removed meanwhile"))
    warp_cache.prefill.__wrapped__()
    assert mine.read_text() == "other code"


@pytest.mark.parametrize("kept", [True, False])
def test_what_warp_compiles_in_an_unconfined_training_is_gone_with_it(tmp_path, kept):
    with kernels.lent(tmp_path if kept else None, sandbox.NONE) as (_, variables):
        own = Path(variables[warp_cache.OWN_VARIABLE])
        (own / "1.18.0").mkdir()
        assert (variables.get(warp_cache.KEPT_VARIABLE) == str(tmp_path)) is kept
    assert not own.exists()
