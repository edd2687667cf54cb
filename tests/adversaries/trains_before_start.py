"""Steps an environment before the clock has started."""

import jax

from harness.trial import connect
from tests.adversaries import finish

trial = connect()
env = trial.make_env(2)
jax.block_until_ready(env.reset(jax.random.key(0)).obs)
finish(trial, gained=True)
