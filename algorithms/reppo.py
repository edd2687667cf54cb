"""REPPO in one file: on-policy, with a Q-function whose gradient tells the policy where to go.

As in PPO, a policy acts, and what it did is learned from and forgotten. PPO learns a value of
states, and makes actions likelier that did better than it; this learns a value of actions, and
moves actions uphill on it, so that a sample tells more where there are many joints. It costs some
three times PPO's gradient steps, and is worth it where simulation is what takes the time. Box
action spaces only. Read from top to bottom: constants, networks, running statistics, rollout,
targets, losses, update, and the loop.

References: REPPO (Voelcker et al. 2025, arXiv 2507.11019), HL-Gauss (Farebrother et al. 2024,
arXiv 2403.03950), TD(lambda) (Sutton 1988), temperatures (Haarnoja et al. 2018, arXiv 1812.05905).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.linen.initializers import constant, orthogonal

from harness.trial import Trial, connect

# ---- Constants: one set for every task; a tuner stays within [low, high] or {…} -----------------

ROLLOUT_STEPS = 16  # {8, 16, 32, 64, 128} time steps of every environment between updates
NUM_MINIBATCHES = 8  # {2, 4, 8, 16, 32} of each epoch
NUM_EPOCHS = 4  # [1, 10] passes over a rollout
HORIZON = 100.0  # [30.0, 1000.0, log] steps ahead that count: the discount is 1 - 1 / HORIZON
TD_LAMBDA = 0.95  # [0.7, 0.99] bias against variance of the targets
HIDDEN = 128  # {64, 128, 256, 512} units of each of two hidden layers
LEARNING_RATE = 1e-3  # [1e-4, 3e-3, log] Adam's
MAX_GRAD_NORM = 0.5  # [0.3, 3.0, log] gradients are scaled down to this norm
NUM_BINS = 101  # {51, 101, 151} that a value's distribution has
MAX_VALUE = 6.0  # standard deviations of all targets at which the bins end
BIN_SPREAD = 0.75  # [0.3, 2.0, log] bins: the standard deviation that a target is given
TARGET_KL = 0.1  # [0.01, 0.3, log] how far an update may take the policy in a state
TARGET_ENTROPY = -0.5  # [-1.5, 0.0] nats a joint; of actions between -1 and 1
INITIAL_TEMPERATURE = 0.001  # [0.0001, 0.1, log] what a nat of entropy is worth, in deviations
INITIAL_PENALTY = 0.01  # [0.001, 0.1, log] what a nat of change costs, likewise
INITIAL_LOG_STD = -0.5  # [-1.5, 0.0] of the action noise, before the tanh
LOG_STD_BOUNDS = -4.0, 1.0  # it stays in between
MAX_DEVIATIONS = 10.0  # standard deviations to which normalized observations are clipped


# ---- Networks: a squashed Gaussian, and a distribution of values for each action ----------------


class Squashed(NamedTuple):
    """A diagonal Gaussian, through a tanh: actions between -1 and 1."""

    mean: jax.Array  # [..., action]
    log_std: jax.Array  # [..., action]

    def sample(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draw actions [..., action], with their log densities [...]; differentiable."""
        noise = jax.random.normal(key, self.mean.shape)
        raw = self.mean + jnp.exp(self.log_std) * noise
        log_density = -0.5 * noise**2 - self.log_std - 0.5 * jnp.log(2 * jnp.pi)
        # log(1 - tanh(raw)²), which is exact where tanh is nearly one.
        log_slope = 2 * (jnp.log(2) - raw - jax.nn.softplus(-2 * raw))
        return jnp.tanh(raw), (log_density - log_slope).sum(-1)

    def kl(self, other: "Squashed") -> jax.Array:
        """The divergence [...] of another one from this one; the tanh changes nothing."""
        ratio = jnp.exp(2 * (self.log_std - other.log_std))
        shift = ((self.mean - other.mean) * jnp.exp(-other.log_std)) ** 2
        return 0.5 * (ratio + shift - 1 - jnp.log(ratio)).sum(-1)

    def mode(self) -> jax.Array:
        """The middle of the actions [..., action]."""
        return jnp.tanh(self.mean)


def applied(action: jax.Array, space: Any) -> jax.Array:
    """An action in units of the bounds, as the environment takes it."""
    return (space.high + space.low) / 2 + (space.high - space.low) / 2 * action


class Networks(nn.Module):
    """A policy and a Q-function over normalized observations, and two temperatures."""

    action_size: int

    def setup(self) -> None:
        """Two hidden layers each; the first actions near zero, the first values zero."""

        def tower(size: int, head_scale: float, bias: Any) -> nn.Sequential:
            head = nn.Dense(size, kernel_init=orthogonal(head_scale), bias_init=bias)
            dense = partial(nn.Dense, HIDDEN, kernel_init=orthogonal(2**0.5))
            hidden = [layer for _ in range(2) for layer in (dense(), nn.LayerNorm(), nn.swish)]
            return nn.Sequential([*hidden, head])

        self.actor = tower(2 * self.action_size, 0.01, constant(0.0))
        # Far above what a layer adds: the distribution begins at zero.
        self.critic = tower(NUM_BINS, 1.0, lambda *_: 40 * coded(jnp.zeros(())))
        self.log_temperature = self.param("log_temperature", lambda _: jnp.log(INITIAL_TEMPERATURE))
        self.log_penalty = self.param("log_penalty", lambda _: jnp.log(INITIAL_PENALTY))

    def policy(self, obs: jax.Array) -> Squashed:
        """The distribution of actions at observations [..., observation]."""
        mean, log_std = jnp.split(self.actor(obs), 2, axis=-1)
        return Squashed(mean, jnp.clip(INITIAL_LOG_STD + log_std, *LOG_STD_BOUNDS))

    def logits(self, obs: jax.Array, action: jax.Array) -> jax.Array:
        """Of the bins [..., NUM_BINS] that an action's value may be in."""
        return self.critic(jnp.concatenate([obs, action], axis=-1))

    def value(self, obs: jax.Array, action: jax.Array) -> jax.Array:
        """The value [...] of actions, in standard deviations from the mean of all targets."""
        return (jax.nn.softmax(self.logits(obs, action)) * bins()).sum(-1)

    def temperatures(self) -> tuple[jax.Array, jax.Array]:
        """What a nat of entropy is worth, and what one of change costs."""
        return jnp.exp(self.log_temperature), jnp.exp(self.log_penalty)

    def everything(self, obs: jax.Array, action: jax.Array) -> Any:
        """All outputs, so that all parameters are made."""
        return self.policy(obs), self.value(obs, action), self.temperatures()


def bins() -> jax.Array:
    """The middles of the bins."""
    return jnp.linspace(-MAX_VALUE, MAX_VALUE, NUM_BINS)


def coded(value: jax.Array) -> jax.Array:
    """The probabilities [..., NUM_BINS] of the bins under a Gaussian around a value [...]."""
    width = 2 * MAX_VALUE / (NUM_BINS - 1)
    edges = jnp.linspace(-MAX_VALUE - width / 2, MAX_VALUE + width / 2, NUM_BINS + 1)
    value = jnp.clip(value, -MAX_VALUE, MAX_VALUE)
    below = jax.scipy.stats.norm.cdf((edges - value[..., None]) / (BIN_SPREAD * width))
    mass = below[..., 1:] - below[..., :-1]
    return mass / mass.sum(-1, keepdims=True)


# ---- Running statistics: observations and values are normalized ---------------------------------


class Statistics(NamedTuple):
    """Count, mean and variance of all samples seen so far."""

    count: jax.Array
    mean: jax.Array
    var: jax.Array


def fresh_statistics(shape: tuple[int, ...]) -> Statistics:
    """Mean 0 and variance 1, which the first real samples outweigh."""
    return Statistics(jnp.asarray(1e-2), jnp.zeros(shape), jnp.ones(shape))


def add_samples(stats: Statistics, samples: jax.Array) -> Statistics:
    """Join statistics and a batch [B, ...] (Chan et al. 1979)."""
    count = samples.shape[0]
    mean, var = samples.mean(0), samples.var(0)
    total = stats.count + count
    delta = mean - stats.mean
    spread = stats.var * stats.count + var * count + delta**2 * stats.count * count / total
    return Statistics(total, stats.mean + delta * count / total, spread / total)


def deviation(stats: Statistics) -> jax.Array:
    """The standard deviation, never zero."""
    return jnp.sqrt(stats.var + 1e-8)


def normalize(stats: Statistics, x: jax.Array) -> jax.Array:
    """Samples in standard deviations from their mean, clipped."""
    return jnp.clip((x - stats.mean) / deviation(stats), -MAX_DEVIATIONS, MAX_DEVIATIONS)


# ---- Rollout ------------------------------------------------------------------------------------


@chex.dataclass(frozen=True)
class TrainState:
    """Everything that an update changes."""

    params: Any
    opt_state: Any
    obs_stats: Statistics
    value_stats: Statistics  # of the targets, in units of rewards
    key: jax.Array


class Rollout(NamedTuple):
    """What happened, as [T, N, ...]."""

    obs: jax.Array
    action: jax.Array  # between -1 and 1
    outcome: Any  # an EnvState: next_obs, reward, terminated, truncated, ...


def rollout(state: TrainState, env_state: Any, env: Any, net: Networks) -> tuple[Any, Rollout]:
    """Act for ROLLOUT_STEPS; the last environment state, and what happened."""

    def step(env_state: Any, key: jax.Array) -> tuple[Any, Rollout]:
        obs = normalize(state.obs_stats, env_state.obs)
        action, _ = net.apply(state.params, obs, method=net.policy).sample(key)
        after = env.step(env_state, applied(action, env.action_space))
        outcome = replace(after, internal=None)  # T copies of a simulator's state are of no use
        return after, Rollout(env_state.obs, action, outcome)

    key, *_ = jax.random.split(state.key, 4)  # the others are the update's
    return jax.lax.scan(step, env_state, jax.random.split(key, ROLLOUT_STEPS))


# ---- Update: targets, losses, and what is learned from a rollout --------------------------------


def targets(reward: jax.Array, bonus: jax.Array, next_value: jax.Array, outcome: Any) -> jax.Array:
    """TD(lambda) targets [T, N] of the actions' values, in units of rewards.

    Args:
      reward: [T, N].
      bonus: [T, N], what the entropy of the next action is worth.
      next_value: [T, N], the value of the next action, without its bonus.
      outcome: of the steps.
    """
    discount = jnp.where(outcome.terminated, 0.0, 1 - 1 / HORIZON)
    # A truncated episode has no next return, and what follows the rollout is not known yet.
    weight = jnp.where(outcome.terminated | outcome.truncated, 0.0, TD_LAMBDA).at[-1].set(0.0)
    known = reward + discount * (bonus + (1 - weight) * next_value)

    def backwards(later: jax.Array, step: tuple[jax.Array, jax.Array]) -> Any:
        target = step[0] + step[1] * later
        return target, target

    steps = known, discount * weight
    return jax.lax.scan(backwards, jnp.zeros_like(reward[0]), steps, reverse=True)[1]


class Batch(NamedTuple):
    """What the update learns from; the leading axis is the sample."""

    obs: jax.Array
    action: jax.Array
    target: jax.Array  # normalized, as the value is
    before: Squashed  # the policy before the update


def loss(params: Any, net: Networks, batch: Batch, key: jax.Array) -> tuple[jax.Array, dict]:
    """Of Q-function, policy and temperatures: none has a gradient in another's parameters."""
    logits = net.apply(params, batch.obs, batch.action, method=net.logits)
    critic_loss = optax.softmax_cross_entropy(logits, coded(batch.target)).mean()

    policy = net.apply(params, batch.obs, method=net.policy)
    action, log_prob = policy.sample(key)
    fixed = jax.lax.stop_gradient(params)
    value = net.apply(fixed, batch.obs, action, method=net.value)
    temperature, penalty = net.apply(fixed, method=net.temperatures)
    kl = batch.before.kl(policy)
    # Within reach of the policy before, uphill; beyond it, back.
    near = kl < TARGET_KL
    actor_loss = jnp.where(near, temperature * log_prob - value, penalty * kl).mean()

    temperature, penalty = net.apply(params, method=net.temperatures)
    entropy = -jax.lax.stop_gradient(log_prob).mean()
    surplus = entropy - TARGET_ENTROPY * action.shape[-1]
    change = jax.lax.stop_gradient(kl).mean() - TARGET_KL
    return critic_loss + actor_loss + temperature * surplus - penalty * change, {
        "losses/policy_loss": actor_loss,
        "losses/value_loss": critic_loss,
        "losses/entropy": entropy,
        "losses/approx_kl": kl.mean(),
        "losses/clipfrac": 1 - near.mean(),
        "charts/temperature": temperature,
        "charts/penalty": penalty,
    }


def optimizer() -> optax.GradientTransformation:
    """Adam; the gradient of each part is scaled down by itself."""

    def part() -> optax.GradientTransformation:
        adam = optax.adam(LEARNING_RATE)
        return optax.chain(optax.clip_by_global_norm(MAX_GRAD_NORM), adam)

    def which(params: Any) -> dict:
        return {"params": {name: name for name in params["params"]}}

    names = "actor", "critic", "log_temperature", "log_penalty"
    return optax.multi_transform({name: part() for name in names}, which)


def init(key: jax.Array, env: Any, net: Networks) -> TrainState:
    """The state before the first update."""
    net_key, key = jax.random.split(key)
    obs = jnp.zeros(env.observation_space.shape)
    action = jnp.zeros(env.action_space.shape)
    params = net.init(net_key, obs, action, method=net.everything)
    return TrainState(
        params=params,
        opt_state=optimizer().init(params),
        obs_stats=fresh_statistics(obs.shape),
        value_stats=fresh_statistics(()),
        key=key,
    )


def learn(state: TrainState, batch: Batch, key: jax.Array, net: Networks) -> tuple:
    """NUM_EPOCHS passes over a batch."""

    def minibatch(state: TrainState, part: tuple[jax.Array, jax.Array]) -> tuple:
        rows, key = part
        samples = jax.tree.map(lambda x: x[rows], batch)
        grads, metrics = jax.grad(loss, has_aux=True)(state.params, net, samples, key)
        updates, opt_state = optimizer().update(grads, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        return state.replace(params=params, opt_state=opt_state), metrics

    def epoch(state: TrainState, key: jax.Array) -> tuple[TrainState, dict]:
        rows_key, key = jax.random.split(key)
        rows = jax.random.permutation(rows_key, len(batch.obs)).reshape(NUM_MINIBATCHES, -1)
        return jax.lax.scan(minibatch, state, (rows, jax.random.split(key, NUM_MINIBATCHES)))

    state, metrics = jax.lax.scan(epoch, state, jax.random.split(key, NUM_EPOCHS))
    return state, jax.tree.map(jnp.mean, metrics)


def update(state: TrainState, steps: Rollout, net: Networks) -> tuple[TrainState, dict]:
    """Learn from a rollout, of this policy or of the one before."""
    raw_obs, action, outcome = steps
    _, value_key, learn_key, key = jax.random.split(state.key, 4)
    obs, next_obs = (normalize(state.obs_stats, x) for x in (raw_obs, outcome.next_obs))

    def value_of(obs: jax.Array, action: jax.Array) -> jax.Array:
        value = net.apply(state.params, obs, action, method=net.value)
        return state.value_stats.mean + deviation(state.value_stats) * value

    next_action, log_prob = net.apply(state.params, next_obs, method=net.policy).sample(value_key)
    temperature, _ = net.apply(state.params, method=net.temperatures)
    bonus = -temperature * deviation(state.value_stats) * log_prob
    target = targets(outcome.reward, bonus, value_of(next_obs, next_action), outcome)
    value_stats = add_samples(state.value_stats, target.ravel())
    before = net.apply(state.params, obs, method=net.policy)
    batch = Batch(obs, action, normalize(value_stats, target), before)
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    error = target - value_of(obs, action)
    state, metrics = learn(state, batch, learn_key, net)

    ended = (outcome.terminated | outcome.truncated).sum()
    metrics |= {
        "charts/episodic_return": outcome.episode_return.sum() / ended,  # NaN where none ended
        "charts/episodic_length": outcome.episode_length.sum() / ended,
        "charts/diverged": outcome.diverged.sum(),  # episodes that ended in NaN
        "losses/explained_variance": 1 - error.var() / (target.var() + 1e-8),
    }
    obs_stats = add_samples(state.obs_stats, raw_obs.reshape(-1, obs.shape[-1]))
    return state.replace(obs_stats=obs_stats, value_stats=value_stats, key=key), metrics


# ---- The budget ---------------------------------------------------------------------------------


def compiled(trial: Trial, state: TrainState, env: Any, net: Networks) -> tuple[Any, Any]:
    """`begin(state, key)` and `iterate(state, env_state, steps)`, compiled ahead of time.

    An iteration learns from one rollout while it makes the next one, where the environment is.
    """
    reset = trial.compile(env.reset, state.key, devices=env.devices)
    play = partial(rollout, env=env, net=net)
    play = trial.compile(play, state, reset.outputs, devices=env.devices)
    improve = trial.compile(partial(update, net=net), state, play.outputs[1])
    learner = ThreadPoolExecutor(1)  # on CPUs JAX does one thing at a time for each thread

    def begin(state: TrainState, key: jax.Array) -> tuple[Any, Rollout]:
        return play(state.replace(key=key), reset(key))

    def iterate(state: TrainState, env_state: Any, steps: Rollout) -> tuple:
        improved = learner.submit(improve, state, steps)
        env_state, steps = play(state, env_state)
        state, metrics = improved.result()
        return state, env_state, steps, metrics

    return begin, iterate


def main(trial: Trial) -> None:
    """Compile, start the clock, and update until the budget is used up."""
    env = trial.make_env(trial.num_envs_hint)
    if not env.action_space.shape:
        raise SystemExit(f"{trial.task.id} has discrete actions; this file is for a Box of them.")
    if (samples := ROLLOUT_STEPS * env.num_envs) % NUM_MINIBATCHES:
        raise ValueError(f"{samples} samples of a rollout make no {NUM_MINIBATCHES} minibatches.")
    net = Networks(env.action_space.shape[0])
    # XLA's own generator: its normal numbers compile five times faster than threefry's.
    key, first_key = jax.random.split(jax.random.key(trial.seed, impl="rbg"))
    state = jax.jit(partial(init, env=env, net=net))(key)
    begin, iterate = compiled(trial, state, env, net)

    def act(params: Any, obs: jax.Array) -> jax.Array:
        """The policy that is scored, without noise."""
        network, obs_stats = params
        policy = net.apply(network, normalize(obs_stats, obs), method=net.policy)
        return applied(policy.mode(), env.action_space)

    trial.publish(act, (state.params, state.obs_stats))  # exports it while no clock runs
    trial.start()
    (env_state, steps), step = begin(state, first_key), samples
    while trial.time_left() > 0:
        state, env_state, steps, metrics = iterate(state, env_state, steps)
        step += samples
        trial.log(step, **metrics)
        trial.publish(act, (state.params, state.obs_stats))


if __name__ == "__main__":
    main(connect())
