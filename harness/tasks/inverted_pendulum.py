"""InvertedPendulum-v5: a pole on a cart, to be kept upright."""

from harness.tasks.arrays import concatenate, namespace
from harness.tasks.draws import Array, Draws
from harness.tasks.task import MujocoTask, Physics


class InvertedPendulum(MujocoTask):
    """Source: gymnasium/envs/mujoco/inverted_pendulum_v5.py."""

    id = "InvertedPendulum-v5"
    model_file = "inverted_pendulum.xml"
    frame_skip = 2
    horizon = 1000

    MAX_ANGLE = 0.2
    """Radians from upright."""
    RESET_NOISE_SCALE = 0.01

    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """Uniform noise on positions and velocities."""
        return self.noisy_initial(draws, self.RESET_NOISE_SCALE)

    def observation(self, data: Physics) -> Array:
        """Positions and velocities: [..., 4]."""
        return concatenate(data.qpos, data.qvel)

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """One as long as the pole is up."""
        return ~self.terminated(data) * 1.0

    def terminated(self, data: Physics) -> Array:
        """Ends when the pole leans too far or the state is not finite."""
        obs = self.observation(data)
        xp = namespace(obs)
        return ~xp.isfinite(obs).all(-1) | (xp.abs(obs[..., 1]) > self.MAX_ANGLE)
