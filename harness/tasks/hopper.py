"""Hopper-v5: a planar one-legged robot that is rewarded for hopping forward."""

from harness.tasks.arrays import clip, concatenate, square_sum, within
from harness.tasks.draws import Array, Draws
from harness.tasks.task import MujocoTask, Physics


class Hopper(MujocoTask):
    """Source: gymnasium/envs/mujoco/hopper_v5.py."""

    id = "Hopper-v5"
    model_file = "hopper.xml"
    frame_skip = 4
    horizon = 1000

    CTRL_COST_WEIGHT = 1e-3
    HEALTHY_REWARD = 1.0
    HEALTHY_STATE = (-100.0, 100.0)
    """Of every coordinate but the root's x and z."""
    HEALTHY_Z = (0.7, float("inf"))
    """Metres."""
    HEALTHY_ANGLE = (-0.2, 0.2)
    """Radians."""
    VELOCITY_LIMIT = 10.0
    """Observed velocities are clipped to it."""
    RESET_NOISE_SCALE = 5e-3

    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """Uniform noise on positions and velocities."""
        return self.noisy_initial(draws, self.RESET_NOISE_SCALE)

    def observation(self, data: Physics) -> Array:
        """Positions without the root's x, then clipped velocities: [..., 11]."""
        limit = self.VELOCITY_LIMIT
        return concatenate(data.qpos[..., 1:], clip(data.qvel, -limit, limit))

    def position(self, data: Physics) -> Array:
        """The root's x, in metres."""
        return data.qpos[..., :1]

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """Forward speed in m/s and a bonus for being healthy, less the control cost."""
        rewards = velocity[..., 0] + self.healthy(data) * self.HEALTHY_REWARD
        return rewards - self.CTRL_COST_WEIGHT * square_sum(action)

    def terminated(self, data: Physics) -> Array:
        """Ends when it is not healthy."""
        return ~self.healthy(data)

    def healthy(self, data: Physics) -> Array:
        """Upright, high enough, and not flying apart."""
        state = concatenate(data.qpos[..., 2:], data.qvel)
        return (
            within(state, *self.HEALTHY_STATE).all(-1)
            & within(data.qpos[..., 1], *self.HEALTHY_Z)
            & within(data.qpos[..., 2], *self.HEALTHY_ANGLE)
        )
