"""Ant-v5: a four-legged robot that is rewarded for walking along x."""

from harness.tasks.arrays import clip, concatenate, flatten, namespace, square_sum
from harness.tasks.draws import Array, Draws
from harness.tasks.task import MujocoTask, Physics

TORSO = 1
"""Index of the body whose motion is rewarded; body 0 is the world."""


class Ant(MujocoTask):
    """Source: gymnasium/envs/mujoco/ant_v5.py."""

    id = "Ant-v5"
    model_file = "ant.xml"
    frame_skip = 5
    horizon = 1000
    fields = ("xpos", "cfrc_ext")

    CTRL_COST_WEIGHT = 0.5
    CONTACT_COST_WEIGHT = 5e-4
    CONTACT_FORCE = (-1.0, 1.0)
    """Contact forces are clipped to it, in N and N·m."""
    HEALTHY_REWARD = 1.0
    HEALTHY_Z = (0.2, 1.0)
    """Metres, both ends included."""
    RESET_NOISE_SCALE = 0.1

    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """Uniform noise on positions, normal noise on velocities."""
        return self.noisy_initial(draws, self.RESET_NOISE_SCALE, law="normal")

    def observation(self, data: Physics) -> Array:
        """Positions without x and y, velocities, contact forces on each body: [..., 105]."""
        forces = flatten(self.contact_forces(data)[..., 1:, :])
        return concatenate(data.qpos[..., 2:], data.qvel, forces)

    def position(self, data: Physics) -> Array:
        """The torso's x and y, in metres."""
        return data.xpos[..., TORSO, :2]

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """Speed along x in m/s and a bonus for being healthy, less control and contact costs."""
        rewards = velocity[..., 0] + self.healthy(data) * self.HEALTHY_REWARD
        contact = self.CONTACT_COST_WEIGHT * square_sum(flatten(self.contact_forces(data)))
        return rewards - (self.CTRL_COST_WEIGHT * square_sum(action) + contact)

    def terminated(self, data: Physics) -> Array:
        """Ends when it is not healthy."""
        return ~self.healthy(data)

    def healthy(self, data: Physics) -> Array:
        """A finite state at the right height."""
        state, z = concatenate(data.qpos, data.qvel), data.qpos[..., 2]
        low, high = self.HEALTHY_Z
        return namespace(state).isfinite(state).all(-1) & (low <= z) & (z <= high)

    def contact_forces(self, data: Physics) -> Array:
        """External forces and torques on each body, clipped: [..., body, 6]."""
        return clip(data.cfrc_ext, *self.CONTACT_FORCE)
