"""`make`: the vector environment that train.py sees, jit-able in the same way on every engine."""

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from harness import backends, tasks
from harness.engines.engine import HostEngine
from harness.errors import InputError


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
) -> "HostEnv":
    """The vector environment of a task.

    Args:
      task_id: a Gymnasium id.
      num_envs: N, the number of environments.
      seed: of all first states on host engines.
      backend: one of `backends.BACKENDS`.
      gate: called before every reset and step; raises while stepping is not allowed.

    Raises:
      InputError: unknown task or backend, a backend that cannot run the task, or N < 1.
    """
    if num_envs < 1:
        raise InputError(f"num_envs is {num_envs}; at least 1 is needed.")
    task = tasks.get(task_id)
    return HostEnv(
        backends.make_engine(task, num_envs, seed, backends.resolve(task, backend)), gate
    )


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
        """Start new episodes everywhere.

        Args:
          key: a JAX key, for the engines that draw from one; host engines draw from `seed`.
        """
        del key
        return self._call(self._host_reset)

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Apply actions and restart the episodes that end (same-step auto-reset).

        Args:
          state: from the last `reset` or `step`.
          action: [N, action] float32, clipped to the action space; [N] integers if it is discrete.

        Raises:
          ValueError: the action has the wrong shape.
          Exception: in the callback, if the state is not the latest, or before the clock runs.
        """
        expected = (self.num_envs, *(self.action_space.shape or ()))
        if action.shape != expected:
            raise ValueError(f"The action has shape {action.shape}; {expected} is needed.")
        return self._call(self._host_step, state.internal, clip(action, self.action_space))

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


def clip(action: jax.Array, space: gymnasium.Space) -> jax.Array:
    """Clip actions to a Box action space; discrete actions pass as they are."""
    if isinstance(space, gymnasium.spaces.Box):
        return jnp.clip(action.astype(jnp.float32), space.low, space.high)
    return action.astype(jnp.int32)
