"""Returns to compare a score with.

`RANDOM` is measured: the mean over 100 episodes of uniformly random actions, by
`scripts/measure_anchors.py`. `AUTORL` is published: autoRL's best after its experiments of twelve
minutes each, on a CPU for BipedalWalker and on an H100 for the others. The threshold at which a
task counts as solved is the one that Gymnasium registers.
"""

import gymnasium

RANDOM: dict[str, float] = {}

AUTORL = {
    "Ant-v5": 1113.0,
    "BipedalWalker-v3": 296.6,
    "HalfCheetah-v5": 6117.0,
    "Hopper-v5": 3613.0,
    "Walker2d-v5": 5026.0,
}


def solved(task_id: str) -> float | None:
    """Gymnasium's `reward_threshold`, or None where it has none."""
    spec = gymnasium.registry.get(task_id)
    return spec.reward_threshold if spec else None
