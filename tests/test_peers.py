"""The peers: the policy that is scored is the one that their library would act with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness import envs
from tests.conftest import ROOT, rows, summary_block

LIBRARIES = {
    "sb3_ppo": "stable_baselines3",
    "sbx_sac": "sbx",
    "brax_ppo": "brax",
}

BUDGETS = {"sb3_ppo": 30, "sbx_sac": 30, "brax_ppo": 90}
"""Seconds: an update of SB3's takes several on shared cores; Brax compiles in them."""


def some_observations(space):
    """Typical ones, and some far out."""
    scales = np.geomspace(0.1, 100, 64)[:, None]
    return np.float32(np.random.default_rng(0).normal(size=(64, *space.shape)) * scales)


@pytest.mark.parametrize("task", ["HalfCheetah-v5", "Ant-v5", "Humanoid-v5"])
def test_sb3_policy_acts_as_the_library_predicts(task):
    """ReLU with tuned settings, tanh with the library's, and actions within 0.4."""
    pytest.importorskip("stable_baselines3")
    from peers import sb3_ppo

    model = sb3_ppo.build(task, seed=1)
    model.learn(512)  # so that statistics and weights are no longer the first ones
    obs = some_observations(model.observation_space)
    normalized = model.get_vec_normalize_env().normalize_obs(obs)
    expected, _ = model.predict(normalized, deterministic=True)
    found = sb3_ppo.policy(model)(sb3_ppo.weights(model), obs)
    clipped = np.clip(found, model.action_space.low, model.action_space.high)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(clipped, expected, atol=1e-4)


@pytest.mark.parametrize("task", ["BipedalWalker-v3", "Humanoid-v5"])
def test_sbx_policy_acts_as_the_library_predicts(task):
    pytest.importorskip("sbx")
    from peers import sbx_sac

    model = sbx_sac.build(task, seed=1)
    obs = some_observations(model.observation_space)
    expected, _ = model.predict(obs, deterministic=True)
    found = sbx_sac.policy(model)(sbx_sac.weights(model), obs)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "steps", "cut"), [("HalfCheetah-v5", 1000, 1), ("Hopper-v5", 200, 0)]
)
def test_brax_is_told_how_an_episode_ended(task, steps, cut):
    """A cheetah is cut off by the time limit, a hopper falls."""
    pytest.importorskip("brax")
    from peers import brax_ppo

    env = brax_ppo.Batched(envs.make(task, 1, seed=0))
    action = jnp.ones((1, env.action_size))

    def step(state, _):
        after = env.step(state, action)
        return after, (after.done, after.info)

    state = jax.jit(env.reset)(jnp.zeros((1, 2), jnp.uint32))
    _, (done, info) = jax.jit(lambda state: jax.lax.scan(step, state, length=steps))(state)
    first = int(np.argmax(done))
    assert done[first] == 1
    assert info["truncation"][first] == cut
    assert info["episode_metrics"]["length"][first] == first + 1
    assert not done[:first].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_peer_goes_through_the_same_door(harness_run, checkout, name):
    pytest.importorskip(LIBRARIES[name])
    done = harness_run(
        "--task", "InvertedPendulum-v5", "--train", ROOT / "peers" / f"{name}.py",
        "--backend", "mjx" if name == "brax_ppo" else "native",
        "--budget", BUDGETS[name], "--episodes", 4,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    assert float(block["avg_return"]) > 5
    assert int(block["total_timesteps"]) > 0
    assert rows(checkout)[0].status == "scored"


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_peer_says_that_it_has_no_discrete_actions(harness_run, name):
    pytest.importorskip(LIBRARIES[name])
    done = harness_run(
        "--task", "CartPole-v1", "--train", ROOT / "peers" / f"{name}.py",
        "--budget", 2, "--episodes", 2,
    )  # fmt: skip
    assert done.returncode != 0
    assert "discrete actions" in done.stdout + done.stderr
