"""Publishes actions far outside of the action space."""

import jax.numpy as jnp

from harness.trial import connect
from tests.adversaries import act

trial = connect()
trial.start()
trial.publish(act, jnp.full(6, 1e9))
