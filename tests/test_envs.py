"""The vector environment: auto-reset, flags, statistics and linear state, on every engine."""

import dataclasses
import threading
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from harness import envs, tasks
from harness.engines import backends
from harness.engines.gymnasium import GymnasiumEngine
from harness.engines.native import NativeEngine
from harness.errors import InputError
from harness.tasks import GymnasiumTask
from harness.tasks.half_cheetah import HalfCheetah
from tests.scripted import TERMINATES_AFTER, TRUNCATED_AFTER

ENGINES = [
    ("native", "HalfCheetah-v5"),
    ("envpool", "BipedalWalker-v3"),
    ("gymnasium", "BipedalWalker-v3"),
]
BOX2D = [engine for engine in ENGINES if engine[1] == "BipedalWalker-v3"]
NUM_ENVS = 3


@pytest.fixture
def scripted():
    engine = GymnasiumEngine(GymnasiumTask("tests.scripted:Scripted-v0"), NUM_ENVS, seed=0)
    env = envs.HostEnv(engine, gate=lambda: None)
    yield env
    env.close()


def play(env, steps, action=0.5):
    """States of a jitted scan over `steps` steps, each leaf [steps, N, ...]."""
    actions = jnp.full((steps, env.num_envs, *env.action_space.shape), action)

    def step(state, action):
        state = env.step(state, action)
        return state, state

    first = jax.jit(env.reset)(jax.random.key(0))
    return first, jax.jit(lambda s: jax.lax.scan(step, s, actions))(first)[1]


@pytest.mark.slow
def test_the_last_transition_of_an_episode_has_its_true_successor_and_flags(scripted):
    first, states = play(scripted, TERMINATES_AFTER + TRUNCATED_AFTER + 1)
    np.testing.assert_array_equal(first.obs[0], [0, 0, 0])
    end = TERMINATES_AFTER - 1
    np.testing.assert_array_equal(states.next_obs[end, 0], [0, TERMINATES_AFTER, 0.5])
    np.testing.assert_array_equal(states.obs[end, 0], [1, 0, 0])
    end += TRUNCATED_AFTER
    np.testing.assert_array_equal(states.next_obs[end, 0], [1, TRUNCATED_AFTER, 0.5])
    np.testing.assert_array_equal(states.obs[end, 0], [2, 0, 0])
    assert np.flatnonzero(states.terminated[:, 0]).tolist() == [TERMINATES_AFTER - 1]
    assert np.flatnonzero(states.truncated[:, 0]).tolist() == [end]


def test_no_dummy_step_reaches_the_training(scripted):
    _, states = play(scripted, 40)
    assert (states.next_obs[:, :, 1] > 0).all()  # every successor is the result of an action
    np.testing.assert_array_equal(states.next_obs[:, :, 2], 0.5)  # of the action given
    np.testing.assert_array_equal(states.reward, 10 * states.next_obs[:, :, 1])


@pytest.mark.slow
def test_episode_statistics_belong_to_the_episode_that_just_ended(scripted):
    _, states = play(scripted, TERMINATES_AFTER + TRUNCATED_AFTER)
    returns, lengths = states.episode_return[:, 0], states.episode_length[:, 0]
    assert returns[TERMINATES_AFTER - 1] == 10 + 20 + 30
    assert lengths[TERMINATES_AFTER - 1] == TERMINATES_AFTER
    assert returns[-1] == 10 + 20 + 30 + 40 + 50
    assert lengths[-1] == TRUNCATED_AFTER
    assert np.count_nonzero(returns) == 2


@pytest.mark.slow
def test_native_auto_reset_gives_the_true_successor_and_a_fresh_state():
    class Short(HalfCheetah):
        horizon = 4

        def terminated(self, data):
            return data.qvel[..., 0] > 0.3

    env = envs.HostEnv(NativeEngine(Short(), 8, seed=0), gate=lambda: None)
    _, states = play(env, 60)
    ended = np.asarray(states.terminated | states.truncated)
    assert states.terminated.any()
    assert states.truncated.any()
    np.testing.assert_array_equal(states.obs[~ended], states.next_obs[~ended])
    assert (states.obs[ended] != states.next_obs[ended]).any(axis=-1).all()
    # A successor where the task ended shows the speed that ended it; a first state may not.
    assert (states.next_obs[np.asarray(states.terminated)][:, 8] > 0.3).all()


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "task_id"), ENGINES)
def test_first_states_differ_from_episode_to_episode(backend, task_id):
    env = envs.make(task_id, 2, seed=3, backend=backend)
    firsts = [np.asarray(jax.jit(env.reset)(jax.random.key(0)).obs) for _ in range(3)]
    env.close()
    rows = np.concatenate(firsts)
    assert len(np.unique(rows, axis=0)) == len(rows)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "task_id"), BOX2D)
def test_box2d_episodes_end_without_a_dummy_step(backend, task_id):
    env = envs.make(task_id, 8, seed=1, backend=backend)
    _, states = play(env, 400, action=1.0)
    env.close()
    ended = np.asarray(states.terminated | states.truncated)
    assert ended.sum() > 8
    assert (states.reward[np.asarray(states.terminated)] == -100).all()  # the fall itself
    np.testing.assert_array_equal(states.obs[~ended], states.next_obs[~ended])
    first = np.asarray(states.obs)[ended]
    assert len(np.unique(first, axis=0)) == len(first)  # no cached first state
    assert (np.abs(first[:, 0]) < 0.1).all()  # a hull that stands upright again
    assert (np.abs(np.asarray(states.next_obs)[ended][:, 0]) > np.abs(first[:, 0])).all()
    # The dummy step of NEXT_STEP auto-reset would have a reward of exactly zero.
    after = np.asarray(states.reward)[1:][ended[:-1]]
    assert (after != 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "task_id"), ENGINES)
def test_equal_seeds_give_equal_rollouts(backend, task_id):
    def rollout(seed):
        env = envs.make(task_id, 2, seed=seed, backend=backend)
        _, states = play(env, 20)
        env.close()
        return np.asarray(states.obs)

    np.testing.assert_array_equal(rollout(5), rollout(5))
    assert not np.array_equal(rollout(5), rollout(6))


def test_stepping_an_old_state_raises(scripted):
    first = scripted.reset(jax.random.key(0))
    action = jnp.zeros((NUM_ENVS, 1))
    scripted.step(first, action)
    with pytest.raises(Exception, match="Step the state that the last call returned"):
        jax.block_until_ready(scripted.step(first, action))


def test_a_wrong_action_shape_is_told_when_the_program_is_traced(scripted):
    first = scripted.reset(jax.random.key(0))
    with pytest.raises(ValueError, match=r"shape \(3, 2\); \(3, 1\) is needed"):
        scripted.step(first, jnp.zeros((NUM_ENVS, 2)))


def test_actions_are_clipped_to_the_action_space(scripted):
    _, states = play(scripted, 2, action=7.0)
    np.testing.assert_array_equal(states.next_obs[:, :, 2], 1.0)


def test_the_gate_is_asked_before_every_reset_and_step(scripted):
    def closed():
        raise RuntimeError("not yet")

    first = scripted.reset(jax.random.key(0))
    env = envs.HostEnv(scripted._engine, closed)
    with pytest.raises(Exception, match="not yet"):
        jax.block_until_ready(env.reset(jax.random.key(0)))
    with pytest.raises(Exception, match="not yet"):
        jax.block_until_ready(env.step(first, jnp.zeros((NUM_ENVS, 1))))


class Watched:
    """An engine whose step ends when it is told to."""

    def __init__(self, engine):
        self._engine, self.go_on = engine, threading.Event()

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def step(self, actions):
        if not self.go_on.wait(timeout=20):
            raise TimeoutError("nobody told it to go on")
        return self._engine.step(actions)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "task_id"), [*ENGINES, ("mjx", "InvertedPendulum-v5")])
def test_sent_and_received_is_stepped(backend, task_id):
    def played(advance):
        env = envs.make(task_id, 2, seed=5, backend=backend)
        actions = jnp.full((30, 2, *env.action_space.shape), 0.3)
        first = jax.jit(env.reset)(jax.random.key(0))
        last, _ = jax.jit(partial(jax.lax.scan, partial(advance, env)))(first, actions)
        env.close()
        return dataclasses.replace(last, internal=None)

    stepped = played(lambda env, state, action: (env.step(state, action), None))
    received = played(lambda env, state, action: (env.recv(env.send(state, action)), None))
    jax.tree.map(np.testing.assert_array_equal, received, stepped)


def test_the_program_goes_on_while_what_was_sent_is_simulated(scripted):
    engine = Watched(scripted._engine)
    env = envs.HostEnv(engine, gate=lambda: None)

    def advance(state):
        sent = env.send(state, jnp.zeros((NUM_ENVS, 1)))
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        meanwhile = io_callback(lambda: engine.go_on.set() or np.float32(7), shape, ordered=True)
        return env.recv(sent, meanwhile)

    state = jax.jit(advance)(jax.jit(env.reset)(jax.random.key(0)))
    np.testing.assert_array_equal(state.next_obs[:, 1], 1)  # the first step of an episode


def test_what_is_received_is_computed_after_what_it_waits_for(scripted):
    """XLA may not ask for the outcome, and wait, before the work that was to be done meanwhile."""
    order = []

    def advance(state):
        sent = scripted.send(state, jnp.zeros((NUM_ENVS, 1)))
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        work = io_callback(lambda: order.append("work") or np.float32(0), shape)  # in no order
        return scripted.recv(sent, work)

    fields = scripted._fields
    scripted._fields = lambda step: order.append("received") or fields(step)
    jax.block_until_ready(jax.jit(advance)(jax.jit(scripted.reset)(jax.random.key(0))))
    assert order == ["work", "received"]


def test_what_is_sent_is_received_once_and_its_state_is_used_up(scripted):
    action = jnp.zeros((NUM_ENVS, 1))
    first = scripted.reset(jax.random.key(0))
    sent = scripted.send(first, action)
    for again in (scripted.send, scripted.step):
        with pytest.raises(Exception, match="Step the state that the last call returned"):
            jax.block_until_ready(again(first, action))
    second = scripted.recv(sent)
    with pytest.raises(Exception, match=r"receive once, what the last env\.send returned"):
        jax.block_until_ready(scripted.recv(sent))
    np.testing.assert_array_equal(scripted.step(second, action).next_obs[:, 1], 2)


def test_a_reset_gives_up_what_was_sent(scripted):
    action = jnp.zeros((NUM_ENVS, 1))
    sent = scripted.send(scripted.reset(jax.random.key(0)), action)
    state = scripted.reset(jax.random.key(0))
    with pytest.raises(Exception, match="receive once"):
        jax.block_until_ready(scripted.recv(sent))
    np.testing.assert_array_equal(scripted.step(state, action).next_obs[:, 1], 1)


def test_an_engine_that_fails_is_told_where_its_outcome_is_asked_for(scripted):
    def fail(actions):
        raise RuntimeError("the knee broke")

    sent_state = scripted.reset(jax.random.key(0))
    scripted._engine.step = fail
    action = jnp.zeros((NUM_ENVS, 1))
    sent = jax.block_until_ready(scripted.send(sent_state, action))
    with pytest.raises(Exception, match="the knee broke"):
        jax.block_until_ready(scripted.recv(sent))
    with pytest.raises(Exception, match="receive once"):
        jax.block_until_ready(scripted.recv(sent))


def test_a_reset_does_not_hide_that_what_was_sent_has_failed(scripted):
    def fail(actions):
        raise RuntimeError("the knee broke")

    state = scripted.reset(jax.random.key(0))
    scripted._engine.step = fail
    jax.block_until_ready(scripted.send(state, jnp.zeros((NUM_ENVS, 1))))
    with pytest.raises(Exception, match="the knee broke"):
        jax.block_until_ready(scripted.reset(jax.random.key(0)))


def test_light_models_get_more_environments_and_a_task_is_not_asked_its_name():
    def hint(task_id, backend="native"):
        return backends.num_envs(tasks.get(task_id), backend, accelerator=False, devices=1)

    assert hint("HalfCheetah-v5") == hint("Walker2d-v5") == hint("InvertedPendulum-v5") == 256
    assert hint("Ant-v5") == hint("Humanoid-v5") == hint("BipedalWalker-v3", "envpool") == 128
    assert backends.num_envs(tasks.get("Hopper-v5"), "native", accelerator=False, devices=3) == 258


def test_an_impossible_backend_names_the_possible_ones():
    with pytest.raises(InputError, match=r"not a MuJoCo task.*envpool, gymnasium"):
        backends.resolve(tasks.get("BipedalWalker-v3"), "native")
    with pytest.raises(InputError, match="Unknown backend 'cuda'"):
        backends.resolve(tasks.get("BipedalWalker-v3"), "cuda")
    with pytest.raises(InputError, match="at least 1"):
        envs.make("HalfCheetah-v5", 0, seed=0)
