"""A policy that counts its steps in a carry and acts by the count."""

import jax.numpy as jnp

from harness.trial import connect

trial = connect()
shape = trial.task.action_space.shape


def act(params, carry, obs):
    count = carry["count"] + 1
    action = jnp.sin(params * count)[:, None] * jnp.ones((obs.shape[0], *shape))
    return action, {"count": count}


trial.publish(act, jnp.float32(0.3), carry={"count": jnp.float32(0)})
trial.start()
