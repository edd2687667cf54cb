"""Steps the task in Warp, on a CPU, too; then runs a kernel of its own, which nobody has kept."""

from pathlib import Path

import jax
import jax.numpy as jnp
import warp

from harness.engines import backends
from harness.trial import connect

backends.NVIDIA_DRIVER = Path("/")


@warp.kernel
def count(numbers: warp.array(dtype=float)):
    numbers[warp.tid()] += 1.0


def act(params, obs):
    return jnp.zeros((obs.shape[0], env.action_space.shape[0])) + params


trial = connect()
env = trial.make_env(4)
trial.publish(act, jnp.zeros(1))
trial.start()


@jax.jit
def play(key):
    return env.step(env.reset(key), jnp.zeros((4, *env.action_space.shape)))


jax.block_until_ready(play(jax.random.key(trial.seed)))
numbers = warp.zeros(3, dtype=float)
warp.launch(count, dim=3, inputs=[numbers])
trial.log(4, counted=float(numbers.numpy().sum()))
