"""What an engine inside the jitted program does: start and advance N environments, purely.

`harness.envs.DeviceEnv` makes a vector environment with auto-reset of it; `OnHost` lets an
evaluation play its first episodes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from harness.engines.engine import Step


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Outcome:
    """N environments after a step, before any auto-reset.

    Attributes:
      obs: [N, observation], the successors of the actions.
      reward: [N].
      terminated: [N] bool, the task ended the episode.
      diverged: [N] bool, the simulation broke down: NaN or infinity in what it gave, or what the
        engine itself calls wrong.
    """

    obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    diverged: jax.Array

    @classmethod
    def checked(cls, obs: jax.Array, reward: jax.Array, terminated: jax.Array) -> "Outcome":
        """An outcome that is broken where the simulation gave NaN or infinity."""
        finite = jnp.isfinite(obs).all(-1) & jnp.isfinite(reward)
        return cls(obs, reward, terminated, jnp.zeros_like(finite)).broken(~finite)

    def broken(self, where: jax.Array) -> "Outcome":
        """The same with a breakdown at `where` [N], which ends the episode and leaves zeros."""
        return Outcome(
            obs=jnp.where(where[:, None], 0.0, self.obs),
            reward=jnp.where(where, 0.0, self.reward),
            terminated=self.terminated | where,
            diverged=self.diverged | where,
        )


class DeviceEngine(Protocol):
    """N environments of one task; the physics is a pytree whose leaves have a leading axis N."""

    num_envs: int
    horizon: int
    """Environment steps after which an episode is truncated."""
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Space

    def first(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """Fresh first states: the physics, and observations [N, observation]."""
        ...

    def first_of(self, seeds: Sequence[int]) -> tuple[Any, jax.Array]:
        """First states of an evaluation, one a seed; not jitted."""
        ...

    def advance(self, physics: Any, action: jax.Array) -> tuple[Any, Outcome]:
        """One environment step of all; action [N, action], within the space."""
        ...


def select(mask: jax.Array, ones: Any, others: Any) -> Any:
    """Rows of the pytree `ones` where the mask [N] is set, of `others` elsewhere."""

    def pick(one: jax.Array, other: jax.Array) -> jax.Array:
        rows = mask.reshape(-1, *(1,) * (other.ndim - 1))
        return jnp.where(rows, one.astype(other.dtype), other)

    return jax.tree.map(pick, ones, others)


class OnHost:
    """A device engine as a `HostEngine` without auto-reset: first episodes only."""

    def __init__(self, engine: DeviceEngine) -> None:
        self.num_envs = engine.num_envs
        self.observation_space = engine.observation_space
        self.action_space = engine.action_space
        self._engine = engine
        self._advance = jax.jit(engine.advance, donate_argnums=0)

    def reset(self, seeds: Sequence[int] | None = None) -> np.ndarray:
        """Start an episode per seed; see `HostEngine.reset`."""
        assert seeds is not None, "A device engine on the host is for evaluation, which has seeds."
        self._physics, obs = self._engine.first_of(seeds)
        self._running = np.ones(self.num_envs, bool)
        self._elapsed = 0
        return np.asarray(obs)

    def step(self, actions: np.ndarray) -> Step:
        """One environment step; see `HostEngine.step`."""
        self._physics, outcome = self._advance(self._physics, actions)
        self._elapsed += 1
        obs = np.asarray(outcome.obs)
        terminated = self._running & np.asarray(outcome.terminated)
        truncated = self._running & (self._elapsed >= self._engine.horizon)
        reward = np.where(self._running, np.asarray(outcome.reward), 0.0)
        self._running = self._running & ~(terminated | truncated)
        return Step(obs, obs, reward, terminated, truncated)

    def close(self) -> None:
        """Nothing to free."""
