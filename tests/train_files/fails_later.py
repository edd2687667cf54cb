"""Fails with an ordinary bug after an update and a policy."""

import jax.numpy as jnp

from harness.trial import connect

trial = connect()
obs_size, action_size = trial.task.observation_space.shape[0], trial.task.action_space.shape[0]
trial.start()
trial.log(64)
trial.publish(lambda params, obs: obs @ params, jnp.zeros((obs_size, action_size)))
raise ValueError("after a policy that would count")
