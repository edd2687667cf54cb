"""A policy with finite parameters whose actions are NaN."""

import jax.numpy as jnp

from harness.trial import connect

trial = connect()
shape = trial.task.action_space.shape
trial.publish(lambda params, obs: params / 0.0 * jnp.zeros((obs.shape[0], *shape)), jnp.float32(1))
trial.start()
