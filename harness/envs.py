"""`make`: the vector environment that train.py sees, jit-able in the same way on every engine."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from harness import tasks
from harness.engines import backends, processors
from harness.engines.device import select
from harness.engines.engine import HostEngine, Step
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.engines.device import DeviceEngine


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
      diverged: [N] bool, the simulation broke down (NaN, or Warp had no room for a contact), which
        terminated the episode; engines on the device only.
      episode_return: [N] float32, of the episode that just ended; 0 where none did.
      episode_length: [N] int32, likewise, in steps.
      internal: the engine's own; on host engines a counter that makes the state linear.
    """

    obs: jax.Array
    next_obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    diverged: jax.Array
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
    if backend in backends.DEVICE_BACKENDS:
        return DeviceEnv(backends.make_device_engine(task, num_envs, backend), gate)
    return HostEnv(backends.make_engine(task, num_envs, seed, backend), gate)


class Env(Protocol):
    """N environments of one task with same-step auto-reset; all but `close` can be jitted."""

    devices: list[jax.Device]
    """What programs with `reset` or `step` in them have to be compiled for."""
    num_envs: int
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Space

    def reset(self, key: jax.Array) -> EnvState:
        """Start new episodes everywhere; once in a program, before its steps.

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

    def send(self, state: EnvState, action: jax.Array) -> Any:
        """Begin a step: host engines simulate from now on, while the program goes on.

        Args:
          state: as for `step`; it is used up.
          action: likewise.

        Returns:
          What `recv` takes.

        Raises:
          ValueError: the action has the wrong shape.
        """
        ...

    def recv(self, sent: Any, after: Any = ()) -> EnvState:
        """The outcome of the step that `send` began; waits for it on host engines.

        Args:
          sent: from `send`.
          after: a pytree of small arrays to compute first, such as a norm of new parameters: else
            XLA may wait before it does what was to be done meanwhile. They are copied to the host.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class HostEnv:
    """A host engine behind callbacks, so that one jitted program holds it.

    The engine's state lives on the host and moves on with every step. An `EnvState` is therefore
    *linear*: it may be used once. It carries a counter, and stepping an old state raises.
    """

    def __init__(self, engine: HostEngine, gate: Callable[[], None]) -> None:
        self.devices = processors.devices()
        self.num_envs = engine.num_envs
        self.observation_space = engine.observation_space
        self.action_space = engine.action_space
        self._engine = engine
        self._gate = gate
        self._counter = 0
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int32)
        self._stepper = ThreadPoolExecutor(1, "env")
        self._sent: Future[Step] | None = None

    def reset(self, key: jax.Array) -> EnvState:
        """Start new episodes everywhere; see `Env.reset`."""
        del key
        return self._call(self._host_reset, jnp.int32(0))

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Apply actions; see `Env.step`. The callback raises if the state is not the latest."""
        return self._call(self._host_step, state.internal, applicable(action, self))

    def send(self, state: EnvState, action: jax.Array) -> jax.Array:
        """Begin a step; see `Env.send`. The callback raises if the state is not the latest."""
        shape = jax.ShapeDtypeStruct((), jnp.int32)
        return self._callback(self._host_send, shape, state.internal, applicable(action, self))

    def recv(self, sent: jax.Array, after: Any = ()) -> EnvState:
        """The outcome; see `Env.recv`. The callback raises if it has been received already."""
        return self._call(self._host_recv, sent, *jax.tree.leaves(after))

    def close(self) -> None:
        """Free the engine, when it has ended its step."""
        self._stepper.shutdown()
        self._engine.close()

    def _callback(self, function: Callable, shapes: Any, counter: jax.Array, *args: Any) -> Any:
        return processors.call(function, shapes, self.devices, counter, *args)

    def _call(self, function: Callable, counter: jax.Array, *args: Any) -> EnvState:
        fields = self._callback(function, self._shapes(), counter, *args)
        never = jnp.zeros(self.num_envs, bool)  # C MuJoCo restarts a simulation that breaks down
        obs, next_obs, reward, terminated, truncated, returns, lengths, counter = fields
        return EnvState(
            obs, next_obs, reward, terminated, truncated, never, returns, lengths, counter
        )

    def _shapes(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Of what the callbacks return."""

        def array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self.num_envs, *shape), dtype)

        obs = array(jnp.float32, *self.observation_space.shape)
        number, flag, count = array(jnp.float32), array(jnp.bool), array(jnp.int32)
        counter = jax.ShapeDtypeStruct((), jnp.int32)
        return obs, obs, number, flag, flag, number, count, counter

    def _host_reset(self, counter: jax.Array) -> tuple[np.ndarray, ...]:
        del counter
        self._gate()
        if self._sent is not None:  # its outcome is of episodes that are given up, its error not
            sent, self._sent = self._sent, None
            sent.result()
        obs = self._engine.reset().astype(np.float32)
        self._returns[:] = 0
        self._lengths[:] = 0
        no = np.zeros(self.num_envs, bool)
        zeros = np.zeros(self.num_envs, np.float32)
        return obs, obs, zeros, no, no, zeros, zeros.astype(np.int32), self._tick()

    def _host_step(self, counter: jax.Array, action: jax.Array) -> tuple[np.ndarray, ...]:
        self._check_latest(counter)
        return self._fields(self._engine.step(np.asarray(action)))

    def _host_send(self, counter: jax.Array, action: jax.Array) -> np.ndarray:
        self._check_latest(counter)
        # A copy: the buffer is XLA's again as soon as this returns.
        self._sent = self._stepper.submit(self._engine.step, np.array(action))
        return self._tick()

    def _host_recv(self, counter: jax.Array, *after: jax.Array) -> tuple[np.ndarray, ...]:
        del after
        if self._sent is None or int(counter) != self._counter:
            raise ValueError(
                "Nothing is on its way from what env.recv was given: receive once, what the last "
                "env.send returned."
            )
        sent, self._sent = self._sent, None
        return self._fields(sent.result())

    def _check_latest(self, counter: jax.Array) -> None:
        self._gate()
        if int(counter) != self._counter:
            raise ValueError(
                f"Stepping state {int(counter)} of an environment that is at {self._counter}: "
                "a host engine has one state only. Step the state that the last call returned."
            )

    def _fields(self, step: Step) -> tuple[np.ndarray, ...]:
        """What a callback returns of a step; adds it to the episodes' sums."""
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
    """A device engine with auto-reset: all of it is inside the jitted program."""

    def __init__(self, engine: "DeviceEngine", gate: Callable[[], None]) -> None:
        self.devices = jax.devices()
        self.num_envs = engine.num_envs
        self.observation_space = engine.observation_space
        self.action_space = engine.action_space
        self._engine = engine
        self._gate = gate

    def reset(self, key: jax.Array) -> EnvState:
        """Start new episodes everywhere; see `Env.reset`."""
        # The one call to the host; steps make none.
        io_callback(self._gate, None)
        # Threefry whatever the caller's generator: under vmap, XLA's own draws for all lanes from
        # the key of the first, and a reset law that redraws until all are accepted never ends.
        key = jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")
        key, first_key = jax.random.split(key)
        physics, obs = self._engine.first(first_key)
        obs = obs.astype(jnp.float32)
        zeros = jnp.zeros(self.num_envs, jnp.float32)
        counts, no = zeros.astype(jnp.int32), zeros.astype(bool)
        internal = _DeviceState(physics, key, zeros, counts)
        return EnvState(obs, obs, zeros, no, no, no, zeros, counts, internal)

    def step(self, state: EnvState, action: jax.Array) -> EnvState:
        """Apply actions; see `Env.step`."""
        before = state.internal
        physics, outcome = self._engine.advance(before.physics, applicable(action, self))
        next_obs = outcome.obs.astype(jnp.float32)
        reward = outcome.reward.astype(jnp.float32)
        returns, lengths = before.returns + reward, before.lengths + 1
        truncated = lengths >= self._engine.horizon
        ended = outcome.terminated | truncated

        key, first_key = jax.random.split(before.key)
        physics, obs = self._restart(ended, physics, next_obs, first_key)
        kept = _DeviceState(
            physics, key, jnp.where(ended, 0.0, returns), jnp.where(ended, 0, lengths)
        )
        return EnvState(
            obs=obs,
            next_obs=next_obs,
            reward=reward,
            terminated=outcome.terminated,
            truncated=truncated,
            diverged=outcome.diverged,
            episode_return=jnp.where(ended, returns, 0.0),
            episode_length=jnp.where(ended, lengths, 0),
            internal=kept,
        )

    def send(self, state: EnvState, action: jax.Array) -> EnvState:
        """The whole step, as a device does one thing after the other; see `Env.send`."""
        return self.step(state, action)

    def recv(self, sent: EnvState, after: Any = ()) -> EnvState:
        """What was sent; see `Env.recv`."""
        del after
        return sent

    def close(self) -> None:
        """Nothing to free."""

    def _restart(self, ended: jax.Array, physics: Any, obs: jax.Array, key: jax.Array) -> Any:
        """Fresh first states where episodes ended; they are only computed where one did."""

        def fresh() -> Any:
            first_physics, first_obs = self._engine.first(key)
            return select(ended, (first_physics, first_obs), (physics, obs))

        return jax.lax.cond(ended.any(), fresh, lambda: (physics, obs))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _DeviceState:
    """What a `DeviceEnv` carries: the physics, the next draws' key, each episode's sums."""

    physics: Any
    key: jax.Array
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
