"""Walker2d-v5: a planar two-legged robot that is rewarded for walking forward."""

from harness.tasks.arrays import within
from harness.tasks.draws import Array
from harness.tasks.hopper import Hopper
from harness.tasks.task import Physics


class Walker2d(Hopper):
    """A Hopper with two legs and wider limits: gymnasium/envs/mujoco/walker2d_v5.py."""

    id = "Walker2d-v5"
    model_file = "walker2d_v5.xml"

    HEALTHY_Z = (0.8, 2.0)
    HEALTHY_ANGLE = (-1.0, 1.0)

    def healthy(self, data: Physics) -> Array:
        """Upright and at the right height."""
        z, angle = data.qpos[..., 1], data.qpos[..., 2]
        return within(z, *self.HEALTHY_Z) & within(angle, *self.HEALTHY_ANGLE)
