"""Which engine steps which task."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import gymnasium
import mujoco

from harness import errors
from harness.engines.engine import HostEngine
from harness.errors import InputError
from harness.tasks import BraxTask, MujocoTask, Task

if TYPE_CHECKING:
    from harness.engines.device import DeviceEngine

HOST_BACKENDS = {
    "native": "NativeEngine",
    "envpool": "EnvPoolEngine",
    "gymnasium": "GymnasiumEngine",
}
"""Engines in host memory, the preferred first: module in `harness.engines`, class in it."""

DEVICE_BACKENDS = {
    "mjx": "MjxEngine",
    "warp": "WarpEngine",
    "brax": "BraxEngine",
}
"""Engines inside the jitted program, on whatever device JAX has; likewise."""

WARP = "warp"
"""The one whose kernels are compiled where they first run, and kept; see `warp_cache`."""

BACKENDS = ("auto", *HOST_BACKENDS, *DEVICE_BACKENDS)
EVALUATING = ("native", "gymnasium", "mjx", "brax")
"""Those that begin an episode with a given seed, on a CPU."""

HOST_ENVS = 128
"""Environments on host engines: a callback costs a hundredth of a step of an Ant."""

LIGHT_ENVS = 256
"""Those of light models, whose steps are so short that the callbacks count with 128, too."""

LIGHT = 10
"""Degrees of freedom up to which a MuJoCo model is light: HalfCheetah and Walker2d have 9, Ant
14."""

ACCELERATOR_ENVS = 4096
"""Environments of MJX on a GPU or TPU. Rates on an H100 rise up to 16,384 at least; what learns
best is not measured."""

CPU_DEVICE_ENVS = 32
"""Environments of MJX on a CPU, where a step takes a millisecond: some updates in 30 seconds."""

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def resolve(task: Task, backend: str = "auto", accelerator: bool = False) -> str:
    """The engine that will train on the task.

    Args:
      task: the task.
      backend: one of `BACKENDS`; `auto` takes the fastest that is there and simulates alike.
      accelerator: whether JAX has a GPU or a TPU. There, `auto` takes Warp on a machine with an
        NVIDIA GPU, for tasks that it `simulates_alike`, and else MJX.

    Raises:
      InputError: there is no such backend, or it cannot run the task.
    """
    if backend not in BACKENDS:
        raise InputError(f"Unknown backend {backend!r}. Choose one of: {', '.join(BACKENDS)}.")
    engines = [*DEVICE_BACKENDS, *HOST_BACKENDS] if accelerator else BACKENDS[1:]
    reasons = {name: unsupported(task, name) for name in engines}
    able = [name for name, reason in reasons.items() if reason is None]
    if not able:
        raise InputError(reasons["brax" if isinstance(task, BraxTask) else "gymnasium"] or "")
    if backend == "auto":
        return "warp" if accelerator and "warp" in able and simulates_alike(task) else able[0]
    if reasons[backend] is not None:
        raise InputError(
            f"Backend {backend!r} cannot run {task.id}: {reasons[backend]}. "
            f"Leave --backend out, or choose one of: {', '.join(able)}."
        )
    return backend


def unsupported(task: Task, backend: str) -> str | None:
    """Why a backend cannot run a task here, or None."""
    if backend in DEVICE_BACKENDS:
        return _UNSUPPORTED_ON_DEVICE[backend](task)
    return _module(backend).unsupported(task)


def simulates_alike(task: Task) -> bool:
    """Whether a step in Warp is as near C MuJoCo's as one in MJX is: nothing moves freely.

    Warp turns the contact frame of a capsule upright on a plane, which the MJX engine corrects. It
    shows on Ant, and on no task whose bodies are all held by joints (docs/fidelity.md).
    """
    free = mujoco.mjtJoint.mjJNT_FREE
    return isinstance(task, MujocoTask) and not (task.model.jnt_type == free).any()


def scoring_engine(task: Task) -> str:
    """The engine that scores the task: C MuJoCo where it is exact, Gymnasium everywhere else.

    A Brax or Playground environment has no other definition than its own simulator.
    """
    if isinstance(task, BraxTask):
        return "brax"
    return "native" if unsupported(task, "native") is None else "gymnasium"


def make_engine(
    task: Task, num_envs: int, seed: int, backend: str, autoreset: bool = True
) -> HostEngine:
    """Build a host engine.

    Args:
      task: the task.
      num_envs: N.
      seed: of all first states.
      backend: a resolved one.
      autoreset: False leaves an environment as it is once its first episode has ended.
    """
    engine = getattr(_module(backend), HOST_BACKENDS[backend])
    return engine(task, num_envs, seed, autoreset)


def make_device_engine(task: Task, num_envs: int, backend: str) -> "DeviceEngine":
    """Build a device engine: N environments as pure functions."""
    return getattr(_module(backend), DEVICE_BACKENDS[backend])(task, num_envs)


def make_evaluation_engine(task: Task, num_envs: int, backend: str) -> HostEngine:
    """Build an engine that plays first episodes from seeds, N at once, on any backend."""
    if backend in HOST_BACKENDS:
        return make_engine(task, num_envs, seed=0, backend=backend, autoreset=False)
    from harness.engines.device import OnHost  # noqa: PLC0415  (imports JAX)

    return OnHost(make_device_engine(task, num_envs, backend))


def check_evaluation(task: Task, backend: str) -> None:
    """Make sure that an engine can play a task's episodes for a second figure.

    Raises:
      InputError: it cannot.
    """
    if backend not in EVALUATING:
        raise InputError(f"{backend!r} does not evaluate; choose one of: {', '.join(EVALUATING)}.")
    resolve(task, backend)


def spaces(task: Task, backend: str) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Space]:
    """Observation and action space of a task, without building a vector environment."""
    return _module(backend).spaces(task)


def _module(backend: str) -> ModuleType:
    return importlib.import_module(f"harness.engines.{backend}")


def _unsupported_by_mjx(task: Task) -> str | None:
    return None if isinstance(task, MujocoTask) else f"{task.id} is not a MuJoCo task"


def _unsupported_by_warp(task: Task) -> str | None:
    reason = _unsupported_by_mjx(task)
    if reason is None and importlib.util.find_spec("warp") is None:
        reason = f"warp-lang is not installed ({errors.how_to_add('warp')})"
    if reason is None and not NVIDIA_DRIVER.exists():
        reason = "it needs an NVIDIA GPU, and there is no driver of one here"
    return reason


def _unsupported_by_brax(task: Task) -> str | None:
    if not isinstance(task, BraxTask):
        return f"{task.id} is not a Brax or Playground environment"
    if importlib.util.find_spec(task.package) is None:
        return f"{task.package} is not installed ({errors.how_to_add(task.library)})"
    return None


_UNSUPPORTED_ON_DEVICE: dict[str, Callable[[Task], str | None]] = {
    "mjx": _unsupported_by_mjx,
    "warp": _unsupported_by_warp,
    "brax": _unsupported_by_brax,
}
"""Why a device engine cannot run a task. Not in their modules, which import JAX: the process that
holds the clock asks, and does without."""


def num_envs(task: Task, backend: str, accelerator: bool, devices: int) -> int:
    """A good number of environments; a multiple of the devices, over which they are spread."""
    light = isinstance(task, MujocoTask) and task.model.nv <= LIGHT
    number = LIGHT_ENVS if light and backend == "native" else HOST_ENVS
    if backend in DEVICE_BACKENDS:
        number = ACCELERATOR_ENVS if accelerator else CPU_DEVICE_ENVS
    return -(-number // devices) * devices
