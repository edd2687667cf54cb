"""`make`: the vector environment that train.py sees, jit-able in the same way on every engine."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from harness import backends, tasks
from harness.engines.engine import HostEngine
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.engines.mjx import MjxEngine


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EnvState:
    """N environments after a reset or a step; a pytree.

    Attributes:
      obs: [N, observation] float32, to act on next; after an auto-reset the new episode's first.
      next_obs: [N, observation] float32, the true successor of the action, also where the episode
        ended: bootstrap on this.
      reward: [N] float32.
      terminated: [N] bool, the task ended the episode: no bootstrap.
      truncated: [N] bool, the time limit ended it: bootstrap. Both may be set; `terminated` wins.
      episode_return: [N] float32, of the episode that just ended; 0 where none did.
      episode_length: [N] int32, likewise, in steps.
      internal: the engine's own; on host engines a counter that makes the state linear.
    """

    obs: jax.Array
    next_obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array
    internal: Any


def make(
    task_id: str,
    num_envs: int,
    seed: int,
    backend: str = "auto",
    gate: Callable[[], None] = lambda: None,
) -> "Env":
    """The vector environment of a task.

    Args:
      task_id: a Gymnasium id.
      num_envs: N, the number of environments.
      seed: of all first states on host engines.
      backend: one of `backends.BACKENDS`.
      gate: called before every reset, and on host engines before every step; raises while
        stepping is not allowed.

    Raises:
      InputError: unknown task or backend, a backend that cannot run the task, or N < 1.
    """
    if num_envs < 1:
        raise InputError(f"num_envs is {num_envs}; at least 1 is needed.")
    task = tasks.get(task_id)
    backend = backends.resolve(task, backend, accelerator=jax.default_backend() != "cpu")
    if backend == backends.DEVICE_BACKEND:
        from harness.engines.mjx import MjxEngine  # noqa: PLC0415  (a second that others save)

        assert isinstance(task, tasks.MujocoTask)
        return DeviceEnv(MjxEngine(task, num_envs), gate)
    return HostEnv(backends.make_engine(task, num_envs, seed, backend), gate)


class Env(Protocol):
    """N environments of one task with same-step auto-reset; `reset` and `step` can be jitted."""

    num_envs: int
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Space

    def reset(self, key: jax.Array) -> EnvState:
        """Start new episodes everywhere.

        Args:
          key: a JAX key, for the engines that draw from one; host engines draw from `seed`.
        """
        ...

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Apply actions and restart the episodes that end.

        Args:
          state: from `reset` or `step`; on host engines the last one.
          action: [N, action] float32, clipped to the action space; [N] integers if it is discrete.

        Raises:
          ValueError: the action has the wrong shape.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class HostEnv:
    """A host engine behind ordered callbacks, so that one jitted program holds it.

    The engine's state lives on the host and moves on with every step. An `EnvState` is therefore
    *linear*: it may be used once. It carries a counter, and stepping an old state raises.
    """

    def __init__(self, engine: HostEngine, gate: Callable[[], None]) -> None:
        self.num_envs = engine.num_envs
        self.observation_space = engine.observation_space
        self.action_space = engine.action_space
        self._engine = engine
        self._gate = gate
        self._counter = 0
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int32)

    def reset(self, key: jax.Array) -> EnvState:
        """Start new episodes everywhere; see `Env.reset`."""
        del key
        return self._call(self._host_reset)

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Apply actions; see `Env.step`. The callback raises if the state is not the latest."""
        return self._call(self._host_step, state.internal, applicable(action, self))

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def _call(self, function: Callable, *args: jax.Array) -> EnvState:
        # On one explicit device, because the default placement fails on sharded inputs.
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return EnvState(
            *io_callback(function, self._shapes(), *args, ordered=True, sharding=sharding)
        )

    def _shapes(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Of the fields of `EnvState`, in their order, as the callbacks return them."""

        def array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self.num_envs, *shape), dtype)

        obs = array(jnp.float32, *self.observation_space.shape)
        number, flag, count = array(jnp.float32), array(jnp.bool), array(jnp.int32)
        counter = jax.ShapeDtypeStruct((), jnp.int32)
        return obs, obs, number, flag, flag, number, count, counter

    def _host_reset(self) -> tuple[np.ndarray, ...]:
        self._gate()
        obs = self._engine.reset().astype(np.float32)
        self._returns[:] = 0
        self._lengths[:] = 0
        no = np.zeros(self.num_envs, bool)
        zeros = np.zeros(self.num_envs, np.float32)
        return obs, obs, zeros, no, no, zeros, zeros.astype(np.int32), self._tick()

    def _host_step(self, counter: jax.Array, action: jax.Array) -> tuple[np.ndarray, ...]:
        self._gate()
        if int(counter) != self._counter:
            raise ValueError(
                f"Stepping state {int(counter)} of an environment that is at {self._counter}: "
                "a host engine has one state only. Step the state that the last call returned."
            )
        step = self._engine.step(np.asarray(action))
        ended = step.terminated | step.truncated
        self._returns += step.reward
        self._lengths += 1
        episode_return = np.where(ended, self._returns, 0).astype(np.float32)
        episode_length = np.where(ended, self._lengths, 0).astype(np.int32)
        self._returns[ended] = 0
        self._lengths[ended] = 0
        return (
            step.obs.astype(np.float32),
            step.next_obs.astype(np.float32),
            step.reward.astype(np.float32),
            step.terminated,
            step.truncated,
            episode_return,
            episode_length,
            self._tick(),
        )

    def _tick(self) -> np.ndarray:
        self._counter += 1
        return np.asarray(self._counter, np.int32)


class DeviceEnv:
    """An engine of pure functions, inside the jitted program from the first step to the last."""

    def __init__(self, engine: "MjxEngine", gate: Callable[[], None]) -> None:
        self.num_envs = engine.num_envs
        self.observation_space = engine.observation_space
        self.action_space = engine.action_space
        self._engine = engine
        self._gate = gate

    def reset(self, key: jax.Array) -> EnvState:
        """Start new episodes everywhere; see `Env.reset`."""
        # The one call to the host; steps make none.
        io_callback(self._gate, None)
        physics, obs = self._engine.reset(key)
        obs = obs.astype(jnp.float32)
        zeros = jnp.zeros(self.num_envs)
        counts, no = zeros.astype(jnp.int32), zeros.astype(bool)
        internal = _DeviceState(physics, zeros, counts)
        return EnvState(obs, obs, zeros, no, no, zeros, counts, internal)

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Apply actions; see `Env.step`."""
        before = state.internal
        physics, step = self._engine.step(before.physics, applicable(action, self))
        ended = step.terminated | step.truncated
        returns = before.returns + step.reward
        lengths = before.lengths + 1
        return EnvState(
            obs=step.obs.astype(jnp.float32),
            next_obs=step.next_obs.astype(jnp.float32),
            reward=step.reward.astype(jnp.float32),
            terminated=step.terminated,
            truncated=step.truncated,
            episode_return=jnp.where(ended, returns, 0.0).astype(jnp.float32),
            episode_length=jnp.where(ended, lengths, 0),
            internal=_DeviceState(
                physics,
                jnp.where(ended, 0.0, returns).astype(jnp.float32),
                jnp.where(ended, 0, lengths),
            ),
        )

    def close(self) -> None:
        """Nothing to free."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _DeviceState:
    """What a `DeviceEnv` carries: the engine's state, and each episode's return and length."""

    physics: Any
    returns: jax.Array
    lengths: jax.Array


def applicable(action: jax.Array, env: Env) -> jax.Array:
    """Check the shape of actions, and clip them to a Box action space.

    Raises:
      ValueError: the shape is not that of one action an environment.
    """
    space = env.action_space
    expected = (env.num_envs, *(space.shape or ()))
    if action.shape != expected:
        raise ValueError(f"The action has shape {action.shape}; {expected} is needed.")
    if isinstance(space, gymnasium.spaces.Box):
        return jnp.clip(action.astype(jnp.float32), space.low, space.high)
    return action.astype(jnp.int32)
