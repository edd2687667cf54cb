"""The Gymnasium engine: any Gymnasium environment, in worker processes that each step a chunk.

One message steps a whole chunk of environments; observations and actions travel through shared
memory. (Gymnasium's AsyncVectorEnv sends one message per environment, and spends its time there.)
"""

import contextlib
import dataclasses
import json
import mmap
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import gymnasium
import numpy as np

from harness.engines.engine import Step, available_cpus
from harness.errors import InputError
from harness.tasks import TASKS, Task

STEP, RESET, RESET_SEEDED = b"s", b"r", b"R"
"""Commands to a worker, one byte each."""
DONE, FAILED = b"d", b"f"
"""A worker's answers; FAILED is followed by the traceback as text, then the end of the stream."""


def unsupported(task: Task) -> str | None:
    """Why this engine cannot run the task, or None."""
    if task.id in TASKS and task.id in gymnasium.registry:
        return None
    try:
        spaces(task)
    except InputError as error:
        return str(error)
    return None


@dataclasses.dataclass(frozen=True)
class Layout:
    """The arrays that parent and workers share, one after the other in one block of memory."""

    num_envs: int
    obs_size: int
    action_shape: tuple[int, ...]
    action_dtype: str

    def views(self, block: mmap.mmap | bytearray) -> dict[str, np.ndarray]:
        """Arrays over a block of `nbytes` bytes."""
        views, offset = {}, 0
        for name, (shape, dtype) in self._arrays().items():
            view: np.ndarray = np.ndarray(shape, dtype, buffer=block, offset=offset)
            views[name] = view
            offset += view.nbytes
        return views

    @property
    def nbytes(self) -> int:
        """Size of the block."""
        return sum(
            int(np.prod(shape)) * np.dtype(dtype).itemsize
            for shape, dtype in self._arrays().values()
        )

    def _arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        n = self.num_envs
        return {  # widest first, so that every array is aligned
            "seeds": ((n,), "int64"),
            "reward": ((n,), "float64"),
            "obs": ((n, self.obs_size), "float64"),
            "next_obs": ((n, self.obs_size), "float64"),
            "actions": ((n, *self.action_shape), self.action_dtype),
            "terminated": ((n,), "bool"),
            "truncated": ((n,), "bool"),
        }


class GymnasiumEngine:
    """A `HostEngine` of any Gymnasium id."""

    def __init__(self, task: Task, num_envs: int, seed: int, autoreset: bool = True) -> None:
        self.num_envs = num_envs
        self.observation_space, self.action_space = spaces(task)
        layout = Layout(
            num_envs,
            int(np.prod(self.observation_space.shape)),
            self.action_space.shape or (),
            str(self.action_space.dtype),
        )
        with tempfile.TemporaryFile() as file:
            file.write(bytes(layout.nbytes))  # written, for a full disk to be told here
            file.flush()
            self._block = mmap.mmap(file.fileno(), layout.nbytes)
            self._arrays = layout.views(self._block)
            bounds = np.linspace(0, num_envs, min(available_cpus(), num_envs) + 1).astype(int)
            seeds = np.random.SeedSequence(seed).generate_state(num_envs)
            self._arrays["seeds"][:] = seeds
            self._workers = [
                _Worker(task.id, layout, int(low), int(high), autoreset, file.fileno())
                for low, high in zip(bounds, bounds[1:], strict=False)
            ]
        self._first_reset = True

    def reset(self, seeds: Sequence[int] | None = None) -> np.ndarray:
        """Start new episodes everywhere; see `HostEngine.reset`."""
        if seeds is not None:
            self._arrays["seeds"][:] = seeds
        self._command(RESET_SEEDED if seeds is not None or self._first_reset else RESET)
        self._first_reset = False
        return self._arrays["obs"].copy()

    def step(self, actions: np.ndarray) -> Step:
        """One environment step; see `HostEngine.step`."""
        self._arrays["actions"][:] = actions
        self._command(STEP)
        names = ("obs", "next_obs", "reward", "terminated", "truncated")
        return Step(*(self._arrays[name].copy() for name in names))

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()

    def _command(self, command: bytes) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):  # it has failed: wait() tells why
                worker.channel.sendall(command)
        for worker in self._workers:
            worker.wait()


class _Worker:
    """The parent's side of one worker process."""

    def __init__(
        self, task_id: str, layout: Layout, low: int, high: int, autoreset: bool, memory: int
    ) -> None:
        self.channel, theirs = socket.socketpair()
        settings = {
            "task": task_id,
            "layout": dataclasses.asdict(layout),
            "low": low,
            "high": high,
            "autoreset": autoreset,
            "channel": theirs.fileno(),
            "memory": memory,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.engines.gymnasium_worker", json.dumps(settings)],
            pass_fds=(theirs.fileno(), memory),
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        theirs.close()

    def wait(self) -> None:
        answer = self.channel.recv(1)
        if answer == DONE:
            return
        with self.channel.makefile("rb") as stream:
            detail = stream.read().decode(errors="replace")
        raise RuntimeError(f"A Gymnasium worker failed:\n{detail or 'it was ended from outside'}")

    def close(self) -> None:
        self.channel.close()
        self.process.wait(timeout=10)


def spaces(task: Task) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Space]:
    """The observation and action space of a Gymnasium environment.

    Raises:
      InputError: it cannot be made, or its spaces are not those that a policy here can have.
    """
    task_id = task.id
    try:
        env = gymnasium.make(task_id, disable_env_checker=True)
    except Exception as error:  # whatever an environment's constructor raises
        raise InputError(
            f"Gymnasium cannot make {task_id!r}: {error} ({type(error).__name__}). If a package is "
            "missing, install it."
        ) from error
    observation_space, action_space = env.observation_space, env.action_space
    env.close()
    if not isinstance(observation_space, gymnasium.spaces.Box):
        raise InputError(
            f"{task_id} has {type(observation_space).__name__} observations; a Box is needed. "
            "Wrap the environment in gymnasium.wrappers.FlattenObservation and register that."
        )
    if len(observation_space.shape) != 1:
        raise InputError(
            f"{task_id} has observations of shape {observation_space.shape}; one axis is needed "
            "(images are not supported). Register it with a wrapper that yields a vector."
        )
    if not isinstance(action_space, gymnasium.spaces.Box | gymnasium.spaces.Discrete):
        raise InputError(
            f"{task_id} has {type(action_space).__name__} actions; Box or Discrete is needed."
        )
    if isinstance(action_space, gymnasium.spaces.Box) and not action_space.is_bounded():
        raise InputError(
            f"{task_id} has unbounded actions; finite bounds are needed to clip to. "
            "Register it with gymnasium.wrappers.TransformAction and a bounded Box."
        )
    if isinstance(action_space, gymnasium.spaces.Box) and len(action_space.shape) != 1:
        raise InputError(
            f"{task_id} has actions of shape {action_space.shape}; one axis is needed. Register it "
            "with gymnasium.wrappers.TransformAction and a Box of one axis."
        )
    return observation_space, action_space
