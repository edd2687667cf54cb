"""The Warp engine: MJX's implementation in NVIDIA Warp, on NVIDIA GPUs."""

import dataclasses

import jax
import mujoco
from mujoco import mjx
from mujoco.mjx._src import collision_driver

from harness.engines import mjx_corrections, warp_cache
from harness.engines.device import Outcome
from harness.engines.mjx import Fields, MjxEngine
from harness.engines.native import CONTACT_FORCES, spaces
from harness.tasks import MujocoTask

__all__ = ["WarpEngine", "spaces"]

GRAPH_MODE = "WARP_STAGED"
"""How CUDA graphs are captured: with staging buffers, for a scan's buffers move. Not on a CPU."""

GEOM = mujoco.mjtGeom
MOST_CONTACTS = 8
"""Of two geoms, whatever their shapes: two boxes."""

CONTACTS = {
    (GEOM.mjGEOM_PLANE, GEOM.mjGEOM_SPHERE): 1,
    (GEOM.mjGEOM_PLANE, GEOM.mjGEOM_CAPSULE): 2,
    (GEOM.mjGEOM_SPHERE, GEOM.mjGEOM_SPHERE): 1,
    (GEOM.mjGEOM_SPHERE, GEOM.mjGEOM_CAPSULE): 1,
    (GEOM.mjGEOM_CAPSULE, GEOM.mjGEOM_CAPSULE): 2,
}
"""At most, of two geoms of these shapes."""

EQUALITY_ROWS = 6
"""Of one equality constraint, at most: a weld."""

OVERFLOW = "overflow"
"""Field of `mjx.Data`: what had no room in an environment's step, as bits."""


class WarpEngine(MjxEngine):
    """An `MjxEngine` whose simulation steps are Warp kernels.

    Its arrays of contacts are one for all environments, and as large as the model's geometry can
    ask for: in an array that is full, bodies fall through the floor.
    """

    impl = "warp"

    def advance(self, physics: Fields, action: jax.Array) -> tuple[Fields, Outcome]:
        """One environment step; see `DeviceEngine.advance`.

        Where an array was full the simulation is wrong, and counts as one that broke down. The
        array of contacts is shared: when it is full, all environments of the device count.
        """
        fields, outcome = super().advance(physics, action)
        return fields, outcome.broken((fields[OVERFLOW] & self._room) != 0)

    def _put(self, task: MujocoTask) -> tuple[mjx.Model, mjx.Data]:
        """The model and the state that every step begins from, on the device."""
        warp_cache.prefill()
        from mujoco.mjx.third_party.mujoco_warp import OverflowType  # noqa: PLC0415  (imports Warp)
        from mujoco.mjx.warp.types import GraphMode  # noqa: PLC0415

        full = (
            OverflowType.NEFC,
            OverflowType.NJMAX_NNZ,
            OverflowType.BROADPHASE,
            OverflowType.NARROWPHASE,
        )
        self._room = int(sum(full))
        source = mjx_corrections.model(task)
        mode = "NONE" if jax.default_backend() == "cpu" else GRAPH_MODE
        model = mjx.put_model(source, impl="warp", graph_mode=GraphMode[mode])
        if CONTACT_FORCES in task.fields:
            options = dataclasses.replace(model.opt._impl, run_rne_postconstraint=True)
            model = model.replace(opt=model.opt.replace(_impl=options))
        contacts, rows = most(source)
        data = mjx.make_data(source, impl="warp", naconmax=contacts * self.num_envs, njmax=rows)
        return model, data

    def _read(self, data: mjx.Data) -> Fields:
        return {**super()._read(data), OVERFLOW: data._impl.overflow}


def most(model: mujoco.MjModel) -> tuple[int, int]:
    """How many contacts and constraint rows one environment can have.

    Args:
      model: whose pairs of geoms, joints, tendons and constraints are counted.
    """
    contacts = rows = 0
    for first, second, _ in collision_driver.geom_pairs(model):
        shapes = sorted((int(model.geom_type[first]), int(model.geom_type[second])))
        count = CONTACTS.get((GEOM(shapes[0]), GEOM(shapes[1])), MOST_CONTACTS)
        size = max(model.geom_condim[first], model.geom_condim[second])
        contacts += count
        rows += count * (1 if size == 1 else 2 * (int(size) - 1))
    rows += int((model.jnt_limited > 0).sum() + (model.tendon_limited > 0).sum())
    rows += int((model.dof_frictionloss > 0).sum()) + EQUALITY_ROWS * model.neq
    return max(contacts, 1), max(rows, 1)
