"""The Gymnasium engine: any Gymnasium environment, in worker processes that each step a chunk.

One message steps a whole chunk of environments; observations and actions travel through shared
memory. (Gymnasium's AsyncVectorEnv sends one message per environment, and spends its time there.)
"""

import contextlib
import dataclasses
import functools
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from harness.checkout import sources
from harness.contract import wire
from harness.contract.messages import Refusal
from harness.engines.engine import Step, available_cpus, in_dtype
from harness.errors import InputError, TaskError
from harness.system import origin
from harness.tasks import TASKS, Task

STEP, RESET, RESET_SEEDED = b"s", b"r", b"R"
"""Commands to a worker, one byte each."""
DONE, FAULTY = b"d", b"f"
"""A worker's answers; FAULTY is followed by the reason as text, then the end of the stream."""

SPACES_SECONDS = 120.0
"""In which an environment must have been made, to be asked for its spaces."""

CLOSE_SECONDS = 10.0
"""In which the environments must have closed; then their processes are ended."""

MAX_FLOAT32 = float(np.finfo(np.float32).max)
"""Of rewards and observations, which policies see in float32."""


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


@dataclasses.dataclass(frozen=True)
class Part:
    """What a worker is told: environments `low` to `high` of the whole are its.

    Attributes:
      task_id: of the environments.
      layout: of the memory that is shared.
      low: its first environment.
      high: the one after its last.
      autoreset: see `HostEngine`.
      channel: descriptor of its socket.
      memory: descriptor of the memory.
    """

    task_id: str
    layout: Layout
    low: int
    high: int
    autoreset: bool
    channel: int
    memory: int


@dataclasses.dataclass(frozen=True)
class Describe:
    """A question: which spaces has an environment."""

    task_id: str


@dataclasses.dataclass(frozen=True)
class Space:
    """A space in words.

    Attributes:
      kind: its class.
      shape: of a Box.
      dtype: likewise.
      n: of a Discrete.
      start: likewise.
    """

    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    n: int = 0
    start: int = 0


@dataclasses.dataclass(frozen=True)
class Spaces:
    """The answer; the payload is the bounds of each Box that has one axis, the lower ones first."""

    observation: Space
    action: Space


class GymnasiumEngine:
    """A `HostEngine` of any Gymnasium id."""

    def __init__(self, task: Task, num_envs: int, seed: int, autoreset: bool = True) -> None:
        self.task = task
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
        self._check_numbers("obs")
        return self._arrays["obs"].copy()

    def step(self, actions: np.ndarray) -> Step:
        """One environment step; see `HostEngine.step`."""
        self._arrays["actions"][:] = in_dtype(actions, self.action_space)
        self._command(STEP)
        self._check_numbers("reward", "obs", "next_obs")
        names = ("obs", "next_obs", "reward", "terminated", "truncated")
        return Step(*(self._arrays[name].copy() for name in names))

    def close(self) -> None:
        """End the workers, those that take too long to close by force."""
        for worker in self._workers:
            worker.channel.close()
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker in self._workers:
            worker.end(deadline)

    def _command(self, command: bytes) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):  # it has failed: its problem tells why
                worker.channel.sendall(command)
        for worker in self._workers:
            if problem := worker.problem():
                raise TaskError(
                    f"The environment {self.task.id} fails: {problem}. "
                    "gymnasium.utils.env_checker.check_env says what else may be wrong with it."
                )

    def _check_numbers(self, *names: str) -> None:
        for name in names:
            array = self._arrays[name]
            if not np.abs(array).max() <= MAX_FLOAT32:  # so that NaN is met, too
                bad = array[~(np.abs(array) <= MAX_FLOAT32)].flat[0]
                what = "a reward" if name == "reward" else "an observation"
                raise TaskError(
                    f"The environment {self.task.id} gives {what} of {bad}, which no float32 can "
                    "hold. Repair it, or wrap it in one of gymnasium.wrappers.Transform…, and "
                    "register that."
                )


class _Worker:
    """The parent's side of one worker process."""

    def __init__(
        self, task_id: str, layout: Layout, low: int, high: int, autoreset: bool, memory: int
    ) -> None:
        self.channel, theirs = socket.socketpair()
        part = Part(task_id, layout, low, high, autoreset, theirs.fileno(), memory)
        self.process = _start(part, (theirs.fileno(), memory))
        theirs.close()

    def problem(self) -> str | None:
        """Wait for the answer to a command: None, or why there is none, in words."""
        if self.channel.recv(1) == DONE:
            return None
        with self.channel.makefile("rb") as stream:
            detail = stream.read().decode(errors="replace")
        if not detail:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(CLOSE_SECONDS)
            detail = f"its process has ended with code {self.process.returncode}"
        return detail

    def end(self, deadline: float) -> None:
        """Wait for the process until the deadline, then end it."""
        try:
            self.process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _start(part: Part | None, descriptors: Sequence[int], **options: Any) -> Any:
    """Start a process of `gymnasium_worker`; without a part one that is asked for spaces."""
    variables = {
        # The harness that runs, whatever else of that name is installed.
        "PYTHONPATH": os.pathsep.join(filter(None, (str(sources.folder()), *sys.path))),
        "PYTHONSAFEPATH": "1",
        origin.FOLDER_VARIABLE: os.environ.get(origin.FOLDER_VARIABLE) or os.getcwd(),
    }
    if part is None:
        variables[wire.CHANNEL_VARIABLE] = str(descriptors[0])
    told = [] if part is None else [wire.text(part).decode()]
    return subprocess.Popen(
        [sys.executable, "-m", "harness.engines.gymnasium_worker", *told],
        pass_fds=descriptors, stdin=subprocess.DEVNULL, env={**os.environ, **variables}, **options,
    )  # fmt: skip


def spaces(task: Task) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Space]:
    """The observation and action space of a Gymnasium environment.

    Raises:
      InputError: it cannot be made, or its spaces are not those that a policy here can have.
    """
    told, bounds = _described(task.id)
    try:
        observation_space, bounds = _space(told.observation, bounds)
        action_space, _ = _space(told.action, bounds)
    except (TypeError, ValueError, wire.WireError) as error:
        raise InputError(f"What {task.id} says of its spaces is none ({error}).") from error
    _check_spaces(task.id, observation_space, action_space)
    return observation_space, action_space


@functools.cache
def _described(task_id: str) -> tuple[Spaces, bytes]:
    """An environment's spaces as a process of its own describes them, and their bounds.

    Whatever making it does (move to another folder, take Ctrl-C, exit, hang), it does there.

    Raises:
      InputError: it cannot be made.
    """
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as output, ours:
        with theirs:
            process = _start(None, (theirs.fileno(),), stdout=output, stderr=output,
                             start_new_session=True)  # fmt: skip
        ours.settimeout(SPACES_SECONDS)
        try:
            ours.sendall(wire.encode(wire.header(Describe(task_id))))
            said, bounds = wire.receive(ours)
            answer: object = wire.read(said, Spaces, Refusal)
        except TimeoutError as error:
            raise InputError(
                f"Gymnasium cannot make {task_id!r}: it takes over {SPACES_SECONDS:.0f} s. Have it "
                "start what is slow in its first reset."
            ) from error
        except (EOFError, OSError, wire.WireError) as error:
            process.wait()
            output.seek(max(output.tell() - 1000, 0))
            last = output.read().decode(errors="replace").strip()
            raise InputError(
                f"Gymnasium cannot make {task_id!r}: the process ended with code "
                f"{process.returncode}. Its last output:\n{last}"
            ) from error
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if isinstance(answer, Refusal):
        raise InputError(f"Gymnasium cannot make {task_id!r}: {answer.reason}.")
    assert isinstance(answer, Spaces)
    return answer, bounds


def _space(told: Space, bounds: bytes) -> tuple[Any, bytes]:
    """A space from what a process said of it, and the bounds that are left for others."""
    if told.kind == "Discrete":
        return gymnasium.spaces.Discrete(told.n, start=told.start), bounds
    if told.kind != "Box" or len(told.shape) != 1:
        return Unusable(told.kind, told.shape), bounds
    dtype = np.dtype(told.dtype)
    size = told.shape[0] * dtype.itemsize
    low, high, rest = wire.split(bounds, size, size)
    parts = (np.frombuffer(bound, dtype) for bound in (low, high))
    return gymnasium.spaces.Box(*parts, dtype=dtype.type), rest


@dataclasses.dataclass(frozen=True)
class Unusable:
    """A space that no policy here can have.

    Attributes:
      kind: its class.
      shape: of a Box that has not one axis.
    """

    kind: str
    shape: tuple[int, ...]


def _check_spaces(task_id: str, observation_space: Any, action_space: Any) -> None:
    """Make sure that a policy can have these spaces.

    Raises:
      InputError: it cannot.
    """
    for what, space in (("observations", observation_space), ("actions", action_space)):
        if isinstance(space, Unusable) and space.kind == "Box":
            raise InputError(
                f"{task_id} has {what} of shape {space.shape}; one axis is needed (images are not "
                "supported). Register it with a wrapper that has a vector of them."
            )
    if not isinstance(observation_space, gymnasium.spaces.Box):
        raise InputError(
            f"{task_id} has {_kind(observation_space)} observations; a Box is needed. "
            "Wrap the environment in gymnasium.wrappers.FlattenObservation and register that."
        )
    if not isinstance(action_space, gymnasium.spaces.Box | gymnasium.spaces.Discrete):
        raise InputError(f"{task_id} has {_kind(action_space)} actions; Box or Discrete is needed.")
    if isinstance(action_space, gymnasium.spaces.Box):
        with np.errstate(over="ignore"):
            extent = action_space.high.astype(np.float32) - action_space.low.astype(np.float32)
        if not np.isfinite(extent).all():
            raise InputError(
                f"{task_id} has unbounded actions; finite bounds, not too wide for float32, are "
                "needed to clip to. Register it with gymnasium.wrappers.TransformAction and a "
                "bounded Box."
            )


def _kind(space: Any) -> str:
    return space.kind if isinstance(space, Unusable) else type(space).__name__
