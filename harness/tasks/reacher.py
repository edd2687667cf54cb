"""Reacher-v5: a planar arm of two links whose fingertip is to be moved to a target."""

import functools

from harness.tasks.arrays import concatenate, namespace, norm, square_sum
from harness.tasks.draws import Array, Draws
from harness.tasks.task import MujocoTask, Physics


class Reacher(MujocoTask):
    """Source: gymnasium/envs/mujoco/reacher_v5.py."""

    id = "Reacher-v5"
    model_file = "reacher.xml"
    frame_skip = 2
    horizon = 50
    fields = ("xpos",)

    ARM_NOISE = 0.1
    VELOCITY_NOISE = 0.005
    TARGET_RADIUS = 0.2
    """The target lies uniformly in a disc of this radius, in metres."""

    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """Noise on the arm; a target in the disc; the target does not move."""
        noise, radius = self.ARM_NOISE, self.TARGET_RADIUS
        qpos = draws.uniform(-noise, noise, self.model.nq) + self.initial["qpos"]
        target = draws.accepted(
            lambda draws: draws.uniform(-radius, radius, 2), lambda target: norm(target) < radius
        )
        speed = self.VELOCITY_NOISE
        qvel = self.initial["qvel"] + draws.uniform(-speed, speed, self.model.nv)
        return concatenate(qpos[:-2], target), concatenate(qvel[:-2], 0 * qvel[-2:])

    def observation(self, data: Physics) -> Array:
        """Cosines and sines of the joints, target, joint velocities, way to go: [..., 10]."""
        angles = data.qpos[..., :2]
        xp = namespace(angles)
        way = self.way(data)[..., :2]
        return concatenate(
            xp.cos(angles), xp.sin(angles), data.qpos[..., 2:], data.qvel[..., :2], way
        )

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """The negative distance in metres less the control cost."""
        return -norm(self.way(data)) - square_sum(action)

    @functools.cached_property
    def _bodies(self) -> tuple[int, int]:
        return self.model.body("fingertip").id, self.model.body("target").id

    def way(self, data: Physics) -> Array:
        """From the target to the fingertip, in metres: [..., 3]."""
        fingertip, target = self._bodies
        return data.xpos[..., fingertip, :] - data.xpos[..., target, :]
