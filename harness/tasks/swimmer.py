"""Swimmer-v5: three links in a viscous fluid, rewarded for swimming along x."""

from harness.tasks.arrays import concatenate, square_sum
from harness.tasks.draws import Array, Draws
from harness.tasks.task import MujocoTask, Physics


class Swimmer(MujocoTask):
    """Source: gymnasium/envs/mujoco/swimmer_v5.py."""

    id = "Swimmer-v5"
    model_file = "swimmer.xml"
    frame_skip = 4
    horizon = 1000

    CTRL_COST_WEIGHT = 1e-4
    RESET_NOISE_SCALE = 0.1

    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """Uniform noise on positions and velocities."""
        return self.noisy_initial(draws, self.RESET_NOISE_SCALE)

    def observation(self, data: Physics) -> Array:
        """Angles, then velocities: [..., 8]."""
        return concatenate(data.qpos[..., 2:], data.qvel)

    def position(self, data: Physics) -> Array:
        """The first link's x and y, in metres."""
        return data.qpos[..., :2]

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """Speed along x in m/s less the control cost."""
        return velocity[..., 0] - self.CTRL_COST_WEIGHT * square_sum(action)
