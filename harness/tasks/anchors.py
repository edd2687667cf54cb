"""Returns to compare a score with.

`RANDOM` is measured: the mean over 100 episodes of uniformly random actions, by
`scripts/measure_anchors.py`. `AUTORL` is published: autoRL's best after its experiments of twelve
minutes each, on a CPU for BipedalWalker and on an H100 for the others. `SHIPPED` is measured, and
`docs/evidence/shipped_file.md` says how. The threshold at which a task counts as solved is the one
that Gymnasium registers.
"""

import gymnasium

RANDOM = {
    "Ant-v5": -50.5,  # ± 9.5
    "HalfCheetah-v5": -284.9,  # ± 9.0
    "Hopper-v5": 15.4,  # ± 1.4
    "Humanoid-v5": 112.4,  # ± 3.3
    "HumanoidStandup-v5": 33494.4,  # ± 216.3
    "InvertedDoublePendulum-v5": 44.5,  # ± 1.8
    "InvertedPendulum-v5": 4.4,  # ± 0.3
    "Pusher-v5": -148.5,  # ± 0.8
    "Reacher-v5": -43.4,  # ± 0.4
    "Swimmer-v5": 1.8,  # ± 1.0
    "Walker2d-v5": 0.9,  # ± 0.6
    "BipedalWalker-v3": -100.9,  # ± 1.7
    "BipedalWalkerHardcore-v3": -108.6,  # ± 1.1
}

AUTORL = {
    "Ant-v5": 1113.0,
    "BipedalWalker-v3": 296.6,
    "HalfCheetah-v5": 6117.0,
    "Hopper-v5": 3613.0,
    "Walker2d-v5": 5026.0,
}

SHIPPED: dict[str, dict[float, tuple[float, ...]]] = {
    "Ant-v5": {720.0: (5079.0, 5393.0, 5531.0)},
    "BipedalWalker-v3": {240.0: (300.0, 295.0, 92.0, 313.0, 294.0), 720.0: (317.0, 317.0, 304.0)},
    "HalfCheetah-v5": {720.0: (9962.0, 9837.0, 7202.0)},
    "Hopper-v5": {720.0: (3694.0, 3638.0, 3149.0)},
    "Humanoid-v5": {720.0: (6265.0,)},
    "Walker2d-v5": {720.0: (6683.0, 5143.0, 4630.0)},
}
"""Scores of `agent_space/train.py`, a run each, by task and training seconds."""

SHIPPED_ON = "two cores of an Intel Xeon, before it learned while it simulates"
"""The machine of all of them, and the version of the file."""


def usual(task_id: str, budget: float) -> tuple[float, tuple[float, ...]] | None:
    """What the shipped file usually scores.

    Args:
      task_id: of the task.
      budget: seconds of training.

    Returns:
      Seconds and scores: those of this budget, or else of the next longer one that was measured;
      None where neither is known.
    """
    known = SHIPPED.get(task_id, {})
    longer = [seconds for seconds in known if seconds >= budget]
    return (min(longer), known[min(longer)]) if longer else None


def solved(task_id: str) -> float | None:
    """Gymnasium's `reward_threshold`, or None where it has none."""
    spec = gymnasium.registry.get(task_id)
    return spec.reward_threshold if spec else None
