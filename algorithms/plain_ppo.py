"""Plain PPO: one environment, CleanRL's published settings, nothing tuned.

The shortest of these files, to read first and to compare with; on several environments, and with
two cores, the others learn far more in the same time.

What it took from where: constants, normalization, clipping and the treatment of episode ends are
those of CleanRL's `ppo_continuous_action.py` (Huang et al. 2022, JMLR 23(274); Huang et al. 2022,
"The 37 implementation details of PPO"). Different: written in JAX; the last observation of an
episode does not count in the statistics, which are in single precision; the learning rate falls
with the time that is left instead of with the steps, because the budget here is a time.
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from harness.trial import Trial, connect

NUM_STEPS = 2048  # of the one environment between updates
NUM_MINIBATCHES = 32
NUM_EPOCHS = 10
LEARNING_RATE = 3e-4
GAMMA = 0.99
GAE_LAMBDA = 0.95
CLIP = 0.2  # of the ratio, and of the value's change
VALUE_COEF = 0.5
MAX_GRAD_NORM = 0.5
LIMIT = 10.0  # of normalized observations and rewards


class Network(nn.Module):
    """Separate policy and value towers, and the log of the action noise."""

    actions: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The mean [..., action] and log deviation [action] of actions, and the value [...]."""

        def tower(size: int, scale: float) -> jax.Array:
            x = obs
            for _ in range(2):
                x = nn.tanh(nn.Dense(64, kernel_init=nn.initializers.orthogonal(2**0.5))(x))
            return nn.Dense(size, kernel_init=nn.initializers.orthogonal(scale))(x)

        log_std = self.param("log_std", nn.initializers.zeros, (self.actions,))
        return tower(self.actions, 0.01), log_std, tower(1, 1.0).squeeze(-1)


class Running(NamedTuple):
    """Count, mean and variance of what was seen, one sample after the other."""

    count: jax.Array
    mean: jax.Array
    var: jax.Array

    def add(self, x: jax.Array) -> "Running":
        """With one more sample."""
        total, delta = self.count + 1, x - self.mean
        spread = self.var * self.count + delta**2 * self.count / total
        return Running(total, self.mean + delta / total, spread / total)

    def deviation(self) -> jax.Array:
        """The standard deviation, never 0."""
        return jnp.sqrt(self.var + 1e-8)


def running(shape: tuple[int, ...]) -> Running:
    """Nothing seen."""
    return Running(jnp.asarray(1e-4), jnp.zeros(shape), jnp.ones(shape))


def normalized(seen: Running, obs: jax.Array) -> jax.Array:
    """Observations in standard deviations from their mean, clipped."""
    return jnp.clip((obs - seen.mean) / seen.deviation(), -LIMIT, LIMIT)


def log_density(mean: jax.Array, log_std: jax.Array, action: jax.Array) -> jax.Array:
    """Of actions under the Gaussian policy, [...]."""
    z = (action - mean) * jnp.exp(-log_std)
    return (-0.5 * z**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


class State(NamedTuple):
    """All that goes from update to update."""

    params: Any
    opt_state: Any
    seen_obs: Running
    seen_return: Running
    return_so_far: jax.Array
    obs: jax.Array  # [observation], normalized
    env_state: Any
    key: jax.Array


class Batch(NamedTuple):
    """A rollout's samples, [NUM_STEPS, ...]."""

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


optimizer = optax.chain(optax.clip_by_global_norm(MAX_GRAD_NORM), optax.scale_by_adam(eps=1e-5))


def init(key: jax.Array, env: Any, net: Network) -> State:
    """The state before the first update."""
    net_key, env_key, key = jax.random.split(key, 3)
    env_state = env.reset(env_key)
    seen = running(env.observation_space.shape).add(env_state.obs[0])
    params = net.init(net_key, env_state.obs[0])
    return State(
        params, optimizer.init(params), seen, running(()), jnp.zeros(()),
        normalized(seen, env_state.obs[0]), env_state, key,
    )  # fmt: skip


def rollout(state: State, env: Any, net: Network) -> tuple[State, tuple[Batch, Any]]:
    """NUM_STEPS steps; statistics are brought up to date after each, as wrappers do."""

    def step(state: State, key: jax.Array) -> tuple[State, tuple[Batch, Any]]:
        mean, log_std, value = net.apply(state.params, state.obs)
        action = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        after = env.step(state.env_state, action[None])
        done = after.terminated[0] | after.truncated[0]
        kept = jnp.where(after.terminated[0], 0.0, GAMMA)  # Gymnasium's `NormalizeReward`
        total = state.return_so_far * kept + after.reward[0]
        seen_return = state.seen_return.add(total)
        reward = jnp.clip(after.reward[0] / seen_return.deviation(), -LIMIT, LIMIT)
        seen_obs = state.seen_obs.add(after.obs[0])
        log_prob = log_density(mean, log_std, action)
        sample = Batch(state.obs, action, log_prob, value, reward, done)
        state = state._replace(
            seen_obs=seen_obs,
            seen_return=seen_return,
            return_so_far=total,
            obs=normalized(seen_obs, after.obs[0]),
            env_state=after,
        )
        return state, (sample, (after.episode_return[0], after.episode_length[0]))

    rollout_key, key = jax.random.split(state.key)
    return jax.lax.scan(step, state._replace(key=key), jax.random.split(rollout_key, NUM_STEPS))


def gae(batch: Batch, last_value: jax.Array) -> jax.Array:
    """Advantages [NUM_STEPS]; every end of an episode, a time limit too, counts as terminal."""
    next_value = jnp.append(batch.value[1:], last_value)
    delta = batch.reward + GAMMA * jnp.where(batch.done, 0.0, next_value) - batch.value
    carried = jnp.where(batch.done, 0.0, GAMMA * GAE_LAMBDA)

    def backwards(advantage: jax.Array, step: tuple[jax.Array, jax.Array]) -> Any:
        advantage = step[0] + step[1] * advantage
        return advantage, advantage

    return jax.lax.scan(backwards, jnp.zeros(()), (delta, carried), reverse=True)[1]


def loss(
    params: Any, net: Network, batch: Batch, advantage: jax.Array, target: jax.Array
) -> tuple[jax.Array, dict]:
    """The clipped policy and value losses of a minibatch."""
    mean, log_std, value = net.apply(params, batch.obs)
    log_ratio = log_density(mean, log_std, batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    surrogate = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
    near = batch.value + jnp.clip(value - batch.value, -CLIP, CLIP)
    value_loss = 0.5 * jnp.maximum((value - target) ** 2, (near - target) ** 2).mean()
    return VALUE_COEF * value_loss - surrogate.mean(), {
        "losses/policy_loss": -surrogate.mean(),
        "losses/value_loss": value_loss,
        "losses/entropy": (log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum(),
        "losses/approx_kl": ((ratio - 1) - log_ratio).mean(),
    }


def update(state: State, rate: jax.Array, env: Any, net: Network) -> tuple[State, dict]:
    """One rollout, and NUM_EPOCHS passes over it at a learning rate."""
    state, (batch, (returns, lengths)) = rollout(state, env, net)
    advantage = gae(batch, net.apply(state.params, state.obs)[2])
    data = (batch, advantage, advantage + batch.value)

    def minibatch(carry: Any, rows: jax.Array) -> Any:
        params, opt_state = carry
        part = jax.tree.map(lambda x: x[rows], data)
        grads, metrics = jax.grad(loss, has_aux=True)(params, net, *part)
        updates, opt_state = optimizer.update(grads, opt_state)
        return (jax.tree.map(lambda p, u: p - rate * u, params, updates), opt_state), metrics

    def epoch(carry: Any, key: jax.Array) -> Any:
        rows = jax.random.permutation(key, NUM_STEPS).reshape(NUM_MINIBATCHES, -1)
        return jax.lax.scan(minibatch, carry, rows)

    learn_key, key = jax.random.split(state.key)
    keys = jax.random.split(learn_key, NUM_EPOCHS)
    (params, opt_state), metrics = jax.lax.scan(epoch, (state.params, state.opt_state), keys)
    metrics = jax.tree.map(jnp.mean, metrics) | {
        "charts/episodic_return": returns.sum() / batch.done.sum(),  # NaN where none ended
        "charts/episodic_length": lengths.sum() / batch.done.sum(),
        "charts/learning_rate": rate,
    }
    return state._replace(params=params, opt_state=opt_state, key=key), metrics


def main(trial: Trial) -> None:
    """Train until the budget is used up."""
    env = trial.make_env(1)
    if not env.action_space.shape:
        raise SystemExit(f"{trial.task.id} has discrete actions; this file is for a Box of them.")
    jax.config.update("jax_default_device", env.devices[0])  # everything is where it simulates
    net = Network(env.action_space.shape[0])
    key = jax.random.key(trial.seed)
    start = jax.jit(partial(init, env=env, net=net)).lower(key).compile()
    spec = jax.eval_shape(partial(init, env=env, net=net), key)
    rate_spec = jax.ShapeDtypeStruct((), jnp.float32)
    go_on = jax.jit(partial(update, env=env, net=net)).lower(spec, rate_spec).compile()

    def act(params: Any, obs: jax.Array) -> jax.Array:
        network, seen = params
        return net.apply(network, normalized(seen, obs))[0]

    trial.start()
    state = start(key)
    step = 0
    while trial.time_left() > 0:
        state, metrics = go_on(state, jnp.float32(LEARNING_RATE * (1 - trial.progress())))
        step += NUM_STEPS
        trial.log(step, **metrics)
        trial.publish(act, (state.params, state.seen_obs))


if __name__ == "__main__":
    main(connect())
