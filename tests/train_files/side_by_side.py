"""Trains a linear policy from each seed, all of them in one program by `vmap`: two updates."""

import jax
import jax.numpy as jnp

from harness.trial import connect

NUM_ENVS, STEPS, UPDATES = 2, 3, 2
NOISE, RATE = 0.1, 0.1


def act(weights, obs):
    return obs @ weights


def compiled(env, count):
    """`begin(seeds)` and `update(weights, state, key)`, for so many seeds."""
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

    begin = jax.jit(jax.vmap(begin)).lower(jax.ShapeDtypeStruct((count,), jnp.uint32))
    update = jax.jit(jax.vmap(update)).lower(*begin.out_info)
    return begin.compile(), update.compile()


def fit(begin, update, seeds):
    """The weights [seeds, observation, action] after the updates."""
    state = begin(jnp.array(seeds, jnp.uint32))
    for _ in range(UPDATES):
        state = update(*state)
    return state[0]


if __name__ == "__main__":
    trial = connect()
    programs = compiled(trial.make_env(NUM_ENVS), len(trial.seeds))
    trial.start()
    trial.publish_each(act, fit(*programs, trial.seeds))
