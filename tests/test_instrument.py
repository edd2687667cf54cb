"""What measures is told in words: where one of them changes, scores are not compared."""

import re
import tomllib
from pathlib import Path

import pytest

from harness import run as command
from harness.checkout import integrity
from harness.checkout.beginning import create
from harness.confinement import view
from harness.errors import IntegrityError
from harness.judgement import experiment, search
from harness.judgement.contest import Contest
from harness.measurement import instrument
from harness.measurement.training import Training
from harness.night.turns import Night, Plan
from harness.places import EDITABLE, PACKAGE
from harness.record.life import Ruling
from harness.system import machine
from tests.conftest import HALF_CHEETAH, ROOT, rows
from tests.fake_site import FakeSite

GPU = "NVIDIA H100 80GB HBM3"
TWO = {"kind": "devices", "platform": "gpu", "kinds": [GPU, GPU]}


def test_of_the_harness_those_parts_are_of_the_instrument_that_a_measurement_may_import():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = project["tool"]["importlinter"]["contracts"]
    layers = [re.split(r" *\| *", layer) for layer in contract["layers"]]
    floor = next(i for i, layer in enumerate(layers) if "measurement" in layer)
    below = {"measurement"}.union(*layers[floor + 1 :])
    modules = {name.removesuffix(".py") for name in instrument.MODULES}
    modules -= {"__init__", "terminal/display"}  # the package, and what runs while the clock does
    assert below == {*instrument.ROOMS, *modules}
    assert all((PACKAGE / room / "__init__.py").is_file() for room in instrument.ROOMS)
    assert all((PACKAGE / module).is_file() for module in instrument.MODULES)


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("engines/native.py", True),
        ("tasks/ant.py", True),
        ("measurement/training.py", True),
        ("confinement/view.py", True),
        ("contract/program.py", True),
        ("checkout/sources.py", True),
        ("system/pulse.py", True),
        ("measurement/startup.py", True),
        ("terminal/display.py", True),
        ("trial.py", True),
        ("envs.py", True),
        ("evaluate.py", True),
        ("morning/page.py", False),
        ("judgement/search.py", False),
        ("record/ledger.py", False),
        ("night/brief.py", False),
        ("terminal/cli.py", False),
        ("report.py", False),
    ],
)
def test_only_what_can_change_a_score_or_a_time_changes_the_fingerprint(monkeypatch, path, counts):
    files, before = integrity.harness_files(), instrument.fingerprint()
    assert str(PACKAGE / path) in files
    mended = files | {str(PACKAGE / path): "0" * 40}
    monkeypatch.setattr(integrity, "harness_files", lambda: mended)
    assert (instrument.fingerprint() != before) == counts


def test_during_a_run_nothing_of_the_harness_changes_whatever_it_is_for(tmp_path, monkeypatch):
    page = str(PACKAGE / "morning" / "page.py")
    changed = integrity.harness_files() | {page: "0" * 40}
    integrity.Guard(tmp_path).check()
    monkeypatch.setattr(integrity, "harness_files", lambda: changed)
    with pytest.raises(IntegrityError, match=r"Changed outside .*page\.py"):
        integrity.Guard(tmp_path).check()


def test_a_file_that_moves_from_one_room_to_another_changes_the_fingerprint(monkeypatch):
    files, before = integrity.harness_files(), instrument.fingerprint()
    there = str(PACKAGE / "engines" / "native.py")
    moved = {path.replace("engines/native", "tasks/native"): n for path, n in files.items()}
    assert there not in moved
    monkeypatch.setattr(integrity, "harness_files", lambda: moved)
    assert instrument.fingerprint() != before


@pytest.fixture
def asked(monkeypatch):
    """A machine with a node of an accelerator; the answers of the processes that are asked."""
    answers = []

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    instrument._asked.cache_clear()
    monkeypatch.setattr(view, "accelerators", lambda: [Path("/dev/nvidia0")])
    monkeypatch.setattr(machine, "accelerators", lambda: ["as the driver has it"])
    monkeypatch.setattr(instrument, "_ask", ask)
    yield answers
    instrument._asked.cache_clear()


def test_the_hardware_is_what_a_confined_process_sees(asked):
    asked.append(TWO)
    told = f"{machine.processors()}, 2x {GPU}"
    assert instrument.hardware() == told
    assert told in instrument.described()  # and nobody was asked a second time
    assert instrument.accelerators() == [GPU, GPU]


def test_devices_of_several_kinds_are_counted_each(asked):
    asked.append(TWO | {"kinds": [GPU, "NVIDIA A100", GPU]})
    assert instrument.hardware() == f"{machine.processors()}, 2x {GPU}, 1x NVIDIA A100"


def test_who_chooses_other_devices_is_told_of_these(asked, monkeypatch):
    asked += [TWO, TWO | {"kinds": [GPU]}]
    assert instrument.hardware().endswith(f", 2x {GPU}")
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "1")
    assert instrument.hardware().endswith(f", 1x {GPU}")


def test_workers_with_a_gpu_of_one_kind_each_are_alike(asked, monkeypatch):
    """As Ray's are on a machine of several GPUs."""
    asked += [TWO | {"kinds": [GPU]}] * 2 + [EOFError("ended")] * 2
    told = []
    for answered in (True, True, False, False):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", str(len(told)))
        told.append(instrument.described())
        assert ("CUDA_VISIBLE_DEVICES" not in told[-1]) == answered
    assert told[0] == told[1]
    assert told[2] != told[3]


def test_where_jax_computes_on_processors_the_driver_is_not_believed(asked):
    asked.append({"kind": "devices", "platform": "cpu", "kinds": ["cpu"]})
    assert instrument.hardware() == machine.processors()


def test_a_gpu_that_no_confined_process_has_is_told(asked, capsys):
    """As where a driver misses something in the confinement: each training would be a slow one."""
    asked += [{"kind": "devices", "platform": "cpu", "kinds": ["cpu"]}, TWO]
    instrument.hardware()
    told = "note: the driver lists as the driver has it, and a confined JAX has no such device"
    assert capsys.readouterr().err.startswith(told)
    instrument._asked.cache_clear()
    instrument.hardware()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "answer",
    [
        {},
        TWO | {"kind": "device"},
        TWO | {"kinds": []},
        TWO | {"kinds": [GPU] * 5000},
        TWO | {"kinds": GPU},
        TWO | {"kinds": [7]},
        TWO | {"kinds": ["\x1b[2J"]},
        TWO | {"kinds": ["x" * 201]},
        TWO | {"platform": None},
        TWO | {"score": 1.0},
        TimeoutError("\x1b[2Jtoo slow"),
        EOFError("the other side closed the channel"),
    ],
)
def test_an_answer_that_is_none_is_told_and_the_drivers_list_stands_in(asked, capsys, answer):
    asked.append(answer)
    told = f"{machine.processors()}, 1x as the driver has it (JAX did not say which devices it has"
    assert instrument.hardware().startswith(told)
    note = capsys.readouterr().err
    assert note.startswith("note: which devices JAX has could not be found out (")
    assert "\x1b" not in note
    assert instrument.hardware().startswith(told)  # asked once, told once
    assert capsys.readouterr().err == ""


def test_a_real_process_answers_for_the_devices_of_this_machine():
    """These tests' own JAX has the same."""
    import jax

    found = instrument._checked(instrument._ask())
    assert found.platform == jax.devices()[0].platform
    assert found.kinds == [device.device_kind for device in jax.devices()]


def test_a_process_that_does_not_answer_is_given_up(asked, monkeypatch):
    asked.append(None)
    monkeypatch.undo()
    monkeypatch.setattr(instrument, "PROBE_SECONDS", 0.01)
    with pytest.raises(TimeoutError):
        instrument._ask()


def test_where_the_machine_has_no_node_of_an_accelerator_nobody_is_asked(asked, monkeypatch):
    monkeypatch.setattr(view, "accelerators", list)
    monkeypatch.setattr(machine, "accelerators", list)
    assert instrument.hardware() == machine.processors()


@pytest.mark.parametrize(
    ("kinds", "device", "doubted"),
    [
        ([GPU, GPU], f"2 × {GPU}", False),
        ([GPU, GPU], f"1 × {GPU}", False),
        ([GPU, GPU], "1 × cpu", True),
        ([GPU, GPU], "1 × TPU v5e", True),
        ([GPU, GPU], "", True),
        ([], "1 × cpu", False),
        ([], "8 × cpu", False),
        ([], f"1 × {GPU}", True),
        ([], "1 × cpu. It is kept", True),
    ],
)
def test_a_training_on_another_device_than_the_instruments_is_told(
    monkeypatch, kinds, device, doubted
):
    monkeypatch.setattr(instrument, "accelerators", lambda: kinds)
    note = instrument.doubt(device)
    assert bool(note) == doubted
    assert "kept" not in note  # whatever it says is not for the record
    measured = experiment.Measurement(Training(1.0), (), doubt=note)
    noted = experiment._noted(Ruling("scored", "go on", "As it was."), measured)
    assert noted == Ruling("scored", "go on", f"As it was. {note}".strip())


@pytest.mark.slow
def test_a_branch_of_another_fingerprint_is_told_so_and_goes_on(root, capsys):
    """As after an upgrade of the harness: its incumbent is measured anew, once."""
    branch, now = create(root, "night"), instrument.described()
    before, runs = f"0123456789ab {instrument.equipment()}", search.BASELINE_RUNS
    assert len(Contest(branch, HALF_CHEETAH, "none", site=FakeSite(1, before)).measure()) == runs
    for tool, told in ((before, False), (now, True)):
        command._note_a_change(Contest(branch, HALF_CHEETAH, "none", site=FakeSite(1, tool)))
        assert ("the incumbent is measured anew" in capsys.readouterr().err) == told
    said = []
    agent = f'echo "SKILL = 9" > {EDITABLE}'
    after = Contest(branch, HALF_CHEETAH, "none", site=FakeSite(1, now))
    Night(after, Plan(agent, 1.0, 16, 60.0), said.append).run()
    assert sum("measuring anew" in line for line in said) == 1
    command._note_a_change(after)
    assert capsys.readouterr().err == ""
    measured = [row.harness for row in rows(root) if row.role == "incumbent"]
    assert measured[: 2 * runs] == [before] * runs + [now] * runs
    assert "accept" in [row.verdict for row in rows(root)]
