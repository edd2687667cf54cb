"""The native engine is Gymnasium, to the last bit."""

import gymnasium
import numpy as np
import pytest

from harness import tasks
from harness.engines.native import NativeEngine, spaces

MUJOCO = [task for task in tasks.TASKS.values() if isinstance(task, tasks.MujocoTask)]
NUM_ENVS = 4
STEPS = 500


@pytest.fixture(params=MUJOCO, ids=lambda task: task.id)
def task(request):
    return request.param


def gymnasium_envs(task, seeds):
    """Gymnasium's own environments and their first observations."""
    envs = [gymnasium.make(task.id) for _ in seeds]
    return envs, np.array([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)])


def test_spaces_are_gymnasiums(task):
    env = gymnasium.make(task.id)
    assert spaces(task) == (env.observation_space, env.action_space)
    assert env.spec.max_episode_steps == task.horizon


def test_twenty_seeded_resets_are_equal(task):
    seeds = list(range(1000, 1020))
    _, expected = gymnasium_envs(task, seeds)
    engine = NativeEngine(task, len(seeds), seed=0)
    np.testing.assert_array_equal(engine.reset(seeds), expected)


@pytest.mark.slow
def test_random_steps_are_equal_through_auto_resets(task):
    seeds = [7, 8, 9, 10]
    envs, expected = gymnasium_envs(task, seeds)
    engine = NativeEngine(task, NUM_ENVS, seed=0)
    obs = engine.reset(seeds)
    generator = np.random.default_rng(0)
    space = engine.action_space
    for _ in range(STEPS):
        np.testing.assert_array_equal(obs, expected)
        actions = generator.uniform(space.low, space.high, (NUM_ENVS, *space.shape))
        step = engine.step(actions.astype(np.float32))
        obs = step.obs
        for i, env in enumerate(envs):
            after = env.step(actions[i].astype(np.float32))
            np.testing.assert_array_equal(step.next_obs[i], after[0])
            assert step.next_obs.dtype == after[0].dtype
            assert (step.reward[i], step.terminated[i], step.truncated[i]) == after[1:4]
            expected[i] = env.reset()[0] if after[2] or after[3] else after[0]


def test_an_environment_whose_first_episode_ended_stays_as_it_is_without_autoreset():
    class Short(type(tasks.get("HalfCheetah-v5"))):
        horizon = 3

    engine = NativeEngine(Short(), 2, seed=0, autoreset=False)
    engine.reset([1, 2])
    actions = np.full((2, 6), 0.5, np.float32)
    steps = [engine.step(actions) for _ in range(5)]
    assert [step.truncated.tolist() for step in steps] == [[False] * 2] * 2 + [[True] * 2] + [
        [False] * 2
    ] * 2
    np.testing.assert_array_equal(steps[4].obs, steps[2].next_obs)
    assert (steps[4].reward == 0).all()
