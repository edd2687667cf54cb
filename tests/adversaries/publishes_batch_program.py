"""Publishes a program for all episodes at once, so that they could confer."""

import jax
import jax.export
import jax.numpy as jnp

from harness.contract import policy
from harness.trial import connect

trial = connect()
(batch,) = jax.export.symbolic_shape("batch")
specs = (
    (jax.ShapeDtypeStruct((), jnp.float32),),
    (),
    jax.ShapeDtypeStruct((batch, *trial.task.observation_space.shape), jnp.float32),
)


def together(params, carry, obs):
    """Every action is the mean of what all episodes see."""
    return jnp.zeros((obs.shape[0], 6)) + obs.mean() * params[0], ()


program = jax.export.export(jax.jit(together), platforms=policy.PLATFORMS)(*specs).serialize()
trial.start()
header = {"kind": "publish", "program_bytes": len(program)}
trial._send(header, bytes(program) + policy.pack(jnp.float32(1), None))
