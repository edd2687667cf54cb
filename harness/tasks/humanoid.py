"""Humanoid-v5 and HumanoidStandup-v5: a three-dimensional two-legged robot."""

from typing import ClassVar

from harness.tasks.arrays import clip, concatenate, flatten, namespace, square_sum, within
from harness.tasks.draws import Array, Draws
from harness.tasks.task import MujocoTask, Physics

ROOT_DOFS = 6
"""The free root joint has no actuator."""

NO_LOWER_LIMIT = float("-inf")


class HumanoidBody(MujocoTask):
    """What the two tasks share: what is observed and how an episode begins."""

    frame_skip = 5
    horizon = 1000
    fields: ClassVar[tuple[str, ...]] = ("ctrl", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")

    CTRL_COST_WEIGHT = 0.1
    CONTACT_COST_WEIGHT = 5e-7
    CONTACT_COST_LIMIT = 10.0
    RESET_NOISE_SCALE = 1e-2

    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """Uniform noise on positions and velocities."""
        return self.noisy_initial(draws, self.RESET_NOISE_SCALE)

    def observation(self, data: Physics) -> Array:
        """Positions without x and y, velocities, inertias, forces and contacts: [..., 348]."""
        return concatenate(
            data.qpos[..., 2:],
            data.qvel,
            flatten(data.cinert[..., 1:, :]),
            flatten(data.cvel[..., 1:, :]),
            data.qfrc_actuator[..., ROOT_DOFS:],
            flatten(data.cfrc_ext[..., 1:, :]),
        )

    def control_cost(self, data: Physics) -> Array:
        """Of the controls as the simulator holds them, unlike in the other tasks."""
        return self.CTRL_COST_WEIGHT * square_sum(data.ctrl)

    def contact_cost(self, data: Physics) -> Array:
        """Of the external forces on all bodies, limited from above."""
        cost = self.CONTACT_COST_WEIGHT * square_sum(flatten(data.cfrc_ext))
        return clip(cost, NO_LOWER_LIMIT, self.CONTACT_COST_LIMIT)


class Humanoid(HumanoidBody):
    """Rewarded for walking along x: gymnasium/envs/mujoco/humanoid_v5.py."""

    id = "Humanoid-v5"
    model_file = "humanoid.xml"
    fields = (*HumanoidBody.fields, "xipos")

    FORWARD_REWARD_WEIGHT = 1.25
    HEALTHY_REWARD = 5.0
    HEALTHY_Z = (1.0, 2.0)
    """Metres."""

    def position(self, data: Physics) -> Array:
        """The centre of mass, x and y, in metres."""
        mass = self.model.body_mass[:, None]
        weighted = mass * data.xipos
        return (namespace(weighted).sum(weighted, axis=-2) / mass.sum())[..., :2]

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """Speed along x and a bonus for being healthy, less control and contact costs."""
        forward = self.FORWARD_REWARD_WEIGHT * velocity[..., 0]
        rewards = forward + self.healthy(data) * self.HEALTHY_REWARD
        return rewards - (self.control_cost(data) + self.contact_cost(data))

    def terminated(self, data: Physics) -> Array:
        """Ends when it is not healthy."""
        return ~self.healthy(data)

    def healthy(self, data: Physics) -> Array:
        """At the right height."""
        return within(data.qpos[..., 2], *self.HEALTHY_Z)


class HumanoidStandup(HumanoidBody):
    """Rewarded for the height of its root: gymnasium/envs/mujoco/humanoidstandup_v5.py."""

    id = "HumanoidStandup-v5"
    model_file = "humanoidstandup.xml"

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """Height over the simulator's time step, less control and contact costs, plus one."""
        height = data.qpos[..., 2] / self.model.opt.timestep
        return height - self.control_cost(data) - self.contact_cost(data) + 1
