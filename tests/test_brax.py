"""Brax's interface, both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax import envs as brax_envs
from brax.training.agents.ppo import train as brax_ppo

from harness import envs, evaluate, tasks
from harness.contract import policy
from harness.engines import backends
from harness.engines.brax import BraxEngine, MjxBraxEnv
from harness.engines.mjx import MjxEngine
from harness.errors import InputError

NUM_ENVS = 3
TASK = tasks.get("brax:inverted_pendulum")


@pytest.fixture(scope="module")
def pendulum():
    """A Brax environment with episodes of four steps, and its jitted step."""
    engine = BraxEngine(TASK, NUM_ENVS)
    engine.horizon = 4
    env = envs.DeviceEnv(engine, gate=lambda: None)
    return env, jax.jit(env.step)


@pytest.mark.slow
def test_a_brax_environment_steps_as_brax_steps_it(pendulum):
    env, step = pendulum
    state = jax.jit(env.reset)(jax.random.key(0))
    plain = brax_envs.get_environment("inverted_pendulum")
    one = jax.tree.map(lambda x: x[0], state.internal.physics)
    state = step(state, jnp.full((NUM_ENVS, 1), 0.7, jnp.float32))
    one = jax.jit(plain.step)(one, jnp.full(1, 0.7))
    np.testing.assert_allclose(state.next_obs[0], one.obs, rtol=1e-5, atol=1e-6)
    assert state.reward[0] == one.reward


@pytest.mark.slow
def test_a_brax_environment_is_truncated_with_its_true_successor_and_starts_afresh(pendulum):
    env, step = pendulum
    state = jax.jit(env.reset)(jax.random.key(1))
    firsts = [state.obs]
    for i in range(8):
        state = step(state, jnp.zeros((NUM_ENVS, 1), jnp.float32))
        ended = i % 4 == 3
        assert (state.truncated == ended).all()
        assert not state.terminated.any()
        assert bool((state.obs == state.next_obs).all()) != ended
        if ended:
            firsts.append(state.obs)
    rows = np.concatenate(firsts)
    assert len(np.unique(rows, axis=0)) == len(rows)  # Brax's own wrapper replays one first state
    assert step._cache_size() == 1


@pytest.mark.slow
def test_a_brax_environment_that_falls_is_terminated(pendulum):
    env, step = pendulum
    state = jax.jit(env.reset)(jax.random.key(1))
    for _ in range(4):
        state = step(state, jnp.full((NUM_ENVS, 1), 1.0, jnp.float32))
        if state.terminated.any():
            break
    assert state.terminated.any()
    reached = np.abs(np.asarray(state.next_obs[:, 1])) > 0.2  # radians, where Brax says done
    np.testing.assert_array_equal(state.terminated, reached)


@pytest.mark.slow
def test_a_policy_is_scored_in_the_environments_own_simulator():
    assert backends.scoring_engine(TASK) == "brax"
    observation_space, action_space = backends.spaces(TASK, "brax")

    def act(params, obs):
        return obs[:, :1] * params

    program = policy.export(act, jnp.ones(1), None, observation_space)
    artifact = policy.Artifact(program, policy.pack(jnp.ones(1), None))
    actor = policy.load(artifact, observation_space, action_space)
    seeds = [3, 1, 4, 1]
    first = evaluate.evaluate(actor, TASK.id, seeds)
    assert first.returns[1] == first.returns[3]
    assert len(set(first.returns)) > 1
    assert first.returns == [float(length) for length in first.lengths]  # one a step
    assert evaluate.evaluate(actor, TASK.id, seeds).returns == first.returns


@pytest.mark.parametrize("task_id", ["brax:no_such", "playground:NoSuch"])
def test_an_unknown_name_lists_the_known_ones(task_id):
    with pytest.raises(InputError, match=r"Unknown task.*(ant|CheetahRun)"):
        backends.spaces(tasks.get(task_id), "brax")


@pytest.mark.slow
def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"brax is not installed.*\[brax\]"):
        backends.resolve(TASK)


@pytest.mark.slow
def test_a_playground_environment_is_a_task():
    env = envs.make("playground:CartpoleBalance", NUM_ENVS, seed=0)
    state = jax.jit(env.reset)(jax.random.key(0))
    step = jax.jit(env.step)
    for _ in range(2):
        state = step(state, jnp.full((NUM_ENVS, 1), 0.5, jnp.float32))
    assert state.obs.shape == (NUM_ENVS, 5)
    assert (state.reward > 0).all()
    assert step._cache_size() == 1


@pytest.mark.slow
def test_braxs_own_ppo_trains_on_an_mjx_task(monkeypatch):
    def replicated(tree, devices):
        """Brax 0.14 calls this function, which JAX 0.10 has not any more."""
        return jax.tree.map(lambda x: jnp.stack([x] * len(devices)), tree)

    monkeypatch.setattr(jax, "device_put_replicated", replicated, raising=False)
    env = MjxBraxEnv(MjxEngine(tasks.get("InvertedPendulum-v5"), num_envs=1))
    seen = []
    brax_ppo.train(
        environment=env,
        num_timesteps=256,
        episode_length=100,
        num_envs=8,
        num_eval_envs=8,
        batch_size=8,
        num_minibatches=1,
        unroll_length=8,
        num_evals=2,
        progress_fn=lambda step, metrics: seen.append((step, metrics["eval/episode_reward"])),
    )
    assert seen[-1][0] >= 256
    assert all(np.isfinite(reward) and reward > 0 for _, reward in seen)
