"""Trains a linear policy from each seed, all of them in one program by `vmap`: two updates."""

import jax
import jax.numpy as jnp

from harness.trial import connect

NUM_ENVS, STEPS, UPDATES = 2, 3, 2
NOISE, RATE = 0.1, 0.1


def act(weights, obs):
    return obs @ weights


def fit(trial):
    """The weights [seeds, observation, action] after the updates."""
    env = trial.make_env(NUM_ENVS)
    shape = env.observation_space.shape[0], env.action_space.shape[0]

    def begin(seed):
        key, reset_key, weights_key = jax.random.split(jax.random.key(seed), 3)
        return jax.random.normal(weights_key, shape), env.reset(reset_key), key

    def update(weights, state, key):
        key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (NUM_ENVS, *shape))

        def step(state, _):
            state = env.step(state, jax.vmap(act)(weights + NOISE * noise, state.obs))
            return state, -jnp.square(state.next_obs).sum(-1)

        state, gain = jax.lax.scan(step, state, None, STEPS)
        return weights + RATE * jnp.tensordot(gain.sum(0), noise, 1), state, key

    begin, update = jax.jit(jax.vmap(begin)), jax.jit(jax.vmap(update))
    seeds = jnp.array(trial.seeds, jnp.uint32)
    update = update.lower(*jax.eval_shape(begin, seeds)).compile()
    begin = begin.lower(seeds).compile()
    trial.start()
    state = begin(seeds)
    for _ in range(UPDATES):
        state = update(*state)
    return state[0]


if __name__ == "__main__":
    trial = connect()
    trial.publish_each(act, fit(trial))
