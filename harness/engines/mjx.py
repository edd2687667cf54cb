"""The MJX engine: MuJoCo tasks inside the jitted program, on a GPU, a TPU, or slowly on a CPU.

Unlike the host engines its state is a value: a rollout is one `scan` without a round trip to the
host, and randomness comes from keys. Between steps it keeps only what the next step needs and what
the task reads; everything else in `mjx.Data` is computed anew.
"""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
from mujoco import mjx

from harness.engines import mjx_corrections
from harness.engines.native import CONTACT_FORCES, spaces
from harness.tasks import MujocoTask, Task
from harness.tasks.draws import Draws

__all__ = ["MjxEngine", "MjxState", "spaces", "unsupported"]

CARRIED = ("qpos", "qvel", "qacc_warmstart")
"""What the next step needs: none of the tasks has activations."""

SET_BY_RESET = frozenset({"ctrl", CONTACT_FORCES})
"""Fields that are zero after a reset; all others need a forward pass."""

PRECISION = "highest"
"""Of matrix products: TF32, the default on many GPUs, changes the physics."""


def unsupported(task: Task) -> str | None:
    """Why this engine cannot run the task, or None."""
    return None if isinstance(task, MujocoTask) else f"{task.id} is not a MuJoCo task"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MjxState:
    """N environments between two steps.

    Attributes:
      fields: `CARRIED` and the task's fields by name, [N, ...].
      elapsed: [N] int32, steps since the last reset.
      key: of the next draws.
    """

    fields: dict[str, jax.Array]
    elapsed: jax.Array
    key: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MjxStep:
    """The outcome of one step; as `harness.engines.engine.Step`, and where the physics broke down.

    Attributes:
      diverged: [N] bool: NaN or infinity in the simulation; the episode is terminated.
    """

    obs: jax.Array
    next_obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    diverged: jax.Array


class MjxEngine:
    """N environments of one MuJoCo task as pure functions."""

    def __init__(self, task: MujocoTask, num_envs: int) -> None:
        self.task = task
        self.num_envs = num_envs
        self.observation_space, self.action_space = spaces(task)
        mjx_corrections.install()
        self._model = mjx.put_model(mjx_corrections.model(task))
        self._template = mjx.make_data(self._model)
        self._needs_forward = bool(set(task.fields) - SET_BY_RESET)

    def reset(self, key: jax.Array) -> tuple[MjxState, jax.Array]:
        """New episodes everywhere: the state, and first observations [N, observation]."""
        key, reset_key = jax.random.split(key)
        fields = self._first(reset_key)
        state = MjxState(fields, jnp.zeros(self.num_envs, jnp.int32), key)
        return state, self.task.observation(SimpleNamespace(**fields))

    def step(self, state: MjxState, action: jax.Array) -> tuple[MjxState, MjxStep]:
        """One environment step with same-step auto-reset; action [N, nu], within the space."""
        task = self.task
        fields = jax.vmap(self._advance)(state.fields, action)
        before, after = SimpleNamespace(**state.fields), SimpleNamespace(**fields)
        velocity = (task.position(after) - task.position(before)) / task.dt
        next_obs = task.observation(after)
        reward = task.reward(after, action, velocity)
        diverged = ~(jnp.isfinite(next_obs).all(-1) & jnp.isfinite(reward))
        elapsed = state.elapsed + 1
        terminated = task.terminated(after) | diverged
        truncated = elapsed >= task.horizon
        ended = terminated | truncated

        key, reset_key = jax.random.split(state.key)
        fields = jax.lax.cond(
            ended.any(),
            lambda: _select(ended, self._first(reset_key), fields),
            lambda: fields,
        )
        step = MjxStep(
            obs=task.observation(SimpleNamespace(**fields)),
            next_obs=jnp.where(diverged[:, None], 0.0, next_obs),
            reward=jnp.where(diverged, 0.0, reward),
            terminated=terminated,
            truncated=truncated,
            diverged=diverged,
        )
        return MjxState(fields, jnp.where(ended, 0, elapsed), key), step

    def _first(self, key: jax.Array) -> dict[str, jax.Array]:
        """Fields of fresh first states."""
        return jax.vmap(self._first_of_one)(jax.random.split(key, self.num_envs))

    def _first_of_one(self, key: jax.Array) -> dict[str, jax.Array]:
        qpos, qvel = self.task.reset(JaxDraws(key))
        data = self._template.replace(qpos=qpos, qvel=qvel)
        if self._needs_forward:
            with jax.default_matmul_precision(PRECISION):
                data = mjx.forward(self._model, data)
        return self._read(data)

    def _advance(self, fields: dict[str, jax.Array], action: jax.Array) -> dict[str, jax.Array]:
        """Simulate one environment for one environment step."""
        carried = {name: fields[name] for name in CARRIED}
        data = self._template.replace(ctrl=action.astype(fields["qpos"].dtype), **carried)
        with jax.default_matmul_precision(PRECISION):
            data = jax.lax.fori_loop(
                0, self.task.frame_skip, lambda _, data: mjx.step(self._model, data), data
            )
            if CONTACT_FORCES in self.task.fields:
                data = mjx.rne_postconstraint(self._model, data)
        return self._read(data)

    def _read(self, data: mjx.Data) -> dict[str, jax.Array]:
        public = mjx.Data.__dataclass_fields__
        return {
            name: getattr(data if name in public else data._impl, name)
            for name in (*CARRIED, *self.task.fields)
        }


def _select(mask: jax.Array, ones: dict[str, jax.Array], others: dict[str, jax.Array]) -> Any:
    """Rows of `ones` where the mask [N] is set, of `others` elsewhere."""

    def select(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(-1, *(1,) * (one.ndim - 1)), one, other)

    return jax.tree.map(select, ones, others)


class JaxDraws:
    """Draws from a JAX key; see `harness.tasks.draws.Draws`."""

    def __init__(self, key: jax.Array) -> None:
        self._key = key

    def uniform(self, low: float, high: float, size: int) -> jax.Array:
        """`size` numbers, uniform in [low, high)."""
        return jax.random.uniform(self._next(), (size,), minval=low, maxval=high)

    def normal(self, size: int) -> jax.Array:
        """`size` numbers from the standard normal distribution."""
        return jax.random.normal(self._next(), (size,))

    def accepted(
        self, propose: Callable[[Draws], jax.Array], accept: Callable[[jax.Array], jax.Array]
    ) -> jax.Array:
        """The first proposal that is accepted (rejection sampling)."""

        def redraw(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            key, proposal_key = jax.random.split(carry[0])
            return key, propose(JaxDraws(proposal_key))

        first = redraw((self._next(), jnp.zeros(())))
        return jax.lax.while_loop(lambda carry: ~accept(carry[1]), redraw, first)[1]

    def _next(self) -> jax.Array:
        self._key, key = jax.random.split(self._key)
        return key
