"""PPO in one file: the only file that the agent edits.

While one rollout is made, the one before it is learned from, so that processors wait less.

References: PPO (Schulman et al. 2017, arXiv 1707.06347), GAE (Schulman et al. 2016, 1506.02438),
the learning rate that follows the policy's change (Rudin et al. 2021, 2109.11978).
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
NUM_EPOCHS = 5  # [1, 10] passes over a rollout
HORIZON = 150.0  # [30.0, 1000.0, log] steps ahead that count: the discount is 1 - 1 / HORIZON
GAE_LAMBDA = 0.95  # [0.8, 0.99] bias against variance of the advantages
MAX_ADVANTAGE = 3.0  # [1.0, 10.0, log] standard deviations: a few falls must not drown the rest
CLIP_EPSILON = 0.2  # [0.1, 0.4] how far the ratio may move before its gradient is cut
INITIAL_LOG_STD = -0.5  # [-1.5, 0.0] of the noise on Box actions; 0 mostly hits the bounds
LEAST_LOG_STD = -0.9, -2.0  # at first and at last: it is learned, and would fall too early
MOST_LOG_STD = -0.5, -1.25  # likewise: or too late
ENTROPY_COEF = 0.01  # [0.0005, 0.03, log] noise at first: a walker without it learns to stand
FINAL_ENTROPY_COEF = 0.0001  # [1e-05, 0.005, log] little in the end: a noisy hopper falls
VALUE_COEF = 0.5  # [0.1, 2.0, log] weight of the value loss beside the policy loss
MAX_GRAD_NORM = 1.0  # [0.3, 3.0, log] gradients are scaled down to this norm
HIDDEN = (64, 64)  # units of the two hidden layers; policy and value have separate networks
LEARNING_RATE = 1e-3  # [1e-4, 3e-3, log] Adam's, before the first adaptation
LEARNING_RATE_BOUNDS = 1e-6, 3e-3  # it stays in between
MIN_VALUE_LEARNING_RATE = 1e-3  # [1e-4, 3e-3, log] lower, values lose sight of a slow policy
TARGET_KL = 0.01  # [0.003, 0.05, log] the policy's change in an update, at first
KL_ADAPTATION = 1.5  # factor on the learning rate when the change is half or twice the target
MAX_DEVIATIONS = 10.0  # standard deviations to which normalized observations and values are clipped


# ---- Network: two multilayer perceptrons, a distribution for each kind of action space ----------


class Gaussian(NamedTuple):
    """Actions of a Box space: a diagonal Gaussian with state-independent noise."""

    mean: jax.Array  # [..., action]
    log_std: jax.Array  # [action]

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw actions [..., action]."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log density [...] of actions [..., action]."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return (-0.5 * z**2 - self.log_std - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)

    def entropy(self) -> jax.Array:
        """In nats, [...]."""
        return (self.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum(-1)

    def mode(self) -> jax.Array:
        """The likeliest actions [..., action]."""
        return self.mean


class Categorical(NamedTuple):
    """Actions of a Discrete space, counted from 0."""

    logits: jax.Array  # [..., n]

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw actions [...]."""
        return jax.random.categorical(key, self.logits)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log probability [...] of actions [...]."""
        log_probs = jax.nn.log_softmax(self.logits)
        return jnp.take_along_axis(log_probs, action[..., None], axis=-1).squeeze(-1)

    def entropy(self) -> jax.Array:
        """In nats, [...]."""
        log_probs = jax.nn.log_softmax(self.logits)
        return -(jnp.exp(log_probs) * log_probs).sum(-1)

    def mode(self) -> jax.Array:
        """The likeliest actions [...]."""
        return self.logits.argmax(-1)


def applied(action: jax.Array, space: Any) -> jax.Array:
    """An action in units of the bounds, or counted from 0, as the environment takes it."""
    if not space.shape:
        return action + space.start
    return (space.high + space.low) / 2 + (space.high - space.low) / 2 * action


class ActorCritic(nn.Module):
    """A policy and a value function over normalized observations."""

    action_space: Any

    def setup(self) -> None:
        """Orthogonal weights, a small head of the policy (Andrychowicz et al. 2021, 2006.05990)."""

        def tower(size: int, head_scale: float) -> nn.Sequential:
            dense = partial(nn.Dense, kernel_init=orthogonal(2**0.5))
            hidden = [layer for units in HIDDEN for layer in (dense(units), nn.tanh)]
            return nn.Sequential([*hidden, nn.Dense(size, kernel_init=orthogonal(head_scale))])

        self.discrete = not self.action_space.shape
        size = int(self.action_space.n) if self.discrete else self.action_space.shape[0]
        self.actor = tower(size, 0.01)
        self.critic = tower(1, 1.0)
        if not self.discrete:
            self.log_std = self.param("log_std", constant(INITIAL_LOG_STD), (size,))

    def policy(self, obs: jax.Array, left: Any) -> Gaussian | Categorical:
        """Of actions, for observations [..., observation]; its noise's bounds fall with `left`."""
        if self.discrete:
            return Categorical(self.actor(obs))
        bounds = (last + (first - last) * left for first, last in (LEAST_LOG_STD, MOST_LOG_STD))
        moved = jax.lax.stop_gradient(jnp.clip(self.log_std, *bounds) - self.log_std)
        # Means end at the bounds: beyond, every action is the same and noise would cost nothing.
        return Gaussian(nn.tanh(self.actor(obs)), self.log_std + moved)

    def value(self, obs: jax.Array) -> jax.Array:
        """The value [...] in standard deviations from the mean of all targets so far."""
        return self.critic(obs).squeeze(-1)


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


def normalize(stats: Statistics, x: jax.Array) -> jax.Array:
    """Samples in standard deviations from their mean, clipped."""
    return jnp.clip((x - stats.mean) / jnp.sqrt(stats.var + 1e-8), -MAX_DEVIATIONS, MAX_DEVIATIONS)


def denormalize(stats: Statistics, x: jax.Array) -> jax.Array:
    """The way back, but for the clipping."""
    return stats.mean + x * jnp.sqrt(stats.var + 1e-8)


# ---- Rollout ------------------------------------------------------------------------------------


class Rollout(NamedTuple):
    """What happened, as [T, N, ...]."""

    obs: jax.Array
    action: jax.Array  # the policy's: not scaled, not clipped
    outcome: Any  # an EnvState: next_obs, reward, terminated, truncated, ...


def rollout(state: "TrainState", env_state: Any, left: Any, env: Any, net: ActorCritic) -> tuple:
    """Act for ROLLOUT_STEPS; the last environment state, and what happened, as a `Rollout`."""

    def step(env_state: Any, key: jax.Array) -> tuple[Any, Rollout]:
        obs = normalize(state.obs_stats, env_state.obs)
        action = net.apply(state.params, obs, left, method=net.policy).sample(key)
        after = env.step(env_state, applied(action, env.action_space))
        outcome = replace(after, internal=None)  # T copies of a simulator's state are of no use
        return after, Rollout(env_state.obs, action, outcome)

    key, _, _ = jax.random.split(state.key, 3)  # the other two are the update's
    return jax.lax.scan(step, env_state, jax.random.split(key, ROLLOUT_STEPS))


# ---- Update: advantages, loss, and what is learned from a rollout -------------------------------


def gae(value: jax.Array, next_value: jax.Array, outcome: Any) -> jax.Array:
    """Generalised advantage estimates; all arrays are [T, N].

    A truncated episode is bootstrapped on `next_value`, of its true successor, a terminated one is
    not; neither lets advantages flow back from the episode that follows.
    """
    discount = 1 - 1 / HORIZON
    delta = outcome.reward + discount * jnp.where(outcome.terminated, 0.0, next_value) - value
    carried = jnp.where(outcome.terminated | outcome.truncated, 0.0, discount * GAE_LAMBDA)

    def backwards(advantage: jax.Array, step: tuple[jax.Array, jax.Array]) -> Any:
        advantage = step[0] + step[1] * advantage
        return advantage, advantage

    return jax.lax.scan(backwards, jnp.zeros_like(delta[0]), (delta, carried), reverse=True)[1]


class Batch(NamedTuple):
    """What the update learns from; the leading axis is the sample."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array  # by the policy before the update
    advantage: jax.Array
    target: jax.Array  # normalized, as the value is


def ppo_loss(params: Any, net: ActorCritic, batch: Batch, left: jax.Array) -> tuple[Any, dict]:
    """The clipped surrogate, value and entropy losses; with metrics under CleanRL's names."""
    policy = net.apply(params, batch.obs, left, method=net.policy)
    log_ratio = policy.log_prob(batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    advantage = jnp.clip(advantage, -MAX_ADVANTAGE, MAX_ADVANTAGE)
    clipped = jnp.clip(ratio, 1 - CLIP_EPSILON, 1 + CLIP_EPSILON)
    policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
    value = net.apply(params, batch.obs, method=net.value)
    value_loss = 0.5 * ((value - batch.target) ** 2).mean()
    entropy = policy.entropy().mean()
    entropy_coef = FINAL_ENTROPY_COEF * (ENTROPY_COEF / FINAL_ENTROPY_COEF) ** left  # by factors
    return policy_loss + VALUE_COEF * value_loss - entropy_coef * entropy, {
        "losses/policy_loss": policy_loss,
        "losses/value_loss": value_loss,
        "losses/entropy": entropy,
        "losses/approx_kl": ((ratio - 1) - log_ratio).mean(),
        "losses/clipfrac": (jnp.abs(ratio - 1) > CLIP_EPSILON).mean(),
    }


@chex.dataclass(frozen=True)
class TrainState:
    """Everything that an update changes."""

    params: Any
    opt_state: Any
    learning_rate: jax.Array  # of the policy
    obs_stats: Statistics
    value_stats: Statistics  # of the targets, in units of rewards
    key: jax.Array


def optimizer(learning_rate: jax.Array | float) -> optax.GradientTransformation:
    """Adam, whose rate for the values does not fall with the policy's below a least one."""
    rates = {"actor": learning_rate, "critic": jnp.maximum(learning_rate, MIN_VALUE_LEARNING_RATE)}
    adams = {name: optax.adam(rate, eps=1e-5) for name, rate in rates.items()}
    adam = optax.multi_transform(
        adams, lambda p: {"params": {k: k if k == "critic" else "actor" for k in p["params"]}}
    )
    return optax.chain(optax.clip_by_global_norm(MAX_GRAD_NORM), adam)


def init(key: jax.Array, env: Any, net: ActorCritic) -> TrainState:
    """The state before the first update."""
    net_key, key = jax.random.split(key)
    obs = jnp.zeros(env.observation_space.shape)
    params = net.init(net_key, obs, method=lambda net, obs: (net.policy(obs, 1), net.value(obs)))
    return TrainState(
        params=params,
        opt_state=optimizer(LEARNING_RATE).init(params),
        learning_rate=jnp.asarray(LEARNING_RATE),
        obs_stats=fresh_statistics(obs.shape),
        value_stats=fresh_statistics(()),
        key=key,
    )


def learn(state: TrainState, batch: Batch, key: jax.Array, left: Any, net: ActorCritic) -> tuple:
    """NUM_EPOCHS passes over a batch; the policy's learning rate follows its change."""

    def minibatch(state: TrainState, rows: jax.Array) -> tuple[TrainState, dict]:
        part = jax.tree.map(lambda x: x[rows], batch)
        grads, metrics = jax.grad(ppo_loss, has_aux=True)(state.params, net, part, left)
        updates, opt_state = optimizer(state.learning_rate).update(grads, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        return state.replace(params=params, opt_state=opt_state), metrics

    def epoch(state: TrainState, key: jax.Array) -> tuple[TrainState, dict]:
        rows = jax.random.permutation(key, len(batch.obs)).reshape(NUM_MINIBATCHES, -1)
        state, metrics = jax.lax.scan(minibatch, state, rows)
        kl, target = metrics["losses/approx_kl"].mean(), TARGET_KL * left  # it settles in the end
        change = [1 / KL_ADAPTATION, KL_ADAPTATION]
        rate = state.learning_rate * jnp.select([kl > 2 * target, kl < target / 2], change, 1.0)
        return state.replace(learning_rate=jnp.clip(rate, *LEARNING_RATE_BOUNDS)), metrics

    state, metrics = jax.lax.scan(epoch, state, jax.random.split(key, NUM_EPOCHS))
    return state, jax.tree.map(jnp.mean, metrics)


def update(state: TrainState, steps: Rollout, left: Any, net: ActorCritic) -> tuple:
    """Learn from a rollout; `left` is the share of the budget that is left."""
    raw_obs, action, outcome = steps
    _, learn_key, key = jax.random.split(state.key, 3)

    def value_of(obs: jax.Array) -> jax.Array:
        value = net.apply(state.params, normalize(state.obs_stats, obs), method=net.value)
        return denormalize(state.value_stats, value)

    value = value_of(raw_obs)
    advantage = gae(value, value_of(outcome.next_obs), outcome)
    target = advantage + value
    value_stats = add_samples(state.value_stats, target.ravel())
    obs = normalize(state.obs_stats, raw_obs)
    # By the newest policy, not the one that acted: KL and clipping count what this update changes.
    log_prob = net.apply(state.params, obs, left, method=net.policy).log_prob(action)
    batch = Batch(obs, action, log_prob, advantage, normalize(value_stats, target))
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    state, metrics = learn(state, batch, learn_key, left, net)

    ended = (outcome.terminated | outcome.truncated).sum()
    metrics |= {
        "charts/episodic_return": outcome.episode_return.sum() / ended,  # NaN where none ended
        "charts/episodic_length": outcome.episode_length.sum() / ended,
        "charts/learning_rate": state.learning_rate,
        "charts/diverged": outcome.diverged.sum(),  # episodes that ended in NaN
        "losses/explained_variance": 1 - advantage.var() / (target.var() + 1e-8),
    }
    obs_stats = add_samples(state.obs_stats, raw_obs.reshape(-1, obs.shape[-1]))
    return state.replace(obs_stats=obs_stats, value_stats=value_stats, key=key), metrics


# ---- The budget ---------------------------------------------------------------------------------


def compiled(trial: Trial, state: TrainState, env: Any, net: ActorCritic) -> tuple[Any, Any]:
    """`begin(state, key)` and `iterate(state, env_state, steps, left)`, compiled ahead of time.

    An iteration learns from one rollout while it makes the next one, where the environment is.
    """
    reset = trial.compile(env.reset, state.key, devices=env.devices)
    play = partial(rollout, env=env, net=net)
    whole = jnp.float32(1)
    play = trial.compile(play, state, reset.outputs, whole, devices=env.devices)
    improve = trial.compile(partial(update, net=net), state, play.outputs[1], whole)
    learner = ThreadPoolExecutor(1)  # on CPUs JAX does one thing at a time for each thread

    def begin(state: TrainState, key: jax.Array) -> tuple[Any, Rollout]:
        return play(state.replace(key=key), reset(key), whole)

    def iterate(state: TrainState, env_state: Any, steps: Rollout, left: jax.Array) -> tuple:
        improved = learner.submit(improve, state, steps, left)
        env_state, steps = play(state, env_state, left)
        state, metrics = improved.result()
        return state, env_state, steps, metrics

    return begin, iterate


def main(trial: Trial) -> None:
    """Compile, start the clock, and update until the budget is used up."""
    env = trial.make_env(trial.num_envs_hint)
    if (samples := ROLLOUT_STEPS * env.num_envs) % NUM_MINIBATCHES:
        raise ValueError(f"{samples} samples of a rollout make no {NUM_MINIBATCHES} minibatches.")
    net = ActorCritic(env.action_space)
    # XLA's own generator: its normal numbers compile five times faster than threefry's.
    key, first_key = jax.random.split(jax.random.key(trial.seed, impl="rbg"))
    state = jax.jit(partial(init, env=env, net=net))(key)
    begin, iterate = compiled(trial, state, env, net)

    def act(params: Any, obs: jax.Array) -> jax.Array:
        """The policy that is scored: the likeliest action."""
        network, obs_stats = params
        policy = net.apply(network, normalize(obs_stats, obs), 0, method=net.policy)
        return applied(policy.mode(), env.action_space)

    trial.publish(act, (state.params, state.obs_stats))  # exports it while no clock runs
    trial.start()
    (env_state, steps), step = begin(state, first_key), samples
    while trial.time_left() > 0:
        state, env_state, steps, metrics = iterate(state, env_state, steps, 1 - trial.progress())
        step += samples
        trial.log(step, **metrics)
        trial.publish(act, (state.params, state.obs_stats))


if __name__ == "__main__":
    main(connect())
