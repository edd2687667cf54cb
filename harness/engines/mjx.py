"""The MJX engine: MuJoCo tasks inside the jitted program, on a GPU, a TPU, or slowly on a CPU.

Unlike the host engines its state is a value: a rollout is one `scan` without a round trip to the
host, and randomness comes from keys. Between steps it keeps only what the next step needs and what
the task reads; everything else in `mjx.Data` is computed anew.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.utils import seeding
from mujoco import mjx

from harness.engines import mjx_corrections
from harness.engines.device import Outcome
from harness.engines.native import CONTACT_FORCES, spaces
from harness.tasks import MujocoTask
from harness.tasks.draws import Draws, HostDraws

__all__ = ["MjxEngine", "spaces"]

CARRIED = ("qpos", "qvel", "qacc_warmstart")
"""What the next step needs: none of the tasks has activations."""

KINEMATIC = frozenset({"xpos", "xquat", "xipos", "site_xpos", "subtree_com", "cinert", "cvel"})
"""Fields that follow from positions and velocities alone."""

ZERO_AT_FIRST = frozenset({"ctrl", "qfrc_actuator", CONTACT_FORCES})
"""Fields that are zero after a reset: nothing has acted yet."""

PRECISION = "highest"
"""Of matrix products: TF32, the default on many GPUs, changes the physics."""

Fields = dict[str, jax.Array]
"""`CARRIED` and the task's fields of `mjx.Data`, by name."""


class MjxEngine:
    """A `DeviceEngine` of one MuJoCo task; its physics is `Fields` with a leading axis N."""

    impl = "jax"

    def __init__(self, task: MujocoTask, num_envs: int) -> None:
        self.task = task
        self.num_envs = num_envs
        self.horizon = task.horizon
        self.observation_space, self.action_space = spaces(task)
        self._model, self._template = self._put(task)

    def first(self, key: jax.Array) -> tuple[Fields, jax.Array]:
        """Fresh first states; see `DeviceEngine.first`."""
        keys = jax.random.split(key, self.num_envs)
        states = jax.vmap(lambda key: self.task.reset(JaxDraws(key)))(keys)
        return self._begin(*states)

    def first_of(self, seeds: Sequence[int]) -> tuple[Fields, jax.Array]:
        """The first states that Gymnasium draws for these seeds; see `DeviceEngine.first_of`."""
        draws = (HostDraws(seeding.np_random(int(seed))[0]) for seed in seeds)
        qpos, qvel = zip(*(self.task.reset(draw) for draw in draws), strict=True)
        return jax.jit(self._begin)(np.stack(qpos), np.stack(qvel))

    def advance(self, physics: Fields, action: jax.Array) -> tuple[Fields, Outcome]:
        """One environment step; see `DeviceEngine.advance`."""
        task = self.task
        fields = jax.vmap(self.simulate)(physics, action)
        before, after = _data(physics), _data(fields)
        velocity = (task.position(after) - task.position(before)) / task.dt
        reward = task.reward(after, action, velocity)
        return fields, Outcome.checked(task.observation(after), reward, task.terminated(after))

    def simulate(self, fields: Fields, action: jax.Array) -> Fields:
        """The physics of one environment over one environment step; no leading axis."""
        carried = {name: jnp.asarray(fields[name]) for name in CARRIED}
        data = self._template.replace(ctrl=action.astype(carried["qpos"].dtype), **carried)
        with jax.default_matmul_precision(PRECISION):
            data = jax.lax.fori_loop(0, self.task.frame_skip, self._substep, data)
            if CONTACT_FORCES in self.task.fields and self.impl == "jax":
                data = mjx.rne_postconstraint(self._model, data)
        return self._read(data)

    def _put(self, task: MujocoTask) -> tuple[mjx.Model, mjx.Data]:
        """The model and the state that every step begins from, on the device."""
        mjx_corrections.install()
        source = mjx_corrections.model(task)
        return mjx.put_model(source, impl="jax"), mjx.make_data(source, impl="jax")

    def _begin(self, qpos: jax.Array, qvel: jax.Array) -> tuple[Fields, jax.Array]:
        """Episodes that begin in states [N, nq], [N, nv]."""
        fields = jax.vmap(self._begin_one)(qpos, qvel)
        return fields, self.task.observation(_data(fields))

    def _begin_one(self, qpos: jax.Array, qvel: jax.Array) -> Fields:
        data = self._template.replace(qpos=jnp.asarray(qpos), qvel=jnp.asarray(qvel))
        # No dynamics are compiled for a reset unless the task reads of them.
        if self.impl == "jax" and set(self.task.fields) <= KINEMATIC | ZERO_AT_FIRST:
            passes = [mjx.kinematics, mjx.com_pos, mjx.com_vel]
        else:
            passes = [mjx.forward]
        with jax.default_matmul_precision(PRECISION):
            for derive in passes:
                data = derive(self._model, data)
        # MJX normalizes quaternions in place; C MuJoCo leaves them as they were drawn.
        return self._read(data.replace(qpos=jnp.asarray(qpos)))

    def _substep(self, _: jax.Array, data: mjx.Data) -> mjx.Data:
        after = mjx_corrections.step(self._model, data)
        return mjx_corrections.same_dtypes(after, data)

    def _read(self, data: mjx.Data) -> Fields:
        public = mjx.Data.__dataclass_fields__
        return {
            name: getattr(data if name in public else data._impl, name)
            for name in (*CARRIED, *self.task.fields)
        }


def _data(fields: Fields) -> Any:
    """Fields as the `Physics` that tasks read."""
    return SimpleNamespace(**fields)


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
