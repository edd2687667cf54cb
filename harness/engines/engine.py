"""What a host engine does: step N environments of one task, first episode to last."""

import dataclasses
import os
import traceback
from collections.abc import Sequence
from typing import Protocol

import gymnasium
import numpy as np

from harness.errors import CONFINED_VARIABLE


@dataclasses.dataclass
class Step:
    """The outcome of one step of N environments, in the engine's own precision.

    Attributes:
      obs: [N, observation] to act on next; where an episode ended, the next one's first.
      next_obs: [N, observation] the true successor of the action.
      reward: [N].
      terminated: [N] bool, the task ended the episode.
      truncated: [N] bool, the time limit ended it.
    """

    obs: np.ndarray
    next_obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class HostEngine(Protocol):
    """N environments in host memory, with same-step auto-reset.

    With `autoreset=False` an environment whose episode has ended stays as it is: its reward is
    zero and its flags are down from then on. Evaluation uses it to play first episodes only.
    """

    num_envs: int
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.spaces.Space

    def reset(self, seeds: Sequence[int] | None = None) -> np.ndarray:
        """Start new episodes everywhere.

        Args:
          seeds: one a environment, as for `gymnasium.Env.reset(seed=)`; the engine's own
            generators go on where none are given.

        Returns:
          The first observations, [N, observation].
        """
        ...

    def step(self, actions: np.ndarray) -> Step:
        """Apply actions [N, action], within the action space, to every running episode."""
        ...

    def close(self) -> None:
        """Free threads and processes."""
        ...


def available_cpus() -> int:
    """Processors this process may use (`taskset` and containers counted in)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_dtype(actions: np.ndarray, space: gymnasium.Space) -> np.ndarray:
    """Actions within a space, in its dtype; to the nearest integer where that is one."""
    whole = isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.integer)
    return np.asarray(np.rint(actions) if whole else actions, space.dtype)


CONFINED = (
    ". It runs confined here: an empty home, no network, no display, few variables, no files to "
    "write to but in /tmp. If it works outside, take what it needs from its package, or "
    "give --no-sandbox to harness.run"
)


def reason(error: BaseException) -> str:
    """Why an environment failed: what it raised, where, and what may be behind it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.line]
    place = f" in {frames[-1].name}: {frames[-1].line}" if frames else ""
    text = f"{type(error).__name__}{place}" + (f" ({error})" if str(error) else "")
    if isinstance(error, ImportError):
        text += ". If a package is missing, install it"
    return text + (CONFINED if CONFINED_VARIABLE in os.environ else "")
