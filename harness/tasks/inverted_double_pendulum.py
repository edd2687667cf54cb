"""InvertedDoublePendulum-v5: two poles on a cart, to be kept upright."""

from harness.tasks.arrays import clip, concatenate, namespace, scalar_square
from harness.tasks.draws import Array, Draws
from harness.tasks.task import MujocoTask, Physics

TIP = 0
"""Index of the site at the upper pole's end."""


class InvertedDoublePendulum(MujocoTask):
    """Source: gymnasium/envs/mujoco/inverted_double_pendulum_v5.py."""

    id = "InvertedDoublePendulum-v5"
    model_file = "inverted_double_pendulum.xml"
    frame_skip = 5
    horizon = 1000
    fields = ("site_xpos", "qfrc_constraint")

    HEALTHY_REWARD = 10.0
    MIN_HEIGHT = 1.0
    """Of the tip, in metres."""
    OBSERVED_LIMIT = 10.0
    """Observed velocities and the constraint force are clipped to it."""
    RESET_NOISE_SCALE = 0.1

    def reset(self, draws: Draws) -> tuple[Array, Array]:
        """Uniform noise on positions, normal noise on velocities."""
        return self.noisy_initial(draws, self.RESET_NOISE_SCALE, law="normal")

    def observation(self, data: Physics) -> Array:
        """The cart's x, sines and cosines, velocities, the force on the cart: [..., 9]."""
        angles, limit = data.qpos[..., 1:], self.OBSERVED_LIMIT
        xp = namespace(angles)
        return concatenate(
            data.qpos[..., :1],
            xp.sin(angles),
            xp.cos(angles),
            clip(data.qvel, -limit, limit),
            clip(data.qfrc_constraint, -limit, limit)[..., :1],
        )

    def reward(self, data: Physics, action: Array, velocity: Array) -> Array:
        """A bonus as long as the tip is up, less penalties for distance and speed."""
        x, y = data.site_xpos[..., TIP, 0], data.site_xpos[..., TIP, 2]
        v1, v2 = data.qvel[..., 1], data.qvel[..., 2]
        distance = 0.01 * scalar_square(x) + scalar_square(y - 2)
        speed = 1e-3 * scalar_square(v1) + 5e-3 * scalar_square(v2)
        return self.HEALTHY_REWARD * ~self.terminated(data) - distance - speed

    def terminated(self, data: Physics) -> Array:
        """Ends when the tip has fallen."""
        return data.site_xpos[..., TIP, 2] <= self.MIN_HEIGHT
