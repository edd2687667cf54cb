"""How much faster the evaluation is than a plain loop, and than Stable-Baselines3's.

    python scripts/bench_evaluation.py [RUN_FOLDER ...]

Evaluates the policies of finished runs (default: all in runs/) in each way over the same seeds. The
loop is what one writes: one environment of `gymnasium.make`, a jitted policy. `evaluate_policy` has
the same policy and environment; it is left out where the library is missing (`make peers`).

The last bits of a policy's actions depend on the batch size, and a long episode makes them large.
So each way is timed as it is used, with a batch of 1, and its returns are compared in a second pass
in which the policy acts in a batch of the harness's size and every episode has a new environment.
"""

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

try:
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy
except ImportError:
    evaluate_policy = None

from harness.confinement import sandbox
from harness.contract import policy
from harness.contract.artifact import Artifact
from harness.evaluate import NUM_EVAL_EPISODES, Actor
from harness.measurement import scoring

EQUAL = 1e-6  # in returns: SB3 rounds them to six decimals


class InBatch:
    """A policy that acts for one environment as the harness's does for one of many.

    Episode i is row i of the batch: rows of a matrix product are equal to the last bit only where
    they are the same row of as many rows.
    """

    def __init__(self, actor: policy.Policy, batch: int) -> None:
        self.actor, self.batch, self.row = actor, batch, -1

    def begin(self, _: int) -> Any:
        """The carry of the whole batch at the start of the next episode."""
        self.row += 1
        return self.actor.begin(self.batch)

    def act(self, carry: Any, obs: np.ndarray) -> tuple[np.ndarray, Any]:
        """The action [1, action] for obs [1, observation], and the next carry."""
        row = slice(self.row, self.row + 1)
        observations = np.zeros((self.batch, obs.shape[1]), np.float32)
        observations[row] = obs
        action, carry = self.actor.act(carry, observations)
        return action[row], carry


def plain_loop(actor: Actor, env: gymnasium.Env, seeds: list[int]) -> list[float]:
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


class Clocked(gymnasium.Wrapper):
    """Counts the seconds inside the simulator: on n cores no way can take less than an n-th."""

    seconds = 0.0

    def reset(self, **options: Any) -> tuple[Any, dict]:
        """As the environment does."""
        return self._count(lambda: self.env.reset(**options))

    def step(self, action: Any) -> Any:
        """As the environment does."""
        return self._count(lambda: self.env.step(action))

    def _count(self, call: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = call()
        self.seconds += time.perf_counter() - begin
        return result


class Fresh(gymnasium.Wrapper):
    """A new environment every episode: Box2D's world keeps traces of the episodes before."""

    def reset(self, **options: Any) -> tuple[Any, dict]:
        """The first observation of a new environment of the same task."""
        self.env.close()
        self.env = gymnasium.make(self.unwrapped.spec.id)
        return self.env.reset(**options)


class Seeded(gymnasium.Wrapper):
    """Every reset has a seed of its own, so that all ways see the same episodes."""

    def __init__(self, env: gymnasium.Env, seeds: list[int]) -> None:
        super().__init__(env)
        self.seeds = itertools.cycle(seeds)  # SB3 resets once more after the last episode

    def reset(self, **_: Any) -> tuple[Any, dict]:
        """The next seed's first observation."""
        return self.env.reset(seed=next(self.seeds))


class Predictor:
    """A policy as `evaluate_policy` wants it, for one environment."""

    def __init__(self, actor: Actor, space: gymnasium.spaces.Box) -> None:
        self.actor, self.space = actor, space

    def predict(self, obs: np.ndarray, state: Any, episode_start: Any, deterministic: bool) -> Any:
        """The action [1, action] within the space, and the carry."""
        del deterministic
        carry = self.actor.begin(1) if episode_start[0] else state
        action, carry = self.actor.act(carry, obs)
        return np.clip(action, self.space.low, self.space.high), carry


def stable_baselines(actor: Actor, single: gymnasium.Env, seeds: list[int]) -> list[float]:
    """Returns of one episode a seed, by Stable-Baselines3's `evaluate_policy`."""
    env = make_vec_env(lambda: single, 1, wrapper_class=Seeded, wrapper_kwargs={"seeds": seeds})
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

    env: gymnasium.Env = gymnasium.make(task_id)
    if not isinstance(env.action_space, gymnasium.spaces.Box):
        print(f"{task_id} {folder.name}: discrete actions, which the loop is not written for")
        return
    actor = policy.load(artifact, env.observation_space, env.action_space)
    actor.act(actor.begin(1), np.zeros((1, *env.observation_space.shape)))  # compiled
    seeds = score.evaluation.seeds
    ways = {"loop": plain_loop}
    if evaluate_policy is not None:
        ways["sb3"] = stable_baselines

    name = f"{task_id} {folder.name}"
    print(f"{name} eval_seconds: {score.evaluation.seconds:.2f}")
    print(f"{name} eval_seconds_with_process: {whole:.2f}")
    print(f"{name} eval_mean_return: {statistics.fmean(score.evaluation.returns):.3f}")
    for way, evaluate in ways.items():
        env = Clocked(gymnasium.make(task_id))
        begin = time.perf_counter()
        returns = evaluate(actor, env, seeds)
        seconds = time.perf_counter() - begin
        if way == "loop":
            print(f"{name} simulator_seconds: {env.seconds:.2f}")
        fresh = Fresh(gymnasium.make(task_id))
        again = evaluate(InBatch(actor, len(seeds)), fresh, seeds)
        apart = np.subtract(again, score.evaluation.returns)
        print(f"{name} {way}_seconds: {seconds:.2f}")
        print(f"{name} {way}_speedup: {seconds / score.evaluation.seconds:.2f}")
        print(f"{name} {way}_speedup_with_process: {seconds / whole:.2f}")
        print(f"{name} {way}_mean_return: {statistics.fmean(returns):.3f}")
        print(f"{name} {way}_equal_episodes: {(np.abs(apart) < EQUAL).sum()} of {len(apart)}")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(str(p.parent) for p in Path().glob("runs/*/policy")):
        compare(Path(name))
