"""Pusher-v5: an arm of seven joints that is to push a cylinder to a goal."""

import functools

from harness.tasks.arrays import concatenate, norm, square_sum
from harness.tasks.draws import Array, Draws
from harness.tasks.task import MujocoTask, Physics

ARM = 7
"""Joints of the arm; the last four coordinates belong to cylinder and goal, in metres."""


class Pusher(MujocoTask):
    """Source: gymnasium/envs/mujoco/pusher_v5.py."""

    id = "Pusher-v5"
    model_file = "pusher_v5.xml"
    frame_skip = 5
    horizon = 100
    fields = ("xpos",)

    NEAR_WEIGHT = 0.5
    CTRL_COST_WEIGHT = 0.1
    CYLINDER_X = (-0.3, 0.0)
    CYLINDER_Y = (-0.2, 0.2)
    MIN_DISTANCE = 0.17
    """Of a new cylinder from the goal, which is at the origin."""
    VELOCITY_NOISE = 0.005

    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """The arm as it is, a cylinder away from the goal; only the arm moves."""
        cylinder = draws.accepted(
            lambda draws: concatenate(
                draws.uniform(*self.CYLINDER_X, 1), draws.uniform(*self.CYLINDER_Y, 1)
            ),
            lambda cylinder: norm(cylinder) > self.MIN_DISTANCE,
        )
        qpos = concatenate(self.initial["qpos"][:-4], cylinder, 0 * cylinder)
        noise = self.VELOCITY_NOISE
        qvel = self.initial["qvel"] + draws.uniform(-noise, noise, self.model.nv)
        return qpos, concatenate(qvel[:-4], 0 * qvel[-4:])

    def observation(self, data: Physics) -> Array:
        """Joint angles and velocities; positions of tip, cylinder and goal: [..., 23]."""
        return concatenate(data.qpos[..., :ARM], data.qvel[..., :ARM], *self.places(data))

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """Negative distances cylinder–goal and cylinder–tip, less the control cost."""
        tip, cylinder, goal = self.places(data)
        near = -norm(cylinder - tip) * self.NEAR_WEIGHT
        control = -square_sum(action) * self.CTRL_COST_WEIGHT
        return -norm(cylinder - goal) + control + near

    @functools.cached_property
    def _bodies(self) -> list[int]:
        return [self.model.body(name).id for name in ("tips_arm", "object", "goal")]

    def places(self, data: Physics) -> tuple[Array, ...]:
        """Where tip, cylinder and goal are, in metres: [..., 3] each."""
        return tuple(data.xpos[..., body, :] for body in self._bodies)
