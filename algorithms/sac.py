"""SAC in one file: off-policy, every step is kept and learned from again and again.

Soft actor-critic with what has been found since to make it learn from fewer steps: values as
distributions, normalized layers, rewards scaled by their returns. It needs far fewer steps than
PPO and far more gradient steps for each, and is worth it where simulation is dear, or on a GPU.
While the host simulates a step, the updates between two steps are made in the same program. Box
action spaces only. Read from top to bottom: constants, networks, scale of rewards, replay buffer,
losses, step, and the loop.

References: SAC (Haarnoja et al. 2018, arXiv 1812.05905), clipped double Q (Fujimoto et al. 2018,
arXiv 1802.09477), HL-Gauss (Farebrother et al. 2024, arXiv 2403.03950), layer normalization and a
scale for rewards (SimbaV2, Lee et al. 2025, arXiv 2502.15280), many environments and updates
(FlashSAC 2026, arXiv 2604.04539).
"""

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

MAX_ENVS = 1024  # more would only fill the buffer sooner
UPDATES_PER_STEP = 8  # {1, 2, 4, 8, 16, 32} gradient steps for a step of all environments
BATCH_SIZE = 128  # {64, 128, 256} transitions that a gradient step learns from, on processors
ACCELERATOR_BATCH_SIZE = 2048  # {512, 1024, 2048, 4096} on accelerators
HIDDEN = 128  # {64, 128, 256} units of each of two hidden layers, on processors
ACCELERATOR_HIDDEN = 512  # {256, 512, 1024} on accelerators
POLICY_DELAY = 2  # {1, 2, 3, 4} updates of the values for one of the policy
WARM_UP_STEPS = 16  # of all environments, before anything is learned
BUFFER_BYTES = 2**29  # what transitions may take
MAX_TRANSITIONS = 2_000_000  # that are kept, where they are small
STEPS_PER_CALL = 32  # of all environments, between two reports
HORIZON = 100.0  # [30.0, 1000.0, log] steps ahead that count: the discount is 1 - 1 / HORIZON
LEARNING_RATE = 3e-4  # [1e-4, 3e-3, log] Adam's, at first
FINAL_LEARNING_RATE = 1e-4  # [1e-5, 1e-3, log] it falls evenly
TARGET_RATE = 0.01  # [0.001, 0.05, log] share of the way that target values follow in an update
NUM_BINS = 101  # {51, 101, 151} that a value's distribution has
MAX_VALUE = 5.0  # of scaled returns: the bins end there
BIN_SPREAD = 0.75  # [0.3, 2.0, log] bins: the standard deviation that a target is given
TARGET_ENTROPY = -0.5  # [-1.5, 0.0] nats a joint; of actions between -1 and 1
INITIAL_TEMPERATURE = 0.001  # [0.0001, 0.1, log] what a nat of entropy is worth
LOG_STD_BOUNDS = -5.0, 1.0  # of the action noise, before the tanh
MAX_DEVIATIONS = 10.0  # standard deviations to which normalized observations are clipped
NUM_CRITICS = 2  # the lower of their values counts


# ---- Networks: a squashed Gaussian, and distributions of values for each action -----------------


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

    def mode(self) -> jax.Array:
        """The middle of the actions [..., action]."""
        return jnp.tanh(self.mean)


def applied(action: jax.Array, space: Any) -> jax.Array:
    """An action in units of the bounds, as the environment takes it."""
    return (space.high + space.low) / 2 + (space.high - space.low) / 2 * action


def tower(hidden: int, size: int, head_scale: float, bias: Any) -> nn.Sequential:
    """Two normalized hidden layers and a head."""
    head = nn.Dense(size, kernel_init=orthogonal(head_scale), bias_init=bias)
    dense = partial(nn.Dense, hidden, kernel_init=orthogonal(2**0.5))
    layers = [layer for _ in range(2) for layer in (dense(), nn.LayerNorm(), nn.relu)]
    return nn.Sequential([*layers, head])


class Actor(nn.Module):
    """A policy over normalized observations."""

    hidden: int
    action_size: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> Squashed:
        """The distribution of actions at observations [..., observation]."""
        out = tower(self.hidden, 2 * self.action_size, 0.01, constant(0.0))(obs)
        mean, log_std = jnp.split(out, 2, axis=-1)
        return Squashed(mean, jnp.clip(log_std, *LOG_STD_BOUNDS))


class Critic(nn.Module):
    """Logits of the bins that the value of an action may be in."""

    hidden: int

    @nn.compact
    def __call__(self, obs: jax.Array, action: jax.Array) -> jax.Array:
        """[..., NUM_BINS], for normalized observations and actions between -1 and 1."""
        # Far above what a layer adds: the distribution begins at zero.
        values = tower(self.hidden, NUM_BINS, 1.0, lambda *_: 40 * coded(jnp.zeros(())))
        return values(jnp.concatenate([obs, action], axis=-1))


class Setup(NamedTuple):
    """What depends on what computes: wide on accelerators, slim on processors."""

    actor: Actor
    critic: Critic
    batch_size: int

    def logits(self, critics: Any, obs: jax.Array, action: jax.Array) -> jax.Array:
        """Of all critics: [NUM_CRITICS, B, NUM_BINS]."""
        return jax.vmap(self.critic.apply, in_axes=(0, None, None))(critics, obs, action)


def setup(env: Any) -> Setup:
    """For the devices that step an environment, which are those that learn."""
    slim = env.devices[0].platform == "cpu"
    hidden = HIDDEN if slim else ACCELERATOR_HIDDEN
    batch_size = BATCH_SIZE if slim else ACCELERATOR_BATCH_SIZE
    return Setup(Actor(hidden, env.action_space.shape[0]), Critic(hidden), batch_size)


def expected(logits: jax.Array) -> jax.Array:
    """The value [...] that logits [..., NUM_BINS] stand for, in units of scaled returns."""
    return (jax.nn.softmax(logits) * jnp.linspace(-MAX_VALUE, MAX_VALUE, NUM_BINS)).sum(-1)


def coded(value: jax.Array) -> jax.Array:
    """The probabilities [..., NUM_BINS] of the bins under a Gaussian around a value [...]."""
    width = 2 * MAX_VALUE / (NUM_BINS - 1)
    edges = jnp.linspace(-MAX_VALUE - width / 2, MAX_VALUE + width / 2, NUM_BINS + 1)
    value = jnp.clip(value, -MAX_VALUE, MAX_VALUE)
    below = jax.scipy.stats.norm.cdf((edges - value[..., None]) / (BIN_SPREAD * width))
    mass = below[..., 1:] - below[..., :-1]
    return mass / mass.sum(-1, keepdims=True)


# ---- Scales: of observations, and of rewards by the returns that they make ----------------------


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


class Scale(NamedTuple):
    """What makes returns fit into the bins, whatever a task's rewards are."""

    running: jax.Array  # [N] discounted sums of the rewards so far in each episode
    stats: Statistics  # of these
    largest: jax.Array  # of their absolute values

    def add(self, outcome: Any) -> "Scale":
        """With the rewards of one more step."""
        running = self.running * (1 - 1 / HORIZON) + outcome.reward
        largest = jnp.maximum(self.largest, jnp.abs(running).max())
        ended = outcome.terminated | outcome.truncated
        return Scale(jnp.where(ended, 0.0, running), add_samples(self.stats, running), largest)

    def divisor(self) -> jax.Array:
        """Of rewards: their returns have a deviation of one, or end within the bins."""
        return jnp.maximum(jnp.sqrt(self.stats.var + 1e-8), self.largest / MAX_VALUE)


# ---- Replay buffer: a ring of steps of all environments -----------------------------------------


class Transition(NamedTuple):
    """What happened in one step; in the buffer as [steps, N, ...], in a batch as [B, ...]."""

    obs: jax.Array
    action: jax.Array  # between -1 and 1
    reward: jax.Array
    next_obs: jax.Array
    terminated: jax.Array


class Buffer(NamedTuple):
    """The last steps, and how many there have been."""

    steps: Transition
    count: jax.Array

    def add(self, step: Transition) -> "Buffer":
        """With one more step [N, ...] in place of the oldest."""
        row = self.count % len(self.steps.reward)
        kept = jax.tree.map(lambda all, new: all.at[row].set(new), self.steps, step)
        return Buffer(kept, self.count + 1)

    def sample(self, key: jax.Array, batch_size: int) -> Transition:
        """Draw a batch, with replacement."""
        rows, num_envs = self.steps.reward.shape
        row_key, env_key = jax.random.split(key)
        row = jax.random.randint(row_key, (batch_size,), 0, jnp.minimum(self.count, rows))
        env = jax.random.randint(env_key, (batch_size,), 0, num_envs)
        return jax.tree.map(lambda x: x[row, env], self.steps)


def empty_buffer(env: Any) -> Buffer:
    """With room for as many steps as memory allows."""
    obs, action = env.observation_space.shape, env.action_space.shape
    one = 4 * (2 * obs[0] + action[0] + 1) + 1  # bytes
    rows = min(BUFFER_BYTES // one, MAX_TRANSITIONS) // env.num_envs

    def room(*shape: int, dtype: Any = jnp.float32) -> jax.Array:
        return jnp.zeros((rows, env.num_envs, *shape), dtype)

    steps = Transition(room(*obs), room(*action), room(), room(*obs), room(dtype=bool))
    return Buffer(steps, jnp.int32(0))


# ---- Losses and updates -------------------------------------------------------------------------


@chex.dataclass(frozen=True)
class TrainState:
    """Everything that an update changes."""

    actor: Any
    critics: Any  # NUM_CRITICS in a row
    target: Any  # follows the critics slowly
    log_temperature: jax.Array
    opt_states: Any  # of actor, critics and temperature
    updates: jax.Array  # of the critics, so far
    obs_stats: Statistics
    scale: Scale


optimizer = optax.adam  # of a rate


def init(key: jax.Array, env: Any, net: Setup) -> TrainState:
    """The state before the first update."""
    actor_key, critic_key = jax.random.split(key)
    obs, action = jnp.zeros(env.observation_space.shape), jnp.zeros(env.action_space.shape)
    actor = net.actor.init(actor_key, obs)
    one = partial(net.critic.init, obs=obs, action=action)
    critics = jax.vmap(one)(jax.random.split(critic_key, NUM_CRITICS))
    log_temperature = jnp.log(INITIAL_TEMPERATURE)
    return TrainState(
        actor=actor,
        critics=critics,
        target=critics,
        log_temperature=log_temperature,
        opt_states=tuple(map(optimizer(LEARNING_RATE).init, (actor, critics, log_temperature))),
        updates=jnp.int32(0),
        obs_stats=fresh_statistics(obs.shape),
        scale=Scale(jnp.zeros(env.num_envs), fresh_statistics(()), jnp.asarray(1e-4)),
    )


def critic_loss(critics: Any, state: TrainState, batch: Transition, key: Any, net: Setup) -> Any:
    """The cross-entropy to the targets' codes, and the mean value."""
    next_action, log_prob = net.actor.apply(state.actor, batch.next_obs).sample(key)
    next_value = expected(net.logits(state.target, batch.next_obs, next_action)).min(0)
    soft = next_value - jnp.exp(state.log_temperature) * log_prob
    target = batch.reward + jnp.where(batch.terminated, 0.0, 1 - 1 / HORIZON) * soft
    outputs = net.logits(critics, batch.obs, batch.action)
    loss = optax.softmax_cross_entropy(outputs, jax.lax.stop_gradient(coded(target)))
    return loss.mean(1).sum(), target.mean()


def actor_loss(actor: Any, state: TrainState, batch: Transition, key: Any, net: Setup) -> Any:
    """Uphill on the lower of the values, with the entropy's worth; and the entropy."""
    action, log_prob = net.actor.apply(actor, batch.obs).sample(key)
    value = expected(net.logits(state.critics, batch.obs, action)).min(0)
    return (jnp.exp(state.log_temperature) * log_prob - value).mean(), -log_prob.mean()


def improve_critics(state: TrainState, batch: Transition, key: Any, rate: Any, net: Setup) -> tuple:
    """One gradient step of the values; their targets follow."""
    actor_opt, critic_opt, temperature_opt = state.opt_states
    value_and_grad = jax.value_and_grad(critic_loss, has_aux=True)
    (loss, value), grads = value_and_grad(state.critics, state, batch, key, net)
    change, critic_opt = optimizer(rate).update(grads, critic_opt)
    critics = optax.apply_updates(state.critics, change)
    state = state.replace(
        critics=critics,
        target=optax.incremental_update(critics, state.target, TARGET_RATE),
        opt_states=(actor_opt, critic_opt, temperature_opt),
        updates=state.updates + 1,
    )
    return state, {"losses/value_loss": loss, "charts/value": value}


def improve_policy(state: TrainState, batch: Transition, key: Any, rate: Any, net: Setup) -> Any:
    """One gradient step of the policy, and one of what a nat of entropy is worth."""
    actor_opt, critic_opt, temperature_opt = state.opt_states
    grads, entropy = jax.grad(actor_loss, has_aux=True)(state.actor, state, batch, key, net)
    change, actor_opt = optimizer(rate).update(grads, actor_opt)
    surplus = entropy - TARGET_ENTROPY * batch.action.shape[-1]
    slope = jnp.exp(state.log_temperature) * surplus
    warmer, temperature_opt = optimizer(rate).update(slope, temperature_opt)
    return state.replace(
        actor=optax.apply_updates(state.actor, change),
        log_temperature=state.log_temperature + warmer,
        opt_states=(actor_opt, critic_opt, temperature_opt),
    )


def scaled(state: TrainState, batch: Transition) -> Transition:
    """A batch with normalized observations and scaled rewards."""
    return batch._replace(
        obs=normalize(state.obs_stats, batch.obs),
        next_obs=normalize(state.obs_stats, batch.next_obs),
        reward=batch.reward / state.scale.divisor(),
    )


def learn(state: TrainState, buffer: Buffer, key: jax.Array, left: jax.Array, net: Setup) -> tuple:
    """UPDATES_PER_STEP gradient steps of the values, and one in POLICY_DELAY of the policy."""
    rate = FINAL_LEARNING_RATE + (LEARNING_RATE - FINAL_LEARNING_RATE) * left

    def update(state: TrainState, key: jax.Array) -> tuple[TrainState, dict]:
        sample_key, critic_key, actor_key = jax.random.split(key, 3)
        batch = scaled(state, buffer.sample(sample_key, net.batch_size))
        state, metrics = improve_critics(state, batch, critic_key, rate, net)
        due = state.updates % POLICY_DELAY == 0
        better = partial(improve_policy, state, batch, actor_key, rate, net)
        return jax.lax.cond(due, better, lambda: state), metrics

    state, metrics = jax.lax.scan(update, state, jax.random.split(key, UPDATES_PER_STEP))
    return state, jax.tree.map(jnp.mean, metrics)


# ---- Step ---------------------------------------------------------------------------------------


class Carry(NamedTuple):
    """What goes on from step to step."""

    state: TrainState
    env_state: Any
    buffer: Buffer
    key: jax.Array


def step(carry: Carry, left: jax.Array, env: Any, net: Setup) -> tuple[Carry, dict]:
    """Act in all environments, and learn while they are simulated."""
    state, env_state, buffer, key = carry
    key, act_key, learn_key = jax.random.split(key, 3)
    raw_obs = env_state.obs
    policy = net.actor.apply(state.actor, normalize(state.obs_stats, raw_obs))
    action, _ = policy.sample(act_key)
    sent = env.send(env_state, applied(action, env.action_space))

    improve = partial(learn, state, buffer, learn_key, left, net)
    none = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), jax.eval_shape(improve)[1])
    ready = buffer.count >= WARM_UP_STEPS
    state, metrics = jax.lax.cond(ready, improve, lambda: (state, none))

    after = env.recv(sent, after=optax.tree.norm((state.actor, state.critics)))
    happened = Transition(raw_obs, action, after.reward, after.next_obs, after.terminated)
    # The buffer is read before it is written to, so that it need not be copied.
    happened, state = jax.lax.optimization_barrier((happened, state))
    obs_stats, scale = add_samples(state.obs_stats, raw_obs), state.scale.add(after)
    metrics |= {
        "ended": (after.terminated | after.truncated).sum(),
        "returns": after.episode_return.sum(),
        "lengths": after.episode_length.sum(),
        "diverged": after.diverged.sum(),  # episodes that ended in NaN
    }
    state = state.replace(obs_stats=obs_stats, scale=scale)
    return Carry(state, after, buffer.add(happened), key), metrics


def steps(carry: Carry, left: jax.Array, env: Any, net: Setup) -> tuple[Carry, dict]:
    """STEPS_PER_CALL steps, and metrics of them under CleanRL's names."""
    lefts = jnp.full(STEPS_PER_CALL, left)
    carry, metrics = jax.lax.scan(partial(step, env=env, net=net), carry, lefts)
    sums = {name: metrics.pop(name).sum() for name in ("ended", "returns", "lengths", "diverged")}
    return carry, jax.tree.map(jnp.nanmean, metrics) | {
        "charts/episodic_return": sums["returns"] / sums["ended"],  # NaN where none ended
        "charts/episodic_length": sums["lengths"] / sums["ended"],
        "charts/diverged": sums["diverged"],
        "charts/temperature": jnp.exp(carry.state.log_temperature),
    }


def begin(key: jax.Array, env: Any, net: Setup) -> Carry:
    """Before the first step."""
    init_key, reset_key, key = jax.random.split(key, 3)
    return Carry(init(init_key, env, net), env.reset(reset_key), empty_buffer(env), key)


# ---- The budget ---------------------------------------------------------------------------------


def main(trial: Trial) -> None:
    """Compile, start the clock, and go on until the budget is used up."""
    env = trial.make_env(min(trial.num_envs_hint, MAX_ENVS))
    if not env.action_space.shape:
        raise SystemExit(f"{trial.task.id} has discrete actions; this file is for a Box of them.")
    net = setup(env)
    # XLA's own generator: its normal numbers compile five times faster than threefry's.
    key = jax.random.key(trial.seed, impl="rbg")
    first = trial.compile(partial(begin, env=env, net=net), key, devices=env.devices)
    go_on = partial(steps, env=env, net=net)
    go_on = trial.compile(go_on, first.outputs, jnp.float32(1), devices=env.devices, donate=[0])

    def act(params: Any, obs: jax.Array) -> jax.Array:
        """The policy that is scored, without noise."""
        actor, obs_stats = params
        policy = net.actor.apply(actor, normalize(obs_stats, obs))
        return applied(policy.mode(), env.action_space)

    state = jax.jit(partial(init, env=env, net=net))(key)
    trial.publish(act, (state.actor, state.obs_stats))  # exports it while no clock runs
    trial.start()
    carry, num_steps = first(key), 0
    while trial.time_left() > 0:
        carry, metrics = go_on(carry, jnp.float32(1 - trial.progress()))
        num_steps += STEPS_PER_CALL * env.num_envs
        trial.log(num_steps, **metrics)
        trial.publish(act, (carry.state.actor, carry.state.obs_stats))


if __name__ == "__main__":
    main(connect())
