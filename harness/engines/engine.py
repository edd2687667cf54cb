"""What a host engine does: step N environments of one task, first episode to last."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Protocol

import gymnasium
import numpy as np


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
