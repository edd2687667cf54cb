"""The EnvPool engine: Box2D tasks on a thread pool of C++ environments.

EnvPool's own auto-reset spends a step whose action is ignored (NEXT_STEP). Here the environments
whose episode has ended are reset by hand within the same step, so that no such step exists.
"""

import importlib.util
from collections.abc import Sequence

import numpy as np

from harness.engines.engine import Step, available_cpus
from harness.engines.gymnasium import spaces
from harness.tasks import Box2DTask, Task


def unsupported(task: Task) -> str | None:
    """Why this engine cannot run the task, or None."""
    if not isinstance(task, Box2DTask):
        return f"EnvPool is used for Box2D tasks only, and {task.id} is not one"
    if importlib.util.find_spec("envpool") is None:
        return "EnvPool is not installed (it has wheels for Linux and macOS arm64)"
    return None


__all__ = ["EnvPoolEngine", "spaces", "unsupported"]


class EnvPoolEngine:
    """A `HostEngine` of one EnvPool task. EnvPool takes its seed only when it is built."""

    def __init__(self, task: Task, num_envs: int, seed: int, autoreset: bool = True) -> None:
        if not autoreset:
            raise ValueError("EnvPool cannot replay Gymnasium's seeds: it does not evaluate.")
        import envpool  # noqa: PLC0415  (two seconds that other engines need not pay)

        self.num_envs = num_envs
        self._envs = envpool.make_gymnasium(
            task.id,
            num_envs=num_envs,
            num_threads=min(available_cpus(), num_envs),
            seed=seed % 2**31,  # a C int
        )
        self.observation_space, self.action_space = spaces(task)

    def reset(self, seeds: Sequence[int] | None = None) -> np.ndarray:
        """Start new episodes everywhere; seeds cannot be given."""
        if seeds is not None:
            raise ValueError("EnvPool ignores the seed of a reset; give it at construction.")
        return self._envs.reset()[0]

    def step(self, actions: np.ndarray) -> Step:
        """One environment step; see `HostEngine.step`."""
        next_obs, reward, terminated, truncated, _ = self._envs.step(actions)
        obs = next_obs
        ended = np.flatnonzero(terminated | truncated)
        if ended.size:
            obs = next_obs.copy()
            obs[ended] = self._envs.reset(ended.astype(np.int32))[0]
        return Step(obs, next_obs, reward, terminated, truncated)

    def close(self) -> None:
        """Join EnvPool's threads."""
        self._envs.close()
