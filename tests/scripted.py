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


class Unusable(gymnasium.Env):
    """An environment with spaces that no policy here can have."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


_VECTOR = gymnasium.spaces.Box(-1, 1, (2,))
_UNBOUNDED = gymnasium.spaces.Box(-np.inf, np.inf, (2,))

for _name, _spaces in {
    "DictObservation-v0": (gymnasium.spaces.Dict({"a": _VECTOR}), _VECTOR),
    "ImageObservation-v0": (gymnasium.spaces.Box(0, 255, (8, 8, 3)), _VECTOR),
    "UnboundedAction-v0": (_VECTOR, _UNBOUNDED),
    "TupleAction-v0": (_VECTOR, gymnasium.spaces.Tuple([_VECTOR])),
}.items():
    gymnasium.register(_name, Unusable, kwargs=dict(zip(
        ("observation_space", "action_space"), _spaces, strict=True)))  # fmt: skip

gymnasium.register("Scripted-v0", Scripted, max_episode_steps=TRUNCATED_AFTER)
