"""What the ledger says of the machine, and what changes it."""

import importlib.metadata
import math
import os

import pytest

from harness.errors import IntegrityError
from harness.measurement import instrument, sites
from harness.record.ledger import Ledger
from harness.system import machine, origin
from tests.conftest import ROOT, run_row

A, B = ("NVIDIA A", "GPU-aaaa-1"), ("NVIDIA B", "GPU-bbbb-2")


@pytest.mark.parametrize(
    ("variables", "seen"),
    [
        ({}, ["NVIDIA A", "NVIDIA B"]),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "none"}, []),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0"}, ["NVIDIA A"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["NVIDIA B"]),
        ({"CUDA_VISIBLE_DEVICES": "1, 0"}, ["NVIDIA B", "NVIDIA A"]),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, ["NVIDIA A"]),
        ({"CUDA_VISIBLE_DEVICES": "0,7,1"}, ["NVIDIA A"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bbbb-2"}, ["NVIDIA B"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bb,GPU-aa"}, ["NVIDIA B", "NVIDIA A"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-"}, []),
        ({"CUDA_VISIBLE_DEVICES": "GPU-cccc"}, []),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1/2"}, ["NVIDIA A"]),
        ({"JAX_PLATFORMS": "cpu"}, []),
        ({"JAX_PLATFORMS": "cuda,cpu"}, ["NVIDIA A", "NVIDIA B"]),
        ({"JAX_PLATFORMS": ""}, ["NVIDIA A", "NVIDIA B"]),
        ({"JAX_PLATFORM_NAME": "cpu"}, []),
        ({"JAX_PLATFORM_NAME": "gpu"}, ["NVIDIA A", "NVIDIA B"]),
    ],
    ids=lambda value: (
        ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_gpus_count_that_a_training_sees(variables, seen):
    assert machine.visible([A, B], variables) == seen


def test_gpus_are_told_by_the_driver(tmp_path, monkeypatch):
    for number, (model, uuid) in enumerate((A, B)):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        (folder / "information").write_text(f"Model: \t\t {model}\nIRQ: 5\nGPU UUID: \t {uuid}\n")
    monkeypatch.setattr(machine, "DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert instrument.hardware().endswith(", 1x NVIDIA A, 1x NVIDIA B")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb")
    assert instrument.hardware().endswith(", 1x NVIDIA B")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "NVIDIA" not in instrument.hardware()


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/of/the/host\n", {"cpu.max": "200000 100000\n"}, 2.0),
        (
            "3:cpuset:/\n2:cpu,cpuacct:/a\n0::/\n",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        (
            "2:cpu:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"},
            math.inf,
        ),
        ("2:cpuacct:/a\n1:name=systemd:/\n", {"cpuacct/a/cpu.max": "50000 100000"}, math.inf),
    ],
)
def test_a_quota_of_a_control_group_counts_as_cores(tmp_path, groups, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.quota(groups, tmp_path) == cores


def test_half_a_core_is_another_machine(monkeypatch):
    before = instrument.hardware()
    monkeypatch.setattr(machine, "quota", lambda groups, mounted: 0.5)
    assert instrument.hardware().startswith("0.5x ")
    assert instrument.hardware() != before


@pytest.mark.parametrize(
    "package", ["jax", "jaxlib", "mujoco", "mujoco-mjx", "gymnasium", "envpool", "flax", "optax"]
)
def test_another_version_of_what_trains_or_simulates_is_another_instrument(monkeypatch, package):
    before, version = instrument.described(), importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "99.9" if name == package else version(name)
    )
    assert instrument.described() != before
    assert f"{package} 99.9" in instrument.described()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("JAX_ENABLE_X64", True),
        ("JAX_DISABLE_JIT", True),
        ("XLA_FLAGS", True),
        ("OMP_NUM_THREADS", True),
        ("MUJOCO_GL", False),
        ("JAX_COMPILATION_CACHE_DIR", False),
        ("EDITOR", False),
    ],
)
def test_variables_that_change_a_training_are_of_the_instrument(monkeypatch, name, counts):
    monkeypatch.delenv(name, raising=False)
    before = instrument.described()
    monkeypatch.setenv(name, "1")
    assert (instrument.described() != before) == counts
    assert (f"{name}=1" in instrument.described()) == counts


def test_the_checkout_is_not_of_the_instrument_and_no_variable_hides_another_folder(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    before = instrument.described()
    assert "PYTHONPATH" not in before
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setenv("AUTORL_LOOP_COPY", str(tmp_path))
    assert f"PYTHONPATH={tmp_path}" in instrument.described()


def test_a_folder_of_the_users_path_is_found_wherever_a_child_is_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "here")
    assert origin.paths() == [str(tmp_path / "here")]


def test_an_instrument_stands_in_the_ledger_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", " --a=1   --b=2\t--c\n\udcffé \x1b[2J")
    tool = instrument.described()
    ledger = Ledger(tmp_path / "results.tsv")
    ledger.append(run_row(harness=tool))
    assert ledger.rows()[0].harness == tool
    assert tool.split()[0] == instrument.fingerprint()


def test_a_measurement_by_another_instrument_than_was_ordered_is_refused(monkeypatch):
    sites._check("")
    sites._check(instrument.described())
    wanted = instrument.described()
    monkeypatch.setenv("JAX_DISABLE_JIT", "1")
    with pytest.raises(IntegrityError, match="What measures has changed"):
        sites._check(wanted)
