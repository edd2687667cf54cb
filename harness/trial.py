"""All that a training file may use of the harness: task, seed, environment, clock, publication.

    from harness import trial as harness_trial

    trial = harness_trial.connect()
    env = trial.make_env(trial.num_envs_hint)
    ...compile everything ahead of time...
    trial.publish(act, params)          # optional: exports the policy before the clock runs
    trial.start()
    while trial.time_left() > 0:
        ...train...
        trial.log(step, **{"charts/episodic_return": mean_return})
        trial.publish(act, params)      # the last one received before the deadline is scored

Started by `python -m harness.run`, the calls talk to the parent process, which holds the clock and
takes the policies. Run by hand (`python agent_space/train.py`), the same calls train the default
task for a short budget and print what they are told; nothing is scored.
"""

import dataclasses
import math
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from harness import envs, tasks
from harness.contract import policy, wire
from harness.contract.messages import Clock, Log, Publish, Start
from harness.contract.order import Assignment, draw_seed
from harness.contract.reports import DIVERGED
from harness.contract.wire import CHANNEL_VARIABLE
from harness.engines import backends
from harness.engines.compiled import Compiled
from harness.errors import InputError
from harness.evaluate import TASK

BY_HAND_BUDGET = 60.0
"""Seconds of training when nobody holds the clock."""


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """What a training file may know of the task.

    Attributes:
      id: its Gymnasium id.
      observation_space: one axis, of any size.
      action_space: a bounded Box, or Discrete.
    """

    id: str
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Space


class Trial:
    """One training, seen from inside.

    Args:
      assignment: what it was told.
      channel: to the parent; None where nobody holds the clock.

    Attributes:
      task: its id and spaces.
      seed: all randomness of the training comes from it; assigned by the harness.
      seeds: the same where several policies are trained side by side, one from each; `seed` is the
        first of them, and mostly the only one.
      num_envs_hint: a good number of environments for this task, engine and device.
    """

    def __init__(self, assignment: Assignment, channel: socket.socket | None) -> None:
        task = tasks.get(assignment.task_id)
        accelerator = jax.default_backend() != "cpu"
        self._backend = backends.resolve(task, assignment.backend, accelerator)
        self.task = TaskInfo(assignment.task_id, *backends.spaces(task, self._backend))
        self.seed, self.seeds = assignment.seed, assignment.seeds
        self.num_envs_hint = backends.num_envs(task, self._backend, accelerator, jax.device_count())
        self._budget = assignment.budget
        self._channel = channel
        self._deadline: float | None = None
        self._program: Callable | None = None
        self._num_envs: list[int] = []
        self._compile_seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._count_compilation)

    def make_env(self, num_envs: int) -> envs.Env:
        """A vector environment of the task; it refuses to step before `start()`.

        Args:
          num_envs: N, at least 1.
        """
        seed = self.seed
        if before := len(self._num_envs):  # another one begins other episodes
            seed = int(np.random.SeedSequence([seed, before]).generate_state(1)[0])
        env = envs.make(self.task.id, num_envs, seed, self._backend, self._require_started)
        self._num_envs.append(num_envs)
        return env

    def compile(
        self,
        function: Callable,
        *args: Any,
        devices: Sequence[jax.Device] | None = None,
        donate: Collection[int] = (),
    ) -> Compiled:
        """Compile a function ahead of time, with its environments spread over the devices.

        Args:
          function: of pytrees of arrays, jit-able.
          *args: what it will be called with, or the shapes and dtypes of it: `outputs` of another.
          devices: that run it, `jax.devices()` if None; `env.devices` for what steps an `env`.
          donate: which arguments are given up, counted from 0: what it returns may take their
            memory, such as a replay buffer's.

        Returns:
          What to call instead of it, from anywhere; it fetches its arguments from other devices.
        """
        return Compiled(function, args, devices or jax.devices(), self._num_envs, donate)

    def start(self) -> None:
        """Start the clock: call it once, when everything is compiled."""
        if self._deadline is not None:
            raise RuntimeError("trial.start() was called twice; the clock starts once.")
        budget = self._budget
        if self._channel is not None:
            device = f"{len(jax.devices())} × {jax.devices()[0].device_kind}"
            self._send(wire.header(Start(device, self._backend)))
            answer, _ = wire.receive(self._channel)
            budget = wire.read(answer, Clock).time_left
        self._deadline = time.monotonic() + budget

    def time_left(self) -> float:
        """Seconds of budget left: all of it before `start()`, negative after the deadline."""
        return self._budget if self._deadline is None else self._deadline - time.monotonic()

    def progress(self) -> float:
        """The share of the budget that is used, in [0, 1], for schedules."""
        return min(max(1.0 - self.time_left() / self._budget, 0.0), 1.0)

    def log(self, step: int, **metrics: float) -> None:
        """Report progress; call it once an update.

        Args:
          step: environment steps so far, all environments counted, of all seeds.
          **metrics: numbers, or [seeds] numbers, of which the mean is reported, NaN aside; of
            `charts/diverged`, a count, the sum. `charts/episodic_return` is what the progress
            display shows.

        Raises:
          ValueError: a metric has another shape.
        """
        told = jax.device_get(metrics).items()
        numbers = {name: _number(name, value, len(self.seeds)) for name, value in told}
        if self._channel is None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
            print(f"{self._budget - self.time_left():7.1f} s  step {step:>10,}  {shown}")
            return
        self._send(wire.header(Log(int(step), numbers, self._compile_seconds)))

    def publish(self, act: policy.Act, params: Any, carry: Any = None) -> None:
        """Hand over a policy; the last one that arrives before the deadline is scored.

        The first call exports `act`, later calls with the same `act` send parameters only.

        Args:
          act: `act(params, obs) -> action`, jit-able and deterministic; obs is [B, observation]
            float32 with any B, and B = 1 when it is scored: each episode by itself. Actions are
            clipped to the action space when they are used. With a carry, `act(params, carry, obs)
            -> (action, carry)`. What it may carry and compute: docs/threat-model.md.
          params: pytree of arrays.
          carry: for recurrent policies, the initial carry of one environment (no batch axis).

        Raises:
          RuntimeError: there are several seeds.
        """
        if len(self.seeds) > 1:
            raise RuntimeError(
                f"trial.publish hands over one policy, and this trial has {len(self.seeds)} seeds: "
                "train one from each of trial.seeds, and use trial.publish_each."
            )
        self._hand_over(act, lambda: (params, carry), [policy.pack(params, carry)])

    def publish_each(self, act: policy.Act, params: Any, carry: Any = None) -> None:
        """Hand over a policy for each of `seeds`, all or none; each is scored by itself.

        The last ones that arrive before the deadline count, and the score is their mean.

        Args:
          act: as for `publish`: the same function for all.
          params: pytree of arrays [seeds, …].
          carry: likewise, or None.

        Raises:
          PolicyError: an array has no row for each seed.
        """
        each = policy.pack_each(params, carry, len(self.seeds))
        self._hand_over(
            act, lambda: jax.tree.map(lambda x: jnp.asarray(x)[0], (params, carry)), each
        )

    def _hand_over(
        self, act: policy.Act, first: Callable[[], tuple[Any, Any]], packed: list[bytes]
    ) -> None:
        """Send a policy for each seed; the first one's params and carry are what `act` takes."""
        program = b""
        if act is not self._program:
            if self._program is not None:
                warnings.warn(
                    "trial.publish was given another function than before, and exports it anew: "
                    "define act once.",
                    stacklevel=3,
                )
            program = policy.export(act, *first(), self.task.observation_space)
            self._program = act
        if self._channel is not None:
            sizes = [len(one) for one in packed[:-1]]
            self._send(wire.header(Publish(len(program), sizes)), program + b"".join(packed))

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        assert self._channel is not None
        self._channel.sendall(wire.encode(header, payload))

    def _require_started(self) -> None:
        if self._deadline is None:
            raise RuntimeError(
                "An environment was stepped before trial.start(). Compile ahead of time "
                "(jax.jit(f).lower(...).compile()), call trial.start(), then step."
            )

    def _count_compilation(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile"):
            self._compile_seconds += duration_secs


def _number(name: str, value: Any, count: int) -> float:
    """A metric; where it has a number for each of `count` seeds, that of all together.

    It is the mean of those that are numbers, or the sum where it counts something.
    """
    values = np.asarray(value, np.float64)
    if values.size != 1 and values.shape != (count,):
        each = f", or one for each of {count} seeds" if count > 1 else ""
        raise ValueError(
            f"trial.log was given {name} of shape {values.shape}: one number is needed{each}."
        )
    known = values[~np.isnan(values)]
    if not known.size:
        return math.nan
    return float(known.sum() if name == DIVERGED else known.mean())


def connect() -> Trial:
    """The trial that this process was started for; one by hand where the harness started none."""
    # Host callbacks can hang with asynchronous dispatch on the CPU client (jax#24255).
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    descriptor = os.environ.get(CHANNEL_VARIABLE)
    if descriptor is None:
        print(f"By hand: {TASK} for {BY_HAND_BUDGET:.0f} s. Nothing is scored.", file=sys.stderr)
        return Trial(Assignment(TASK, "auto", draw_seed(), BY_HAND_BUDGET), channel=None)
    channel = socket.socket(fileno=int(descriptor))
    told, _ = wire.receive(channel)
    try:
        return Trial(wire.read(told, Assignment), channel)
    except InputError as error:  # of the user, not of the training file: no traceback
        sys.exit(str(error))


__all__ = ["TaskInfo", "Trial", "connect"]
