"""How much faster the evaluation is than a plain loop over `gymnasium.make`.

    python scripts/bench_evaluation.py [RUN_FOLDER ...]

Evaluates the policies of finished runs (default: all in runs/) both ways over the same seeds, and
compares the returns, too. The loop is what one writes: one environment, a jitted policy.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np

from harness import policy, sandbox, scoring
from harness.artifact import Artifact
from harness.evaluate import NUM_EVAL_EPISODES


def plain_loop(actor: policy.Policy, env: gymnasium.Env, seeds: list[int]) -> list[float]:
    """Returns of one episode a seed, one environment, one observation at a time."""
    low, high = env.action_space.low, env.action_space.high
    returns = []
    for seed in seeds:
        obs, _ = env.reset(seed=seed)
        carry, total, ended = actor.begin(1), 0.0, False
        while not ended:
            action, carry = actor.act(carry, obs[None])
            obs, reward, terminated, truncated, _ = env.step(np.clip(action[0], low, high))
            total += float(reward)
            ended = terminated or truncated
        returns.append(total)
    return returns


def compare(folder: Path) -> None:
    """Print the figures of one run folder."""
    task_id = json.loads((folder / "summary.json").read_text())["task"]
    artifact = Artifact.load(folder / "policy")
    place = scoring.Place(Path.cwd(), sandbox.available())
    begin = time.perf_counter()
    score = scoring.score(artifact, task_id, NUM_EVAL_EPISODES, place)
    whole = time.perf_counter() - begin

    env = gymnasium.make(task_id)
    actor = policy.load(artifact, env.observation_space, env.action_space)
    actor.act(actor.begin(1), np.zeros((1, *env.observation_space.shape)))  # compiled
    begin = time.perf_counter()
    returns = plain_loop(actor, env, score.evaluation.seeds)
    loop = time.perf_counter() - begin

    print(f"{task_id} {folder.name} loop_seconds: {loop:.2f}")
    print(f"{task_id} {folder.name} eval_seconds: {score.evaluation.seconds:.2f}")
    print(f"{task_id} {folder.name} eval_seconds_with_process: {whole:.2f}")
    print(f"{task_id} {folder.name} speedup: {loop / score.evaluation.seconds:.2f}")
    print(f"{task_id} {folder.name} speedup_with_process: {loop / whole:.2f}")
    ours, theirs = statistics.fmean(score.evaluation.returns), statistics.fmean(returns)
    print(f"{task_id} {folder.name} mean_returns: {ours:.3f} {theirs:.3f}")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(str(p.parent) for p in Path().glob("runs/*/summary.json")):
        compare(Path(name))
