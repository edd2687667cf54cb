"""Publishes a policy that calls Python on the host."""

import jax
import numpy as np

from harness.contract import policy
from harness.trial import connect

trial = connect()


def act(params, obs):
    """Calls the host beside."""
    jax.debug.callback(print, params)
    return jax.numpy.zeros((obs.shape[0], 6)) + params


trial.start()
exported = jax.export.export(
    jax.jit(act),
    disabled_checks=[jax.export.DisabledSafetyCheck.custom_call("xla_python_cpu_callback"),
                     jax.export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")],
)  # fmt: skip
(batch,) = jax.export.symbolic_shape("batch")
program = exported(
    jax.ShapeDtypeStruct((6,), np.float32), jax.ShapeDtypeStruct((batch, 17), np.float32)
).serialize()
header = {"kind": "publish", "program_bytes": len(program)}
trial._send(header, program + policy.pack(np.zeros(6, np.float32), None))
