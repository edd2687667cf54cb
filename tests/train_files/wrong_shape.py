"""A policy with one action too many."""

import jax.numpy as jnp

from harness.trial import connect

trial = connect()
size = trial.task.action_space.shape[0] + 1
trial.publish(lambda params, obs: jnp.zeros((obs.shape[0], size)) + params, jnp.float32(0))
trial.start()
