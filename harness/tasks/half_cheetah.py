"""HalfCheetah-v5: a planar cheetah that is rewarded for running."""

from harness.tasks.arrays import concatenate, square_sum
from harness.tasks.draws import Array, Draws
from harness.tasks.task import MujocoTask, Physics


class HalfCheetah(MujocoTask):
    """Source: gymnasium/envs/mujoco/half_cheetah_v5.py."""

    id = "HalfCheetah-v5"
    model_file = "half_cheetah.xml"
    frame_skip = 5
    horizon = 1000

    CTRL_COST_WEIGHT = 0.1
    RESET_NOISE_SCALE = 0.1

    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """Uniform noise on positions, normal noise on velocities."""
        return self.noisy_initial(draws, self.RESET_NOISE_SCALE, law="normal")

    def observation(self, data: Physics) -> Array:
        """Positions without the root's x, then velocities: [..., 17]."""
        return concatenate(data.qpos[..., 1:], data.qvel)

    def position(self, data: Physics) -> Array:
        """The root's x, in metres."""
        return data.qpos[..., :1]

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """Forward speed in m/s less the control cost."""
        return velocity[..., 0] - self.CTRL_COST_WEIGHT * square_sum(action)
