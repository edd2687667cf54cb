"""The mathematics of the shipped PPO, against plain references."""

import importlib.util
import threading
from types import SimpleNamespace

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bench_algorithm
import shipped
from harness import envs
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def ppo():
    spec = importlib.util.spec_from_file_location("train", ROOT / "agent_space" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_gae_bootstraps_on_truncation_and_not_on_termination(ppo, monkeypatch):
    """Worked by hand with γ = 0.5, λ = 0.5: four environments, three steps."""
    monkeypatch.setattr(ppo, "GAE_LAMBDA", 0.5)
    monkeypatch.setattr(ppo, "HORIZON", 2.0)  # a discount of 0.5
    reward = np.ones((3, 4), np.float32)
    value = np.full((3, 4), 2.0, np.float32)
    next_value = np.full((3, 4), 4.0, np.float32)
    terminated = np.zeros((3, 4), bool)
    truncated = np.zeros((3, 4), bool)
    terminated[1, 1] = True
    truncated[1, 2] = True
    terminated[1, 3] = truncated[1, 3] = True
    # δ = 1 + 0.5·4 − 2 = 1, and 1 − 2 = −1 where terminated; γλ = 0.25.
    expected = [
        [1 + 0.25 * 1.25, 1 + 0.25 * -1, 1 + 0.25 * 1, 1 + 0.25 * -1],
        [1 + 0.25 * 1, -1, 1, -1],
        [1, 1, 1, 1],
    ]
    outcome = SimpleNamespace(reward=reward, terminated=terminated, truncated=truncated)
    advantage = ppo.gae(jnp.asarray(value), jnp.asarray(next_value), outcome)
    np.testing.assert_allclose(advantage, expected, rtol=1e-6)


def test_the_loss_equals_a_numpy_reference(ppo, monkeypatch):
    generator = np.random.default_rng(0)
    net = ppo.ActorCritic(gymnasium.spaces.Box(-1, 1, (2,)))
    env = SimpleNamespace(observation_space=gymnasium.spaces.Box(-9, 9, (3,)))
    params = ppo.init(jax.random.key(0), env, net).params
    obs, action = generator.normal(size=(16, 3)), generator.normal(size=(16, 2))
    advantage, target = generator.normal(size=16), generator.normal(size=16)
    old_log_prob = generator.normal(size=16) * 0.3 - 2.5
    batch = ppo.Batch(*map(jnp.asarray, (obs, action, old_log_prob, advantage, target)))
    monkeypatch.setattr(ppo, "MAX_ADVANTAGE", 1.0)
    loss, metrics = ppo.ppo_loss(params, net, batch, left=0.5)

    mean, _ = map(np.asarray, net.apply(params, batch.obs, 0.5, method=net.policy))
    value = np.asarray(net.apply(params, batch.obs, method=net.value))
    std = np.exp(np.full(2, np.mean(ppo.MOST_LOG_STD)))  # half of the budget is left
    density = np.exp(-((action - mean) ** 2) / (2 * std**2)) / np.sqrt(2 * np.pi * std**2)
    ratio = np.exp(np.log(density).sum(-1) - old_log_prob)
    normal = np.clip((advantage - advantage.mean()) / advantage.std(), -1, 1)
    low, high = 1 - ppo.CLIP_EPSILON, 1 + ppo.CLIP_EPSILON
    surrogate = np.minimum(ratio * normal, np.clip(ratio, low, high) * normal)
    entropy = (0.5 * np.log(2 * np.pi * np.e * std**2)).sum()
    value_loss = 0.5 * ((value - target) ** 2).mean()
    bonus = np.sqrt(ppo.ENTROPY_COEF * ppo.FINAL_ENTROPY_COEF) * entropy
    expected = -surrogate.mean() + ppo.VALUE_COEF * value_loss - bonus
    assert loss == pytest.approx(expected, rel=1e-4)
    assert metrics["losses/clipfrac"] == pytest.approx(np.mean(np.abs(ratio - 1) > high - 1))


def test_running_statistics_equal_those_of_all_samples_at_once(ppo):
    samples = np.random.default_rng(0).normal(3, 5, (300, 4)).astype(np.float32)
    stats = ppo.fresh_statistics((4,))
    for part in np.split(samples, 3):
        stats = ppo.add_samples(stats, jnp.asarray(part))
    np.testing.assert_allclose(stats.mean, samples.mean(0), rtol=1e-3)
    np.testing.assert_allclose(stats.var, samples.var(0), rtol=1e-2)


def test_normalised_samples_come_back_unless_they_were_clipped(ppo):
    samples = np.random.default_rng(1).normal(-200, 30, (500,)).astype(np.float32)
    stats = ppo.add_samples(ppo.fresh_statistics(()), jnp.asarray(samples))
    normal = ppo.normalize(stats, jnp.asarray(samples))
    assert float(normal.mean()) == pytest.approx(0, abs=0.01)
    assert float(normal.std()) == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(ppo.denormalize(stats, normal), samples, rtol=1e-5)
    assert ppo.normalize(stats, jnp.asarray(1e9)) == ppo.MAX_DEVIATIONS


def test_actions_are_scaled_to_the_bounds_and_counted_from_the_first(ppo):
    box = gymnasium.spaces.Box(np.float32([-2, 0]), np.float32([2, 4]))
    scaled = ppo.applied(jnp.asarray([[-1.0, 0.0], [1.0, 1.0]]), box)
    np.testing.assert_array_equal(scaled, [[-2, 2], [2, 4]])
    unit = gymnasium.spaces.Box(-1, 1, (2,))
    np.testing.assert_array_equal(
        ppo.applied(jnp.asarray([0.3, -0.7]), unit), np.float32([0.3, -0.7])
    )
    assert ppo.applied(jnp.asarray(2), gymnasium.spaces.Discrete(4, start=5)) == 7


def test_a_categorical_head_gives_the_probabilities_of_its_logits(ppo):
    logits = np.array([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]], np.float32)
    policy = ppo.Categorical(jnp.asarray(logits))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    action = jnp.asarray([2, 1])
    np.testing.assert_allclose(np.exp(policy.log_prob(action)), probabilities[[0, 1], [2, 1]], 1e-5)
    entropy = -(probabilities * np.log(probabilities)).sum(-1)
    np.testing.assert_allclose(policy.entropy(), entropy, rtol=1e-5)
    assert policy.mode().tolist() == [1, 0]
    draws = ppo.Categorical(jnp.tile(logits[0], (20000, 1))).sample(jax.random.key(0))
    frequencies = np.bincount(np.asarray(draws), minlength=3) / 20000
    np.testing.assert_allclose(frequencies, probabilities[0], atol=0.02)


def test_values_learn_at_a_rate_of_their_own_when_the_policys_has_fallen(ppo):
    """After one step of Adam a parameter has moved by the rate, whatever its gradient."""
    params = {"params": {name: jnp.ones(3) for name in ("actor", "log_std", "critic")}}
    grads = jax.tree.map(lambda x: 0.01 * x, params)
    for policy_rate, value_rate in ((1e-5, ppo.MIN_VALUE_LEARNING_RATE), (2e-3, 2e-3)):
        state = ppo.optimizer(ppo.LEARNING_RATE).init(params)
        updates, _ = ppo.optimizer(jnp.float32(policy_rate)).update(grads, state)
        moved = {name: -float(update[0]) for name, update in updates["params"].items()}
        expected = {"actor": policy_rate, "log_std": policy_rate, "critic": value_rate}
        assert moved == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_the_first_two_rollouts_draw_other_noise_and_equal_seeds_learn_the_same(ppo):
    def begun():
        env = envs.make("InvertedPendulum-v5", 8, seed=0, backend="native")
        update, current = shipped.iteration(ppo, env)
        after = update(current)
        env.close()
        return current[2].action, after[2].action, after[0].params

    first, second, params = begun()
    assert not np.isin(first, second).any()
    jax.tree.map(np.testing.assert_array_equal, begun()[2], params)


class Meeting(shipped.Compiler):
    """Once begun, each program waits for another one to have been called, too."""

    def __init__(self, num_envs):
        super().__init__(num_envs)
        self.begun = False
        self._both = threading.Barrier(2)

    def compile(self, function, *args, devices=None):
        program = super().compile(function, *args, devices=devices)

        def called(*args):
            if self.begun:
                self._both.wait(timeout=60)
            return program(*args)

        called.outputs = program.outputs
        return called


@pytest.mark.slow
def test_a_rollout_is_made_while_the_one_before_is_learned_from(ppo):
    env = envs.make("InvertedPendulum-v5", 8, seed=0, backend="native")
    meeting = Meeting(env.num_envs)
    update, current = shipped.iteration(ppo, env, compiler=meeting)
    meeting.begun = True
    update(update(current))  # else: BrokenBarrierError
    env.close()


def test_learned_noise_stays_between_bounds_that_fall_with_the_budget(ppo):
    box = gymnasium.spaces.Box(-1, 1, (3,))
    env = SimpleNamespace(observation_space=gymnasium.spaces.Box(-9, 9, (3,)))
    net = ppo.ActorCritic(box)
    params = ppo.init(jax.random.key(0), env, net).params["params"]
    obs = jnp.ones((5, 3))

    def noise(log_std, left):
        changed = {"params": {**params, "log_std": log_std}}
        return net.apply(changed, obs, left, method=net.policy).log_std

    learned = jnp.array([0.0, -1.0, -9.0])
    for left in (1.0, 0.5, 0.0):
        low, high = (
            left * first + (1 - left) * last
            for first, last in (ppo.LEAST_LOG_STD, ppo.MOST_LOG_STD)
        )
        np.testing.assert_allclose(noise(learned, left), np.clip(learned, low, high), rtol=1e-6)
        slope = jax.jacobian(noise)(learned, left)
        np.testing.assert_array_equal(slope, np.eye(3))  # beyond the bounds, too


def test_minibatches_that_do_not_divide_a_rollout_are_told_before_anything_is_compiled(
    ppo, monkeypatch
):
    monkeypatch.setattr(ppo, "NUM_MINIBATCHES", 7)
    env = SimpleNamespace(num_envs=8)
    trial = SimpleNamespace(num_envs_hint=8, make_env=lambda num_envs: env)  # it compiles nothing
    with pytest.raises(ValueError, match="128 samples of a rollout make no 7 minibatches"):
        ppo.main(trial)


@pytest.mark.parametrize("name", bench_algorithm.VARIANTS)
def test_every_ingredient_that_is_measured_is_in_the_file(name):
    compile(bench_algorithm.source(name), name, "exec")
    unchanged = bench_algorithm.source(name) == bench_algorithm.FILE.read_text()
    assert unchanged == (name == bench_algorithm.SHIPPED)
