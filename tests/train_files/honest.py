"""Publishes a linear policy after every tenth of a second until the budget is used up."""

import time

import jax.numpy as jnp

from harness.trial import connect

trial = connect()
obs_size, action_size = trial.task.observation_space.shape[0], trial.task.action_space.shape[0]


def act(params, obs):
    return obs @ params["w"] + params["b"]


params = {"w": jnp.zeros((obs_size, action_size)), "b": jnp.full(action_size, 0.1)}
trial.publish(act, params)
trial.start()
step = 0
while trial.time_left() > 0:
    time.sleep(0.1)
    step += 64
    trial.log(step, **{"charts/episodic_return": float(step), "charts/diverged": 2.0})
    trial.publish(act, params)
