"""Brax's interface, both ways: its environments as tasks here, MJX tasks as its environments.

MuJoCo Playground's environments have the same interface and run here, too. Brax's own wrappers are
not used: they replay one cached first state and lose the last observation of an episode.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from brax.envs.base import Env, State

from harness.engines.device import DeviceEngine, Outcome
from harness.errors import InputError
from harness.tasks import BraxTask

__all__ = ["BraxEngine", "MjxBraxEnv", "spaces"]

BRAX_HORIZON = 1000
"""Environment steps; the default of `brax.envs.create`."""

POLICY_OBSERVATION = "state"
"""What a Playground policy sees, where an observation has parts (others are for the critic)."""


class BraxEngine:
    """A `DeviceEngine` over N copies of one environment; its physics is their batched `State`."""

    def __init__(self, task: BraxTask, num_envs: int) -> None:
        self.num_envs = num_envs
        self._env, self.horizon = _load(task)
        self.observation_space, self.action_space = spaces(task)

    def first(self, key: jax.Array) -> tuple[State, jax.Array]:
        """Fresh first states; see `DeviceEngine.first`."""
        return self._begin(jax.random.split(key, self.num_envs))

    def first_of(self, seeds: Sequence[int]) -> tuple[State, jax.Array]:
        """`reset(jax.random.key(seed))` of each seed; see `DeviceEngine.first_of`."""
        keys = jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))
        return jax.jit(self._begin)(keys)

    def advance(self, physics: State, action: jax.Array) -> tuple[State, Outcome]:
        """One environment step; see `DeviceEngine.advance`."""
        after = jax.vmap(self._env.step)(physics, action)
        after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, physics)
        outcome = Outcome.checked(_observed(after.obs), after.reward, after.done.astype(bool))
        return after.replace(done=jnp.zeros_like(after.done)), outcome

    def _begin(self, keys: jax.Array) -> tuple[State, jax.Array]:
        # Brax splits raw keys of two words; typed keys of other generators have other sizes.
        raw = jax.vmap(lambda key: jax.random.bits(key, (2,), jnp.uint32))(keys)
        state = jax.vmap(self._env.reset)(raw)
        # Without weak types, so that the first step compiles the program of all others.
        state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)
        return state, _observed(state.obs)


def spaces(task: BraxTask) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Observations without bounds; actions in [-1, 1], as both libraries have them."""
    env, _ = _load(task)
    obs = _observed(jax.eval_shape(env.reset, jax.random.PRNGKey(0)).obs)
    if obs.ndim != 1:
        raise InputError(
            f"{task.id} has observations of shape {obs.shape}. Only observations with one axis "
            "are supported."
        )
    return (
        gymnasium.spaces.Box(-np.inf, np.inf, obs.shape, np.float32),
        gymnasium.spaces.Box(-1.0, 1.0, (env.action_size,), np.float32),
    )


@functools.cache
def _load(task: BraxTask) -> tuple[Any, int]:
    """The environment, and the steps after which its episodes are truncated.

    Raises:
      InputError: its library has no such environment.
    """
    if task.library == "brax":
        from brax import envs  # noqa: PLC0415

        if task.name not in envs._envs:
            raise InputError(_unknown(task, envs._envs))
        return envs.get_environment(task.name), BRAX_HORIZON
    from mujoco_playground import registry  # noqa: PLC0415

    if task.name not in registry.ALL_ENVS:
        raise InputError(_unknown(task, registry.ALL_ENVS))
    config = registry.get_default_config(task.name)
    if "impl" in config:
        config.impl = "jax"  # Warp, the default, is for NVIDIA GPUs only
    return registry.load(task.name, config), int(config.episode_length)


def _unknown(task: BraxTask, names: Any) -> str:
    return f"Unknown task {task.id!r}. {task.package} has: {', '.join(sorted(names))}."


def _observed(obs: Any) -> Any:
    """The part of an observation that a policy sees."""
    return obs[POLICY_OBSERVATION] if isinstance(obs, Mapping) else obs


class MjxBraxEnv(Env):
    """One environment of a device engine as a `brax.envs.Env`, for Brax's trainers and wrappers.

    It has no auto-reset and no time limit, as Brax's own have none: their wrappers add both.
    Typical use: `MjxBraxEnv(MjxEngine(tasks.get("Hopper-v5"), num_envs=1))`.
    """

    def __init__(self, engine: DeviceEngine) -> None:
        if engine.num_envs != 1:
            raise ValueError(f"The engine has {engine.num_envs} environments; 1 is needed.")
        self._engine = engine

    def reset(self, rng: jax.Array) -> State:
        """A fresh first state, from a key."""
        physics, obs = self._engine.first(rng)
        zero = jnp.zeros(())
        return State(physics, obs[0].astype(jnp.float32), zero, zero, {}, {})

    def step(self, state: State, action: jax.Array) -> State:
        """One environment step; actions [action] in [-1, 1] are scaled to the action space."""
        space = self._engine.action_space
        low, high = space.low, space.high
        scaled = low + (jnp.clip(action, -1, 1) + 1) * (high - low) / 2
        physics, outcome = self._engine.advance(state.pipeline_state, scaled[None])
        return state.replace(
            pipeline_state=physics,
            obs=outcome.obs[0].astype(jnp.float32),
            reward=outcome.reward[0].astype(jnp.float32),
            done=outcome.terminated[0].astype(jnp.float32),
        )

    @property
    def observation_size(self) -> int:
        """Numbers in an observation."""
        return self._engine.observation_space.shape[0]

    @property
    def action_size(self) -> int:
        """Numbers in an action."""
        return self._engine.action_space.shape[0]

    @property
    def backend(self) -> str:
        """The physics, under Brax's name for it."""
        return "mjx"
