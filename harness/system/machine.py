"""The machine that measures, in words: where one of them changes, so do scores.

The cores and accelerators that this process may use, the versions of what trains and simulates, and
the variables of the shell that change what these do.
"""

import contextlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.system import origin

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "numpy", "mujoco", "mujoco-mjx", "gymnasium", "envpool",
    "box2d", "brax", "playground", "warp-lang", "jax-cuda12-plugin", "jax-cuda13-plugin",
    "jax-rocm60-plugin", "jax-rocm7-plugin", "libtpu",
)  # fmt: skip
"""What trains and what simulates."""

CHOOSING = ("CUDA_VISIBLE_", "TPU_VISIBLE_", "ROCR_VISIBLE_", "HIP_VISIBLE_")
"""Of variables that choose devices."""

PREFIXES = ("JAX_", "XLA_", "OMP_", "MUJOCO_", *CHOOSING, "LD_LIBRARY_PATH")
"""Of variables that change how a training computes, or what it loads."""

HARMLESS = ("JAX_COMPILATION_CACHE_DIR", "MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID")
"""Variables that do not: a cache of compiled programs shortens a start-up at most, and only where
nothing is confined; the others are for pictures."""

CGROUPS = Path("/sys/fs/cgroup")
DRIVER = Path("/proc/driver/nvidia/gpus")


def processors() -> str:
    """As in `2x AMD EPYC 7763`: the cores that this process may use."""
    return f"{_cores():g}x {_processor()}"


def versions() -> dict[str, str]:
    """Of Python and of those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def variables() -> list[str]:
    """Variables of the shell that change how a training computes, as `NAME=value`.

    Of `PYTHONPATH` what a child gets: without the checkout.
    """
    found = {name: value for name, value in os.environ.items() if is_recorded(name)}
    found |= origin.variables()
    return [
        f"{name}={value.encode('unicode_escape').decode()}" for name, value in sorted(found.items())
    ]


def is_recorded(name: str) -> bool:
    """Whether a variable of this name is of the instrument as it is."""
    return name.startswith(PREFIXES) and name not in HARMLESS


def accelerators() -> list[str]:
    """Models of the NVIDIA GPUs that JAX may use, as the driver tells them."""
    there = []
    for path in sorted(DRIVER.glob("*/information")):
        with contextlib.suppress(OSError):
            lines = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
            told = {name.strip(): value.strip() for name, value in lines}
            there.append((told.get("Model", "GPU"), told.get("GPU UUID", "")))
    return visible(there, os.environ)


def visible(gpus: Sequence[tuple[str, str]], environment: Mapping[str, str]) -> list[str]:
    """Models of those of a machine's GPUs that a process with these variables sees.

    As CUDA reads `CUDA_VISIBLE_DEVICES`: numbers and beginnings of UUIDs, up to the first entry
    that names no GPU.

    Args:
      gpus: model and UUID of each.
      environment: the process's variables.
    """
    platforms = environment.get("JAX_PLATFORMS") or environment.get("JAX_PLATFORM_NAME") or "cuda"
    if not {"cuda", "gpu"} & set(platforms.lower().split(",")):
        return []
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [model for model, _ in gpus]
    seen: list[str] = []
    for entry in map(str.strip, named.split(",")):
        if entry.isdecimal():
            chosen = gpus[int(entry) : int(entry) + 1]
        else:
            chosen = [gpu for gpu in gpus if entry and gpu[1].startswith(entry)]
            if entry.startswith("MIG-"):  # a part of some GPU, by a name that the driver keeps
                chosen = gpus[:1]
        if len(chosen) != 1:
            break
        seen += [model for model, _ in chosen]
    return seen


def _cores() -> float:
    """How many this process may use at a time."""
    linux = sys.platform == "linux"
    there = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    groups = Path("/proc/self/cgroup").read_text() if linux else ""
    return min(there, quota(groups, CGROUPS))


def quota(groups: str, mounted: Path) -> float:
    """How many cores control groups let a process use at a time; infinite without a limit.

    Args:
      groups: what /proc/self/cgroup says of the process, in version 1, 2, or both.
      mounted: where the groups' files are.
    """
    cores = float("inf")
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        root = mounted / controllers
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            cores = min(cores, _limit(group))
            if group == root:
                break
    return cores


def _limit(group: Path) -> float:
    """The cores that one control group gives to all that is in it."""
    with contextlib.suppress(OSError, ValueError):
        most, period = (group / "cpu.max").read_text().split()
        return int(most) / int(period)
    with contextlib.suppress(OSError, ValueError):
        most, period = ((group / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        return int(most) / int(period) if int(most) > 0 else float("inf")
    return float("inf")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()
