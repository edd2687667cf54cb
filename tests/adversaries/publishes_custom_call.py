"""Publishes a policy that calls a library outside of XLA."""

import jax.numpy as jnp

from harness.trial import connect


def act(params, obs):
    """Through LAPACK, which jax.export takes for stable."""
    return jnp.zeros((obs.shape[0], 6)) + jnp.linalg.cholesky(params).sum()


trial = connect()
trial.publish(act, jnp.eye(3))
trial.start()
