"""A Gymnasium environment whose every observation says where it comes from."""

import os
import signal
import sys
import threading
import time

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


class Steady(gymnasium.Env):
    """Observes three zeros for twenty steps; its reward is the first action."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(3), {}

    def step(self, action):
        self.time += 1
        return np.zeros(3), float(action[0]), self.time >= 20, False, {}


class Whole(Steady):
    """Its actions are integers."""

    action_space = gymnasium.spaces.Box(0, 9, (1,), np.int64)


class Wide(Steady):
    """The width of its actions is beyond float32."""

    action_space = gymnasium.spaces.Box(-3e38, 3e38, (1,), np.float32)


class OldReset(Steady):
    """Gives the observation alone; two numbers, so that it looks like a pair."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([7.0, 9.0])


class OldStep(Steady):
    """Gives four values a step."""

    def step(self, action):
        obs, reward, ended, _, info = super().step(action)
        return obs, reward, ended, info


class OneNumber(Steady):
    """Says three numbers, gives one."""

    def step(self, action):
        return np.zeros(1), *super().step(action)[1:]


class Broken(Steady):
    """Raises in the middle of an episode."""

    def step(self, action):
        if self.time == 2:
            raise KeyError("gearbox")
        return super().step(action)


def spoilt(reward=0.0, observation=0.0):
    """An environment that gives a strange number in its third step."""

    class Spoilt(Steady):
        def step(self, action):
            obs, _, *rest = super().step(action)
            third = self.time == 3
            return obs + observation * third, reward if third else 0.0, *rest

    return Spoilt


class Moves(Steady):
    """Its constructor goes to another folder, as those do that look for their files."""

    def __init__(self):
        os.chdir("/")


class TakesSignals(Steady):
    """Its constructor takes Ctrl-C for itself."""

    def __init__(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class ClosesAfterReset(Steady):
    """Can only be closed where it has been reset."""

    def close(self):
        del self.time


class Exits(Steady):
    """Its constructor ends the process."""

    def __init__(self):
        sys.exit("no licence for this simulator")


class Dies(Steady):
    """Its constructor ends the process without a word to Python."""

    def __init__(self):
        print("last words", flush=True)
        os._exit(3)


class Hangs(Steady):
    """Its constructor does not return."""

    def __init__(self):
        time.sleep(600)


class Nameless(Steady):
    """Its constructor raises without a word."""

    def __init__(self):
        assert os.environ.get("NOT_THERE")


class Lacks(Steady):
    """Its constructor needs a package that nobody has."""

    def __init__(self):
        import no_such_package  # noqa: F401


class Once(Steady):
    """A simulator of which a process can have one."""

    made = 0

    def __init__(self):
        Once.made += 1
        if Once.made > 1:
            raise RuntimeError("there is one already")


class Threaded(Steady):
    """Keeps a thread until it is closed, and another one for ever."""

    def __init__(self):
        self.over = threading.Event()
        threading.Thread(target=self.over.wait).start()
        threading.Thread(target=time.sleep, args=(600,)).start()

    def close(self):
        self.over.set()


class NeverCloses(Steady):
    """Does not return from close()."""

    def close(self):
        time.sleep(600)


for _class in (
    Steady, Whole, Wide, OldReset, OldStep, OneNumber, Broken, Moves, TakesSignals,
    ClosesAfterReset, Exits, Dies, Hangs, Nameless, Lacks, Once, Threaded, NeverCloses,
):  # fmt: skip
    gymnasium.register(f"{_class.__name__}-v0", _class)
for _name, _spoilt in {
    "NanReward-v0": spoilt(reward=np.nan), "InfiniteReward-v0": spoilt(reward=np.inf),
    "NanObservation-v0": spoilt(observation=np.nan),
    "LargeObservation-v0": spoilt(observation=1e300),
}.items():  # fmt: skip
    gymnasium.register(_name, _spoilt)
