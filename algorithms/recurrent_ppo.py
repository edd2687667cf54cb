"""PPO with a memory in one file: for tasks whose observations do not tell all.

A recurrent cell reads the observations one after the other, and policy and value read the cell. It
is needed where what counts cannot be seen at once, such as velocities, or what was shown before;
where it can, train.py is faster. Different from train.py: the cell's state goes on from rollout to
rollout and starts anew with an episode, the update goes through a rollout from its first state,
minibatches are of whole environments, and the policy is published with its state. Read from top to
bottom: constants, network, running statistics, rollout, loss, update, and the loop.

References: PPO (Schulman et al. 2017, arXiv 1707.06347), GAE (Schulman et al. 2016,
arXiv 1506.02438), GRU (Cho et al. 2014, arXiv 1406.1078), recurrent PPO (Ni et al. 2022,
arXiv 2110.05038; stored states: Kapturowski et al. 2019), the learning rate that follows the
policy's change (Rudin et al. 2021, arXiv 2109.11978).
"""

from collections.abc import Callable
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

ROLLOUT_STEPS = 32  # {16, 32, 64, 128} time steps of every environment between updates, and back
NUM_MINIBATCHES = 8  # {2, 4, 8, 16} of each epoch; of whole environments
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
HIDDEN = 64  # units of a hidden layer
MEMORY = 64  # {32, 64, 128} units of a cell; policy and value have separate ones
LEARNING_RATE = 1e-3  # [1e-4, 3e-3, log] Adam's, before the first adaptation
LEARNING_RATE_BOUNDS = 1e-6, 3e-3  # it stays in between
MIN_VALUE_LEARNING_RATE = 1e-3  # [1e-4, 3e-3, log] lower, values lose sight of a slow policy
TARGET_KL = 0.01  # [0.003, 0.05, log] the policy's change in an update, at first
KL_ADAPTATION = 1.5  # factor on the learning rate when the change is half or twice the target
MAX_DEVIATIONS = 10.0  # standard deviations to which normalized observations and values are clipped


# ---- Network: two recurrent towers, a distribution for each kind of action space ----------------


class Gaussian(NamedTuple):
    """Actions of a Box space: a diagonal Gaussian."""

    mean: jax.Array  # [..., action]
    log_std: jax.Array  # [..., action]

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


class Tower(nn.Module):
    """A cell that remembers what it has read, and a head that reads the cell."""

    size: int
    head_scale: float

    @nn.compact
    def __call__(self, memory: jax.Array, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The memory [..., MEMORY] with an observation more, and outputs [..., size]."""
        dense = partial(nn.Dense, kernel_init=orthogonal(2**0.5))
        x = nn.tanh(dense(HIDDEN)(obs))
        memory, _ = nn.GRUCell(MEMORY)(memory, x)
        x = nn.tanh(dense(HIDDEN)(jnp.concatenate([x, memory], axis=-1)))
        return memory, nn.Dense(self.size, kernel_init=orthogonal(self.head_scale))(x)


class ActorCritic(nn.Module):
    """A policy and a value function over normalized observations, each with its memory."""

    action_space: Any

    def setup(self) -> None:
        """The policy's head is small, so that the first actions are near zero."""
        self.discrete = not self.action_space.shape
        size = int(self.action_space.n) if self.discrete else self.action_space.shape[0]
        self.actor = Tower(size, 0.01)
        self.critic = Tower(1, 1.0)
        if not self.discrete:
            self.log_std = self.param("log_std", constant(INITIAL_LOG_STD), (size,))

    def policy(self, memory: jax.Array, obs: jax.Array, left: Any) -> tuple[jax.Array, Any]:
        """The memory after observations [..., observation], and the distribution of actions.

        The bounds of its noise fall with `left`, the share of the budget that is left.
        """
        memory, out = self.actor(memory, obs)
        if self.discrete:
            return memory, Categorical(out)
        bounds = (last + (first - last) * left for first, last in (LEAST_LOG_STD, MOST_LOG_STD))
        moved = jax.lax.stop_gradient(jnp.clip(self.log_std, *bounds) - self.log_std)
        log_std = jnp.broadcast_to(self.log_std + moved, out.shape)
        # Means end at the bounds: beyond, every action is the same and noise would cost nothing.
        return memory, Gaussian(nn.tanh(out), log_std)

    def value(self, memory: jax.Array, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The memory, and the value [...] in deviations from the mean of all targets so far."""
        memory, out = self.critic(memory, obs)
        return memory, out.squeeze(-1)


class Memory(NamedTuple):
    """What is remembered: [N, MEMORY], zeros where an episode starts."""

    actor: jax.Array
    critic: jax.Array


def fresh_memory(*batch: int) -> Memory:
    """Of episodes that start."""
    return Memory(jnp.zeros((*batch, MEMORY)), jnp.zeros((*batch, MEMORY)))


def read(net: Callable, memory: jax.Array, obs: jax.Array, started: jax.Array) -> tuple:
    """Read observations [T, N, ...] one after the other.

    Args:
      net: of a memory and observations: the next memory, and what is wanted.
      memory: [N, MEMORY], before them.
      obs: normalized.
      started: [T, N], where an episode starts, and nothing is remembered.

    Returns:
      The memories after each, and what is wanted: [T, N, ...].
    """

    def step(memory: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple:
        obs, started = now
        memory, wanted = net(jnp.where(started[:, None], 0.0, memory), obs)
        return memory, (memory, wanted)

    return jax.lax.scan(step, memory, (obs, started))[1]


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


class Acting(NamedTuple):
    """What goes on from step to step."""

    env_state: Any
    memory: Memory
    started: jax.Array  # [N], where the observation is an episode's first


class Rollout(NamedTuple):
    """What happened, as [T, N, ...]; and what was remembered before, as [N, MEMORY]."""

    obs: jax.Array
    action: jax.Array  # the policy's: not scaled, not clipped
    started: jax.Array
    outcome: Any  # an EnvState: next_obs, reward, terminated, truncated, ...
    memory: Memory


def rollout(state: "TrainState", acting: Acting, left: Any, env: Any, net: ActorCritic) -> tuple:
    """Act for ROLLOUT_STEPS; what goes on, and what happened, as a `Rollout`."""

    def step(acting: Acting, key: jax.Array) -> tuple[Acting, tuple]:
        env_state, memory, started = acting
        obs = normalize(state.obs_stats, env_state.obs)
        memory = jax.tree.map(lambda x: jnp.where(started[:, None], 0.0, x), memory)
        actor, policy = net.apply(state.params, memory.actor, obs, left, method=net.policy)
        critic, _ = net.apply(state.params, memory.critic, obs, method=net.value)
        action = policy.sample(key)
        after = env.step(env_state, applied(action, env.action_space))
        outcome = replace(after, internal=None)  # T copies of a simulator's state are of no use
        ended = after.terminated | after.truncated
        return Acting(after, Memory(actor, critic), ended), (
            env_state.obs,
            action,
            started,
            outcome,
        )

    key, _, _ = jax.random.split(state.key, 3)  # the other two are the update's
    keys = jax.random.split(key, ROLLOUT_STEPS)
    after, steps = jax.lax.scan(step, acting, keys)
    return after, Rollout(*steps, acting.memory)


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
    """What the update learns from, as [T, N, ...]; the memory as [N, MEMORY]."""

    obs: jax.Array
    action: jax.Array
    started: jax.Array
    log_prob: jax.Array  # by the policy before the update
    advantage: jax.Array
    target: jax.Array  # normalized, as the value is
    memory: Memory

    def of(self, envs: jax.Array) -> "Batch":
        """That of some environments."""
        *steps, memory = self
        return Batch(*(x[:, envs] for x in steps), jax.tree.map(lambda x: x[envs], memory))


def policies(params: Any, batch: Any, obs: jax.Array, left: Any, net: ActorCritic) -> Any:
    """The distributions along the way."""
    policy = partial(net.apply, params, left=left, method=net.policy)
    return read(policy, batch.memory.actor, obs, batch.started)[1]


def values(params: Any, batch: Any, obs: jax.Array, net: ActorCritic) -> tuple:
    """The memories and the values along the way."""
    value = partial(net.apply, params, method=net.value)
    return read(value, batch.memory.critic, obs, batch.started)


def ppo_loss(params: Any, net: ActorCritic, batch: Batch, left: jax.Array) -> tuple[Any, dict]:
    """The clipped surrogate, value and entropy losses; with metrics under CleanRL's names."""
    policy = policies(params, batch, batch.obs, left, net)
    log_ratio = policy.log_prob(batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    advantage = jnp.clip(advantage, -MAX_ADVANTAGE, MAX_ADVANTAGE)
    clipped = jnp.clip(ratio, 1 - CLIP_EPSILON, 1 + CLIP_EPSILON)
    policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
    _, value = values(params, batch, batch.obs, net)
    value_loss = 0.5 * ((value - batch.target) ** 2).mean()
    entropy = policy.entropy().mean()
    # It falls by equal factors in equal shares of the budget.
    entropy_coef = FINAL_ENTROPY_COEF * (ENTROPY_COEF / FINAL_ENTROPY_COEF) ** left
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
    memory = fresh_memory()

    def everything(net: ActorCritic) -> tuple:
        return net.policy(memory.actor, obs, 1), net.value(memory.critic, obs)

    params = net.init(net_key, method=everything)
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

    def minibatch(state: TrainState, envs: jax.Array) -> tuple[TrainState, dict]:
        part = batch.of(envs)
        grads, metrics = jax.grad(ppo_loss, has_aux=True)(state.params, net, part, left)
        updates, opt_state = optimizer(state.learning_rate).update(grads, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        return state.replace(params=params, opt_state=opt_state), metrics

    def epoch(state: TrainState, key: jax.Array) -> tuple[TrainState, dict]:
        envs = jax.random.permutation(key, batch.obs.shape[1]).reshape(NUM_MINIBATCHES, -1)
        state, metrics = jax.lax.scan(minibatch, state, envs)
        kl, target = metrics["losses/approx_kl"].mean(), TARGET_KL * left  # it settles in the end
        change = [1 / KL_ADAPTATION, KL_ADAPTATION]
        rate = state.learning_rate * jnp.select([kl > 2 * target, kl < target / 2], change, 1.0)
        return state.replace(learning_rate=jnp.clip(rate, *LEARNING_RATE_BOUNDS)), metrics

    state, metrics = jax.lax.scan(epoch, state, jax.random.split(key, NUM_EPOCHS))
    return state, jax.tree.map(jnp.mean, metrics)


def update(state: TrainState, steps: Rollout, left: Any, net: ActorCritic) -> tuple:
    """Learn from a rollout; `left` is the share of the budget that is left."""
    outcome = steps.outcome
    _, learn_key, key = jax.random.split(state.key, 3)
    obs, next_obs = (normalize(state.obs_stats, x) for x in (steps.obs, outcome.next_obs))

    memories, value = values(state.params, steps, obs, net)
    # The true successor is read after what led to it, also where the episode ended.
    _, next_value = net.apply(state.params, memories, next_obs, method=net.value)
    value, next_value = (denormalize(state.value_stats, x) for x in (value, next_value))
    advantage = gae(value, next_value, outcome)
    target = advantage + value
    value_stats = add_samples(state.value_stats, target.ravel())
    # By the newest policy: KL and clipping count what this update changes.
    log_prob = policies(state.params, steps, obs, left, net).log_prob(steps.action)
    target_now = normalize(value_stats, target)
    batch = Batch(obs, steps.action, steps.started, log_prob, advantage, target_now, steps.memory)
    state, metrics = learn(state, batch, learn_key, left, net)

    ended = (outcome.terminated | outcome.truncated).sum()
    metrics |= {
        "charts/episodic_return": outcome.episode_return.sum() / ended,  # NaN where none ended
        "charts/episodic_length": outcome.episode_length.sum() / ended,
        "charts/learning_rate": state.learning_rate,
        "charts/diverged": outcome.diverged.sum(),  # episodes that ended in NaN
        "losses/explained_variance": 1 - advantage.var() / (target.var() + 1e-8),
    }
    obs_stats = add_samples(state.obs_stats, steps.obs.reshape(-1, obs.shape[-1]))
    return state.replace(obs_stats=obs_stats, value_stats=value_stats, key=key), metrics


# ---- The budget ---------------------------------------------------------------------------------


def compiled(trial: Trial, state: TrainState, env: Any, net: ActorCritic) -> tuple[Any, Any]:
    """`begin(state, key)` and `iterate(state, acting, steps, left)`, compiled ahead of time.

    An iteration learns from one rollout while it makes the next one, where the environment is.
    """
    reset = trial.compile(env.reset, state.key, devices=env.devices)
    play = partial(rollout, env=env, net=net)
    whole = jnp.float32(1)
    fresh = fresh_memory(env.num_envs), jnp.ones(env.num_envs, bool)
    first = Acting(reset.outputs, *fresh)
    play = trial.compile(play, state, first, whole, devices=env.devices)
    improve = trial.compile(partial(update, net=net), state, play.outputs[1], whole)
    learner = ThreadPoolExecutor(1)  # on CPUs JAX does one thing at a time for each thread

    def begin(state: TrainState, key: jax.Array) -> tuple[Any, Rollout]:
        return play(state.replace(key=key), Acting(reset(key), *fresh), whole)

    def iterate(state: TrainState, acting: Acting, steps: Rollout, left: jax.Array) -> tuple:
        improved = learner.submit(improve, state, steps, left)
        acting, steps = play(state, acting, left)
        state, metrics = improved.result()
        return state, acting, steps, metrics

    return begin, iterate


def main(trial: Trial) -> None:
    """Compile, start the clock, and update until the budget is used up."""
    env = trial.make_env(trial.num_envs_hint)
    if env.num_envs % NUM_MINIBATCHES:
        raise ValueError(f"{env.num_envs} environments make no {NUM_MINIBATCHES} minibatches.")
    net = ActorCritic(env.action_space)
    # XLA's own generator: its normal numbers compile five times faster than threefry's.
    key, first_key = jax.random.split(jax.random.key(trial.seed, impl="rbg"))
    state = jax.jit(partial(init, env=env, net=net))(key)
    begin, iterate = compiled(trial, state, env, net)

    def act(params: Any, memory: jax.Array, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The policy that is scored: the likeliest action, and what it remembers."""
        network, obs_stats = params
        obs = normalize(obs_stats, obs)
        memory, policy = net.apply(network, memory, obs, 0, method=net.policy)
        return applied(policy.mode(), env.action_space), memory

    def publish(state: TrainState) -> None:
        trial.publish(act, (state.params, state.obs_stats), fresh_memory().actor)

    publish(state)  # exports it while no clock runs
    trial.start()
    samples = ROLLOUT_STEPS * env.num_envs
    (acting, steps), step = begin(state, first_key), samples
    while trial.time_left() > 0:
        state, acting, steps, metrics = iterate(state, acting, steps, 1 - trial.progress())
        step += samples
        trial.log(step, **metrics)
        publish(state)


if __name__ == "__main__":
    main(connect())
