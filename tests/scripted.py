"""A Gymnasium environment whose every observation says where it comes from."""

import gymnasium
import numpy as np

TERMINATES_AFTER = 3
TRUNCATED_AFTER = 5


class Scripted(gymnasium.Env):
    """Observes (episode, step, last action); even episodes terminate, odd ones are truncated."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.time = 0
        return self._observe(0.0), {}

    def step(self, action):
        self.time += 1
        terminated = self.episode % 2 == 0 and self.time == TERMINATES_AFTER
        return self._observe(action[0]), 10.0 * self.time, terminated, False, {}

    def _observe(self, action):
        return np.array([self.episode, self.time, action])


gymnasium.register("Scripted-v0", Scripted, max_episode_steps=TRUNCATED_AFTER)
