"""Returns of uniformly random actions, the lower anchors of `harness/tasks/anchors.py`.

python scripts/measure_anchors.py [TASK ...]    # all tasks where none is named
"""

import sys

import numpy as np

from harness import tasks
from harness.engines import backends
from harness.evaluate import NUM_EVAL_EPISODES, evaluate


class RandomActor:
    """Acts uniformly within the bounds of an action space."""

    def __init__(self, task: tasks.Task) -> None:
        _, self.space = backends.spaces(task, backends.scoring_engine(task))
        self.generator = np.random.default_rng(0)

    def begin(self, batch: int) -> None:
        """No memory."""

    def act(self, carry: None, obs: np.ndarray) -> tuple[np.ndarray, None]:
        """One random action an environment."""
        shape = (len(obs), *self.space.shape)
        actions = self.generator.uniform(self.space.low, self.space.high, shape)
        return actions.astype(np.float32), None


if __name__ == "__main__":
    for task in map(tasks.get, sys.argv[1:] or tasks.TASKS):
        result = evaluate(RandomActor(task), task.id, list(range(NUM_EVAL_EPISODES)))
        error = np.std(result.returns, ddof=1) / len(result.returns) ** 0.5
        print(f'    "{task.id}": {np.mean(result.returns):.1f},  # ± {error:.1f}')
