"""Steps its environment before the clock runs."""

import jax

from harness.trial import connect

env = connect().make_env(2)
env.reset(jax.random.key(0))
jax.effects_barrier()
