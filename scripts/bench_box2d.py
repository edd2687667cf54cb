"""EnvPool's walkers against Gymnasium's, by the score of one policy in both.

    python scripts/bench_box2d.py RUN_FOLDER [--hardcore]

Plays the policy of a finished BipedalWalker run for 200 episodes in each, and prints means of
return and length with their standard errors, and the difference in units of its standard error.
"""

import argparse
from pathlib import Path

import envpool
import gymnasium
import numpy as np

from harness.contract import policy
from harness.contract.artifact import Artifact
from harness.engines.engine import available_cpus
from harness.evaluate import evaluate

EPISODES = 200


def play_envpool(actor: policy.Policy, task_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths of the first episodes of 200 environments."""
    envs = envpool.make_gymnasium(
        task_id, num_envs=EPISODES, num_threads=available_cpus(), seed=12345
    )
    returns, lengths = np.zeros(EPISODES), np.zeros(EPISODES, int)
    running = np.ones(EPISODES, bool)
    obs, carry = envs.reset()[0], actor.begin(EPISODES)
    while running.any():
        action, carry = actor.act(carry, obs)
        obs, reward, terminated, truncated, _ = envs.step(np.clip(action, -1, 1))
        returns += np.where(running, reward, 0)
        lengths += running
        running &= ~(terminated | truncated)
    return returns, lengths


def main() -> None:
    """Print the comparison as a Markdown table row a quantity."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("--hardcore", action="store_true", help="play BipedalWalkerHardcore-v3")
    arguments = parser.parse_args()
    task_id = "BipedalWalkerHardcore-v3" if arguments.hardcore else "BipedalWalker-v3"
    env = gymnasium.make(task_id)
    actor = policy.load(
        Artifact.load(arguments.run_folder / "policy"), env.observation_space, env.action_space
    )
    reference = evaluate(actor, task_id, list(range(EPISODES)))
    returns, lengths = play_envpool(actor, task_id)
    rows = (("return", returns, reference.returns), ("length", lengths, reference.lengths))
    for name, ours, theirs in rows:
        means = np.mean(ours), np.mean(theirs)
        errors = [np.std(x, ddof=1) / EPISODES**0.5 for x in (ours, theirs)]
        apart = abs(means[0] - means[1]) / np.hypot(*errors)
        print(
            f"| {task_id} | {name} | {means[0]:.1f} ± {errors[0]:.1f} | "
            f"{means[1]:.1f} ± {errors[1]:.1f} | {apart:.2f} |"
        )


if __name__ == "__main__":
    main()
