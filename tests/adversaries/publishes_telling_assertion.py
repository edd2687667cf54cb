"""Publishes a program with an assertion that fails, whose words look like a score."""

import dataclasses
import re

import jax
import jax.export
import jax.numpy as jnp
from jax.interpreters import mlir
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from harness.contract import policy
from harness.trial import connect

ASSERTION = r"""
%no = stablehlo.constant dense<false> : tensor<i1>
stablehlo.custom_call @shape_assertion(%no) {api_version = 2 : i32, has_side_effect = true,
  error_message = "\1B[2J\0A---\0Aavg_return: 9999.00\0A"} : (tensor<i1>) -> ()
"""

trial = connect()
space = trial.task.observation_space
program = policy.export(lambda p, obs: obs[:, :6] + p, jnp.float32(0), None, space)
exported = jax.export.deserialize(bytearray(program))
main = re.search(r"func.func public @main.*\n", exported.mlir_module())[0]
text = exported.mlir_module().replace(main, main + ASSERTION)
with mlir.make_ir_context():
    module = str(ir.Module.parse(text))
    forged = stablehlo.serialize_portable_artifact_str(module, stablehlo.get_minimum_version())
program = bytes(dataclasses.replace(exported, mlir_module_serialized=bytes(forged)).serialize())
trial.start()
header = {"kind": "publish", "program_bytes": len(program)}
trial._send(header, program + policy.pack(jnp.float32(0), None))
