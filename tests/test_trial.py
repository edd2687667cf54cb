"""What a training file is given, where no harness holds the clock."""

import re
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import io_callback

from harness import envs
from harness.contract.order import Assignment
from harness.trial import Trial
from tests.conftest import ROOT

TASK = "InvertedPendulum-v5"


@pytest.fixture
def trial():
    return Trial(Assignment(TASK, "native", 3, 60.0), channel=None)


def first_obs(env):
    return np.asarray(jax.jit(env.reset)(jax.random.key(0)).obs)


def test_two_environments_of_a_trial_begin_other_episodes(trial):
    one, another = trial.make_env(4), trial.make_env(4)
    trial.start()
    begun = first_obs(one)
    assert not np.isin(first_obs(another), begun).any()
    np.testing.assert_array_equal(begun, first_obs(envs.make(TASK, 4, 3, "native")))


def test_a_compiled_function_tells_what_comes_out_and_steps_only_once_the_clock_runs(trial):
    env = trial.make_env(4)
    reset = trial.compile(env.reset, jax.random.key(0), devices=env.devices)
    step = trial.compile(env.step, reset.outputs, jnp.zeros((4, 1)), devices=env.devices)
    assert reset.outputs.obs.shape == step.outputs.next_obs.shape == (4, 4)
    with pytest.raises(Exception, match=r"before trial\.start"):
        reset(jax.random.key(0))
    trial.start()
    state = step(reset(jax.random.key(0)), jnp.ones((4, 1)))
    assert (state.episode_length == 0).all()
    assert (state.reward == 1).all()


def test_a_second_export_is_warned_about_and_a_second_publication_is_not(trial):
    def act(params, obs):
        return obs @ params

    weights = jnp.zeros((4, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trial.publish(act, weights)
        trial.publish(act, weights + 1)
    with pytest.warns(UserWarning, match="define act once"):
        trial.publish(lambda params, obs: obs @ params, weights)


def test_the_guides_program_simulates_and_learns_in_one(trial):
    guide = (ROOT / "docs/algorithm.md").read_text()
    (block,) = re.findall(r"```python\n(def step.*?)```", guide, re.S)
    order = []

    def gradient_step(params, key):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        one = io_callback(lambda: order.append("learned") or np.float32(1), shape)  # in no order
        return params + one, params  # the loss is there before the gradient is

    env = trial.make_env(4)
    reset = trial.compile(env.reset, jax.random.key(0), devices=env.devices)
    params, keys = jnp.float32(0), jax.random.split(jax.random.key(1), 5)
    names = {
        "jax": jax, "partial": partial, "env": env, "trial": trial, "reset": reset,
        "params": params, "keys": keys,
        "optax": optax,
        "explore": lambda params, obs, key: jnp.zeros((4, 1)) + params,
        "gradient_step": gradient_step,
    }  # fmt: skip
    exec(block, names)
    fields = env._fields
    env._fields = lambda step: order.append("received") or fields(step)
    trial.start()
    (state, params), losses = names["run"]((reset(jax.random.key(0)), params), keys)
    assert params == 5
    np.testing.assert_array_equal(losses, range(5))
    assert state.obs.shape == (4, 4)
    assert order == 5 * ["learned", "received"]
