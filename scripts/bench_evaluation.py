"""How much faster the evaluation is than a plain loop, and than Stable-Baselines3's.

    python scripts/bench_evaluation.py [RUN_FOLDER ...]

Evaluates the policies of finished runs (default: all in runs/) in each way over the same seeds, and
compares the returns, too. The loop is what one writes: one environment of `gymnasium.make`, a
jitted policy. `evaluate_policy` gets the same policy and environment; it is left out where the
library is missing (`make peers`).
"""

import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

try:
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy
except ImportError:
    evaluate_policy = None

from harness import policy, sandbox, scoring
from harness.artifact import Artifact
from harness.evaluate import NUM_EVAL_EPISODES

EQUAL = 1e-3  # in returns: SB3 keeps rewards in float32


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


class Seeded(gymnasium.Wrapper):
    """Every reset has a seed of its own, so that all ways see the same episodes."""

    def __init__(self, env: gymnasium.Env, seeds: list[int]) -> None:
        super().__init__(env)
        self.seeds = itertools.cycle(seeds)  # SB3 resets once more after the last episode

    def reset(self, **_: Any) -> tuple[Any, dict]:
        """The next seed's first observation."""
        return self.env.reset(seed=next(self.seeds))


class Predictor:
    """A policy as `evaluate_policy` wants it."""

    def __init__(self, actor: policy.Policy, space: gymnasium.spaces.Box) -> None:
        self.actor, self.space = actor, space

    def predict(self, obs: np.ndarray, state: Any, episode_start: Any, deterministic: bool) -> Any:
        """Actions [N, action] within the space; a policy without a memory."""
        del episode_start, deterministic
        action, _ = self.actor.act(self.actor.begin(len(obs)), obs)
        return np.clip(action, self.space.low, self.space.high), state


def stable_baselines(actor: policy.Policy, task_id: str, seeds: list[int]) -> list[float]:
    """Returns of one episode a seed, by Stable-Baselines3's `evaluate_policy`."""
    env = make_vec_env(task_id, 1, wrapper_class=Seeded, wrapper_kwargs={"seeds": seeds})
    returns, _ = evaluate_policy(
        Predictor(actor, env.action_space), env, len(seeds), return_episode_rewards=True
    )
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
    seeds = score.evaluation.seeds
    others = {"loop": lambda: plain_loop(actor, env, seeds)}
    if evaluate_policy is not None:
        others["sb3"] = lambda: stable_baselines(actor, task_id, seeds)

    name = f"{task_id} {folder.name}"
    print(f"{name} eval_seconds: {score.evaluation.seconds:.2f}")
    print(f"{name} eval_seconds_with_process: {whole:.2f}")
    print(f"{name} eval_mean_return: {statistics.fmean(score.evaluation.returns):.3f}")
    for other, evaluate in others.items():
        begin = time.perf_counter()
        returns = evaluate()
        seconds = time.perf_counter() - begin
        apart = np.abs(np.subtract(returns, score.evaluation.returns))
        print(f"{name} {other}_seconds: {seconds:.2f}")
        print(f"{name} {other}_speedup: {seconds / score.evaluation.seconds:.2f}")
        print(f"{name} {other}_speedup_with_process: {seconds / whole:.2f}")
        print(f"{name} {other}_mean_return: {statistics.fmean(returns):.3f}")
        print(f"{name} {other}_equal_episodes: {(apart < EQUAL).sum()} of {len(returns)}")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(str(p.parent) for p in Path().glob("runs/*/summary.json")):
        compare(Path(name))
