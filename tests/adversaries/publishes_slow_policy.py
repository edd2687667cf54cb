"""Publishes a policy that computes nothing of use for as long as it likes."""

import jax
import jax.numpy as jnp

from harness.trial import connect


def act(params, obs):
    """Multiplies a matrix by itself two thousand times a step."""
    waste = jax.lax.fori_loop(0, 2000, lambda _, m: jnp.tanh(m @ m), params)
    return jnp.zeros((obs.shape[0], 6)) + 1e-12 * waste[0, 0]


trial = connect()
trial.publish(act, jnp.eye(64))
trial.start()
