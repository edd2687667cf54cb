"""Publishes 1 in time and 2 after the deadline, and goes on for as long as it is let."""

import time

import jax.numpy as jnp

from harness.trial import connect

trial = connect()
shape = trial.task.action_space.shape


def act(params, obs):
    return jnp.broadcast_to(params, (obs.shape[0], *shape))


trial.publish(act, jnp.full(shape, 1.0))
trial.start()
while trial.time_left() > -0.5:
    time.sleep(0.05)
while True:
    trial.log(10**9)
    trial.publish(act, jnp.full(shape, 2.0))
    time.sleep(0.05)
