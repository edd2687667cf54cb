"""The score is that of a plain Gymnasium loop, on seeds that nobody could know."""

from pathlib import Path

import gymnasium
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from harness import experiment, policy, sandbox, scoring, tasks
from harness.artifact import Artifact
from harness.errors import PolicyError
from harness.evaluate import episode_seeds, evaluate
from tests.conftest import TRAIN_FILES

TASKS = [*tasks.TASKS, "CartPole-v1", "Pendulum-v1"]
EPISODES = 4
HERE = scoring.Place(Path(__file__).parent, sandbox.available())
TRAINED = Path(__file__).parent / "trained"
"""Policies that `python -m harness.run` left, a folder a task."""


def mlp_artifact(task_id, seed=0):
    """A random two-layer policy."""
    env = gymnasium.make(task_id)
    generator = np.random.default_rng(seed)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    outputs = env.action_space.n if discrete else env.action_space.shape[0]
    sizes = (env.observation_space.shape[0], 32, outputs)
    params = [
        generator.normal(size=shape).astype(np.float32) / np.sqrt(shape[0])
        for shape in zip(sizes, sizes[1:], strict=False)
    ]

    def act(params, obs):
        out = jnp.tanh(obs @ params[0]) @ params[1]
        return out.argmax(-1) if discrete else out

    return Artifact(
        policy.export(act, params, None, env.observation_space), policy.pack(params, None)
    )


def gymnasium_lockstep(actor, task_id, seeds):
    """Returns and lengths of a plain loop over `gymnasium.make`, at the same batch size."""
    envs = [gymnasium.make(task_id) for _ in seeds]
    obs = np.array([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)])
    returns, lengths, running = [0.0] * len(seeds), [0] * len(seeds), [True] * len(seeds)
    space, carry = envs[0].action_space, actor.begin(len(seeds))
    while any(running):
        actions, carry = actor.act(carry, obs)
        if isinstance(space, gymnasium.spaces.Box):
            actions = np.clip(actions, space.low, space.high)
        for i, env in enumerate(envs):
            if running[i]:
                obs[i], reward, terminated, truncated, _ = env.step(actions[i])
                returns[i] += float(reward)
                lengths[i] += 1
                running[i] = not (terminated or truncated)
    return returns, lengths


@pytest.mark.parametrize("task_id", TASKS)
def test_returns_equal_a_plain_gymnasium_loop_to_the_last_bit(task_id):
    env = gymnasium.make(task_id)
    actor = policy.load(mlp_artifact(task_id), env.observation_space, env.action_space)
    seeds = list(range(50, 50 + EPISODES))
    result = evaluate(actor, task_id, seeds)
    assert (result.returns, result.lengths) == gymnasium_lockstep(actor, task_id, seeds)


@pytest.mark.parametrize("folder", sorted(TRAINED.glob("*-v*")), ids=lambda folder: folder.name)
def test_returns_of_a_trained_policy_are_equal_too(folder):
    env = gymnasium.make(folder.name)
    actor = policy.load(Artifact.load(folder), env.observation_space, env.action_space)
    seeds = [1, 2]
    result = evaluate(actor, folder.name, seeds)
    assert (result.returns, result.lengths) == gymnasium_lockstep(actor, folder.name, seeds)
    assert min(result.returns) > 1000 or folder.name.startswith("Bipedal")  # it does move


def test_a_score_comes_from_a_clean_process_and_can_be_repeated_from_its_record():
    artifact = mlp_artifact("HalfCheetah-v5")
    score = scoring.score(artifact, "HalfCheetah-v5", EPISODES, HERE)
    seeds = episode_seeds(artifact.digest, score.nonce, EPISODES)
    assert score.evaluation.seeds == seeds
    env = gymnasium.make("HalfCheetah-v5")
    actor = policy.load(artifact, env.observation_space, env.action_space)
    assert evaluate(actor, "HalfCheetah-v5", seeds).returns == score.evaluation.returns


def test_the_nonce_is_drawn_when_no_process_of_the_training_is_left(monkeypatch, tmp_path):
    """The training leaves a daemon behind that has moved to a session of its own."""
    seen = []
    draw = scoring.secrets.token_hex

    def watched(nbytes):
        if nbytes == scoring.NONCE_BYTES:
            seen.append(psutil.Process().children(recursive=True))
        return draw(nbytes)

    monkeypatch.setattr(scoring.secrets, "token_hex", watched)
    request = experiment.Request(
        root=tmp_path,
        source=(TRAIN_FILES / "leaves_daemon.py").read_bytes(),
        task_id="HalfCheetah-v5",
        backend="native",
        seed=1,
        budget=5.0,
        episodes=2,
        message="",
        confinement=HERE.confinement,
        comparable=False,
    )
    experiment.run(request)
    assert seen == [[]]


def test_a_reward_that_is_no_number_is_told(monkeypatch):
    task_id = "HalfCheetah-v5"
    env = gymnasium.make(task_id)
    actor = policy.load(mlp_artifact(task_id), env.observation_space, env.action_space)
    monkeypatch.setattr(type(tasks.get(task_id)), "reward", lambda *_: np.array([1.0, np.nan]))
    with pytest.raises(PolicyError, match="Episode 1 has a return of nan"):
        evaluate(actor, task_id, [1, 2])


def test_the_seeds_of_an_artifact_change_with_the_nonce_and_with_the_artifact():
    one, other = "ab" * 32, "cd" * 32
    seeds = episode_seeds(one, "00" * 32, 100)
    assert len(set(seeds)) == 100
    assert seeds == episode_seeds(one, "00" * 32, 200)[:100]
    assert set(seeds).isdisjoint(episode_seeds(one, "01" * 32, 100))
    assert set(seeds).isdisjoint(episode_seeds(other, "00" * 32, 100))


def test_a_policy_that_never_returns_uses_up_its_limit(monkeypatch):
    import jax

    def endless(params, obs):
        return obs[:, :6] * jax.lax.while_loop(lambda x: x > 0, lambda x: x + 1, params)

    env = gymnasium.make("HalfCheetah-v5")
    artifact = Artifact(
        policy.export(endless, np.float32(1), None, env.observation_space),
        policy.pack(np.float32(1), None),
    )
    monkeypatch.setattr(scoring, "EVALUATION_LIMIT", 8.0)
    with pytest.raises(PolicyError, match="did not end within 8 s"):
        scoring.score(artifact, "HalfCheetah-v5", 2, HERE)
    assert psutil.Process().children(recursive=True) == []
