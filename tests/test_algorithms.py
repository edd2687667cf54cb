"""The files of `algorithms/`: each trains and is scored; their mathematics, against references."""

import importlib.util
from types import SimpleNamespace

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import ROOT, summary_block

FOLDER = ROOT / "algorithms"
FILES = sorted(path.stem for path in FOLDER.glob("*.py"))


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reppo():
    return load("reppo")


@pytest.fixture(scope="module")
def sac():
    return load("sac")


@pytest.fixture(scope="module")
def recurrent():
    return load("recurrent_ppo")


def outcome(terminated, truncated, reward=None):
    """As much of an `EnvState` as is learned from."""
    return SimpleNamespace(
        terminated=jnp.asarray(terminated), truncated=jnp.asarray(truncated), reward=reward
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_file_learns_to_balance_a_pole(name, harness_run):
    """Random actions keep it up for some five steps."""
    run = harness_run(
        "--task", "InvertedPendulum-v5", "--budget", "15", "--episodes", "10", "--seed", "1",
        "--train", FOLDER / f"{name}.py",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert float(summary_block(run.stdout)["avg_return"]) > 20


@pytest.mark.parametrize("name", ["reppo", "sac", "plain_ppo"])
def test_files_for_box_actions_say_so(name):
    env = SimpleNamespace(num_envs=8, action_space=SimpleNamespace(shape=()))
    task = SimpleNamespace(id="CartPole-v1")
    trial = SimpleNamespace(num_envs_hint=8, make_env=lambda num_envs: env, task=task)
    with pytest.raises(SystemExit, match="CartPole-v1 has discrete actions"):
        load(name).main(trial)


def test_a_squashed_gaussian_has_the_density_of_its_samples(reppo, sac):
    """The density of tanh(x) by the change of variables, in double precision."""
    mean, log_std = np.array([[0.3, -2.0]]), np.array([[-0.5, 0.2]])
    for module in (reppo, sac):
        policy = module.Squashed(jnp.asarray(mean), jnp.asarray(log_std))
        keys = jax.random.split(jax.random.key(0), 200)
        action, found = jax.vmap(policy.sample)(keys)
        action = np.asarray(action, np.float64)
        near = (np.abs(action) < 0.999).all(-1)
        raw = np.arctanh(action[near])
        std = np.exp(log_std)
        density = np.exp(-0.5 * ((raw - mean) / std) ** 2) / np.sqrt(2 * np.pi) / std
        expected = np.log(density / (1 - action[near] ** 2)).sum(-1)
        assert near.sum() > 100
        np.testing.assert_allclose(np.asarray(found)[near], expected, rtol=1e-2, atol=1e-2)


def test_the_divergence_of_two_policies_is_that_of_their_samples(reppo):
    one = reppo.Squashed(jnp.array([0.1, 0.5]), jnp.array([-0.5, -1.0]))
    other = reppo.Squashed(jnp.array([0.3, 0.4]), jnp.array([-0.7, -0.8]))
    noise = np.random.default_rng(0).normal(size=(400_000, 2))
    raw = np.asarray(one.mean) + np.exp(np.asarray(one.log_std)) * noise

    def log_density(policy):
        z = (raw - np.asarray(policy.mean)) / np.exp(np.asarray(policy.log_std))
        return (-0.5 * z**2 - np.asarray(policy.log_std)).sum(-1)

    assert one.kl(other) == pytest.approx((log_density(one) - log_density(other)).mean(), rel=0.02)


@pytest.mark.parametrize("name", ["reppo", "sac"])
def test_a_value_is_what_its_code_says(name):
    module = load(name)
    values = jnp.linspace(-0.9, 0.9, 7) * module.MAX_VALUE
    code = module.coded(values)
    middles = np.linspace(-module.MAX_VALUE, module.MAX_VALUE, module.NUM_BINS)
    np.testing.assert_allclose(code.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(code @ middles, values, atol=1e-3)
    beyond = module.coded(jnp.array(100.0))
    assert beyond.argmax() == module.NUM_BINS - 1


def test_new_networks_say_zero_and_act_in_the_middle(reppo, sac):
    obs, action = jnp.ones((7, 3)), 0.5 * jnp.ones((7, 2))
    net = reppo.Networks(2)
    params = net.init(jax.random.key(0), obs, action, method=net.everything)
    value = net.apply(params, obs, action, method=net.value)
    np.testing.assert_allclose(value, 0, atol=0.05 * reppo.MAX_VALUE)
    assert np.abs(net.apply(params, obs, method=net.policy).mode()).max() < 0.1
    critic, actor = sac.Critic(16), sac.Actor(16, 2)
    value = sac.expected(critic.apply(critic.init(jax.random.key(0), obs, action), obs, action))
    np.testing.assert_allclose(value, 0, atol=0.05 * sac.MAX_VALUE)
    assert np.abs(actor.apply(actor.init(jax.random.key(0), obs), obs).mode()).max() < 0.1


def test_targets_of_reppo_are_lambda_returns_that_end_where_episodes_do(reppo, monkeypatch):
    """Against the definition, one environment after the other and backwards."""
    generator = np.random.default_rng(0)
    shape = 6, 5
    reward, bonus, value = (generator.normal(size=shape).astype(np.float32) for _ in range(3))
    terminated, truncated = generator.random(shape) < 0.2, generator.random(shape) < 0.2
    monkeypatch.setattr(reppo, "TD_LAMBDA", 0.8)
    monkeypatch.setattr(reppo, "HORIZON", 10.0)
    found = reppo.targets(*map(jnp.asarray, (reward, bonus, value)), outcome(terminated, truncated))
    for env in range(shape[1]):
        later = None
        for t in reversed(range(shape[0])):
            cut = later is None or truncated[t, env]
            ahead = value[t, env] if cut else 0.2 * value[t, env] + 0.8 * later
            ahead = 0 if terminated[t, env] else 0.9 * (bonus[t, env] + ahead)
            later = reward[t, env] + ahead
            assert found[t, env] == pytest.approx(later, rel=1e-4, abs=1e-5)


def test_the_buffer_of_sac_keeps_the_last_steps_and_draws_from_no_other(sac):
    one = sac.Transition(*(jnp.zeros((2, 1)),) * 2, jnp.zeros(2), jnp.zeros((2, 1)), jnp.zeros(2))
    empty = jax.tree.map(lambda x: jnp.zeros((3, *x.shape)), one)
    buffer = sac.Buffer(empty, jnp.int32(0))
    for i in range(1, 6):
        buffer = buffer.add(jax.tree.map(lambda x: x + i, one))  # noqa: B023
        drawn = buffer.sample(jax.random.key(i), 500)
        assert set(drawn.reward.tolist()) == set(range(max(1, i - 2), i + 1))


def test_the_scale_of_sac_fits_returns_into_the_bins(sac):
    generator = np.random.default_rng(0)
    scale = sac.Scale(jnp.zeros(4), sac.fresh_statistics(()), jnp.asarray(1e-4))
    running, seen = np.zeros(4), []
    for _ in range(50):
        reward = generator.normal(10, 5, 4).astype(np.float32)
        ended = generator.random(4) < 0.1
        scale = scale.add(outcome(ended, np.zeros(4, bool), jnp.asarray(reward)))
        running = running * (1 - 1 / sac.HORIZON) + reward
        seen.append(running.copy())
        running[ended] = 0
    assert scale.largest == pytest.approx(np.abs(seen).max(), rel=1e-4)
    assert scale.stats.var == pytest.approx(np.var(seen), rel=1e-3)
    wide, narrow = (scale._replace(largest=jnp.asarray(x)) for x in (1.0, 1e4))
    assert wide.divisor() == pytest.approx(np.std(seen), rel=1e-3)
    assert narrow.divisor() == pytest.approx(1e4 / sac.MAX_VALUE)


def test_targets_of_sac_bootstrap_on_the_lower_value_unless_terminated(sac):
    """The loss is least, the code's own entropy, where the critics say what is expected of them."""
    generator = np.random.default_rng(0)
    env = SimpleNamespace(
        num_envs=4, devices=jax.devices("cpu"), observation_space=SimpleNamespace(shape=(3,)),
        action_space=SimpleNamespace(shape=(2,)),
    )  # fmt: skip
    net = sac.setup(env)
    state = sac.init(jax.random.key(0), env, net).replace(log_temperature=jnp.log(0.1))
    state = state.replace(target=jax.tree.map(lambda x: x + 0.1, state.target))
    batch = sac.Transition(
        *(jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in ((6, 3), (6, 2), 6)),
        jnp.asarray(generator.normal(size=(6, 3)), jnp.float32),
        jnp.arange(6) % 2 == 0,
    )
    key = jax.random.key(1)
    action, log_prob = net.actor.apply(state.actor, batch.next_obs).sample(key)
    values = sac.expected(net.logits(state.target, batch.next_obs, action))
    soft = np.minimum(*np.asarray(values)) - 0.1 * np.asarray(log_prob)
    discounts = np.array([0, 1, 0, 1, 0, 1]) * (1 - 1 / sac.HORIZON)
    expected = np.asarray(batch.reward) + discounts * soft
    loss, mean = sac.critic_loss(state.critics, state, batch, key, net)
    assert mean == pytest.approx(expected.mean(), rel=1e-4)
    said = jax.nn.log_softmax(net.logits(state.critics, batch.obs, batch.action))
    code = np.asarray(sac.coded(jnp.asarray(expected, jnp.float32)))
    assert loss == pytest.approx(-(code * np.asarray(said)).sum(-1).mean(1).sum(), rel=1e-3)


def test_what_a_recurrent_policy_remembers_goes_on_and_starts_anew_with_an_episode(recurrent):
    """A memory that adds up what it reads shows what was read."""

    def adds(memory, obs):
        return memory + obs, memory.sum(-1)

    obs = jnp.ones((4, 2, 3))
    started = jnp.zeros((4, 2), bool).at[2, 1].set(True)
    memories, before = recurrent.read(adds, jnp.full((2, 3), 10.0), obs, started)
    np.testing.assert_array_equal(before, [[30, 30], [33, 33], [36, 0], [39, 3]])
    np.testing.assert_array_equal(memories[-1], [[14] * 3, [2] * 3])


@pytest.mark.parametrize("space", [gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(3)])
def test_a_recurrent_policy_gives_along_the_way_what_it_gives_step_by_step(recurrent, space):
    generator = np.random.default_rng(0)
    net = recurrent.ActorCritic(space)
    env = SimpleNamespace(observation_space=gymnasium.spaces.Box(-9, 9, (3,)))
    params = recurrent.init(jax.random.key(0), env, net).params
    obs = jnp.asarray(generator.normal(size=(5, 4, 3)), jnp.float32)
    action = jnp.asarray(generator.normal(size=(5, 4, 2)), jnp.float32)
    if not space.shape:
        action = jnp.asarray(generator.integers(0, 3, (5, 4)))
    started = jnp.asarray(generator.random((5, 4)) < 0.3)
    memory = jax.tree.map(lambda x: x + 0.5, recurrent.fresh_memory(4))
    steps = SimpleNamespace(memory=memory, started=started)
    found = recurrent.policies(params, steps, obs, 0.5, net).log_prob(action)
    _, values = recurrent.values(params, steps, obs, net)
    for env_id in range(4):
        actor, critic = memory.actor[env_id], memory.critic[env_id]
        for t in range(5):
            if started[t, env_id]:
                actor, critic = 0 * actor, 0 * critic
            one = obs[t, env_id]
            actor, policy = net.apply(params, actor, one, 0.5, method=net.policy)
            critic, value = net.apply(params, critic, one, method=net.value)
            assert values[t, env_id] == pytest.approx(float(value), abs=1e-4)
            expected = float(policy.log_prob(action[t, env_id]))
            assert found[t, env_id] == pytest.approx(expected, rel=1e-4, abs=1e-4)
