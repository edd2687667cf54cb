"""Which engine steps which task."""

import importlib
from types import ModuleType

import gymnasium

from harness.engines.engine import HostEngine
from harness.errors import InputError
from harness.tasks import Task

HOST_BACKENDS = {
    "native": "NativeEngine",
    "envpool": "EnvPoolEngine",
    "gymnasium": "GymnasiumEngine",
}
"""Engines in host memory, the preferred first: module in `harness.engines`, class in it."""

DEVICE_BACKEND = "mjx"
"""The engine that runs inside the jitted program, on whatever device JAX has."""

BACKENDS = ("auto", DEVICE_BACKEND, *HOST_BACKENDS)


def resolve(task: Task, backend: str = "auto", accelerator: bool = False) -> str:
    """The engine that will train on the task.

    Args:
      task: the task.
      backend: one of `BACKENDS`; `auto` takes the fastest that is there.
      accelerator: whether JAX has a GPU or a TPU; there, MJX is the fastest.

    Raises:
      InputError: there is no such backend, or it cannot run the task.
    """
    if backend not in BACKENDS:
        raise InputError(f"Unknown backend {backend!r}. Choose one of: {', '.join(BACKENDS)}.")
    preferred = (
        (DEVICE_BACKEND, *HOST_BACKENDS) if accelerator else (*HOST_BACKENDS, DEVICE_BACKEND)
    )
    reasons = {name: unsupported(task, name) for name in preferred}
    able = [name for name, reason in reasons.items() if reason is None]
    if not able:
        raise InputError(reasons["gymnasium"] or "")
    if backend == "auto":
        return able[0]
    if reasons[backend] is not None:
        raise InputError(
            f"Backend {backend!r} cannot run {task.id}: {reasons[backend]}. "
            f"Leave --backend out, or choose one of: {', '.join(able)}."
        )
    return backend


def unsupported(task: Task, backend: str) -> str | None:
    """Why a backend cannot run a task here, or None."""
    return _module(backend).unsupported(task)


def reference(task: Task) -> str:
    """The engine that scores the task: C MuJoCo where it is exact, Gymnasium everywhere else."""
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


def spaces(task: Task, backend: str) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Space]:
    """Observation and action space of a task, without building a vector environment."""
    return _module(backend).spaces(task)


def _module(backend: str) -> ModuleType:
    return importlib.import_module(f"harness.engines.{backend}")
