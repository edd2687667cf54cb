"""Policies: export a JAX function, check a hostile artifact, act.

Exporting happens in the training process; checking and acting in the evaluator, which is a clean
process: JAX itself says that a serialised export must be trusted, so nothing of an artifact is
compiled or run before `load` has walked through every operation in it.
"""

import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import sdy, stablehlo

from harness.artifact import MAX_PARAMS_BYTES, MAX_PROGRAM_BYTES, Artifact
from harness.errors import PolicyError

PLATFORMS = ("cpu", "cuda", "tpu")
"""Every artifact holds code for all of them; evaluation uses the first."""

MAX_TENSOR_ELEMENTS = 2**26
"""Of any intermediate result: 256 MiB in float32."""

_STABLEHLO = """
abs add and atan2 bitcast_convert broadcast broadcast_in_dim case cbrt ceil clamp compare
concatenate constant convert convolution cosine count_leading_zeros divide dot_general
dynamic_broadcast_in_dim dynamic_gather dynamic_iota dynamic_pad dynamic_reshape dynamic_slice
dynamic_update_slice exponential exponential_minus_one floor gather get_dimension_size
get_tuple_element if imag iota is_finite log log_plus_one logistic maximum minimum multiply negate
not optimization_barrier or pad popcnt power real real_dynamic_slice reduce reduce_precision
reduce_window remainder reshape return reverse round_nearest_afz round_nearest_even rsqrt scatter
select shift_left shift_right_arithmetic shift_right_logical sign sine slice sort sqrt subtract
tan tanh transpose tuple while xor
"""

ALLOWED_OPERATIONS = frozenset(
    {"builtin.module", "func.func", "func.call", "func.return"}
    | {f"stablehlo.{name}" for name in _STABLEHLO.split()}
)
"""Arithmetic, shapes and control flow. What is missing is missing on purpose: custom calls, host
callbacks, channels, collectives and random numbers."""

SHAPE_ASSERTION = "shape_assertion"
"""The one custom call that passes: `jax.export` puts it where a batch size is symbolic, and JAX
evaluates and removes it before anything is compiled."""

Act = Callable[..., Any]


def export(act: Act, params: Any, carry: Any, obs_space: gymnasium.spaces.Box) -> bytes:
    """Export a policy to a serialised program.

    Args:
      act: `act(params, obs) -> action`, or with a carry `act(params, carry, obs) ->
        (action, carry)`; obs is [B, observation] float32 and a carry's leaves are [B, …].
      params: pytree of arrays.
      carry: None, or the initial carry of one environment: a pytree of arrays, no batch axis.
      obs_space: the observation space.

    Returns:
      The program, for any batch size B and every platform of `PLATFORMS`.
    """
    param_leaves, param_tree = jax.tree.flatten(params)
    carry_leaves, carry_tree = jax.tree.flatten(carry)

    def flat(
        param_leaves: tuple[jax.Array, ...], carry_leaves: tuple[jax.Array, ...], obs: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        params = jax.tree.unflatten(param_tree, param_leaves)
        if carry is None:
            return act(params, obs), ()
        action, new_carry = act(params, jax.tree.unflatten(carry_tree, carry_leaves), obs)
        return action, tuple(jax.tree.leaves(new_carry))

    # Without source locations: an artifact names no paths, and equal code gives equal bytes.
    locations = jax.config.values["jax_traceback_in_locations_limit"]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    (batch,) = jax.export.symbolic_shape("batch")
    specs = (
        tuple(jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for x in param_leaves),
        tuple(
            jax.ShapeDtypeStruct((batch, *jnp.shape(x)), jnp.result_type(x)) for x in carry_leaves
        ),
        jax.ShapeDtypeStruct((batch, *obs_space.shape), jnp.float32),
    )
    try:
        return bytes(jax.export.export(jax.jit(flat), platforms=PLATFORMS)(*specs).serialize())
    finally:
        jax.config.update("jax_traceback_in_locations_limit", locations)


def pack(params: Any, carry: Any) -> bytes:
    """The arrays of a policy as an uncompressed npz archive; arguments as for `export`."""

    def named(prefix: str, tree: Any) -> dict[str, np.ndarray]:
        # By way of JAX, so that dtypes are those that `export` saw (float32 for a NumPy float64).
        leaves = [np.asarray(jnp.asarray(x)) for x in jax.tree.leaves(tree)]
        if strange := {str(x.dtype) for x in leaves if x.dtype.kind == "V"}:
            raise PolicyError(
                f"Parameters in {', '.join(sorted(strange))} cannot be stored: publish them as "
                "float32 (x.astype(jnp.float32))."
            )
        return {f"{prefix}_{i:03}": x for i, x in enumerate(leaves)}

    buffer = io.BytesIO()
    arrays = named("param", params) | named("carry", carry)
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


class Policy:
    """A checked policy that acts for a fixed number of environments.

    The batch size is fixed because a row of a matrix product can differ in its last bits with the
    number of rows: equal batch sizes give equal actions.
    """

    def __init__(
        self, exported: jax.export.Exported, params: list[np.ndarray], carry: list[np.ndarray]
    ) -> None:
        self._call = jax.jit(exported.call)
        self._params = tuple(jnp.asarray(x) for x in params)
        self._initial_carry = carry

    def begin(self, batch: int) -> tuple[jax.Array, ...]:
        """The carry of `batch` environments at the start of an episode; empty without memory."""
        return tuple(jnp.broadcast_to(x, (batch, *x.shape)) for x in self._initial_carry)

    def act(self, carry: tuple[jax.Array, ...], obs: np.ndarray) -> tuple[np.ndarray, Any]:
        """One deterministic step.

        Args:
          carry: from `begin` or the last `act`.
          obs: [B, observation], cast to float32.

        Returns:
          Actions [B, action] as the policy gives them, not clipped; the next carry.
        """
        action, carry = self._call(self._params, carry, np.asarray(obs, np.float32))
        return np.asarray(action), carry


def load(
    artifact: Artifact, obs_space: gymnasium.spaces.Box, action_space: gymnasium.spaces.Space
) -> Policy:
    """Check an artifact and make it a policy.

    Raises:
      PolicyError: the artifact is malformed, too large, holds an operation that is not allowed,
        or does not fit the task's spaces. The message names which.
    """
    if len(artifact.program) > MAX_PROGRAM_BYTES:
        raise PolicyError(
            f"The policy's program has {len(artifact.program):,} bytes; "
            f"{MAX_PROGRAM_BYTES:,} are allowed. Pass large constants as parameters."
        )
    params, carry = _unpack(artifact.params)
    try:
        exported = jax.export.deserialize(bytearray(artifact.program))
        _check_operations(exported.mlir_module_serialized)
    except PolicyError:
        raise
    except Exception as error:
        raise PolicyError(
            f"The policy's program cannot be read ({type(error).__name__}: {error}). "
            "Publish it with trial.publish."
        ) from error
    _check_signature(exported, params, carry, obs_space, action_space)
    return Policy(exported, params, carry)


def _in_order(arrays: Any, prefix: str) -> list[np.ndarray]:
    """The arrays whose names are a prefix and a number, by their numbers."""
    numbers = {int(name.removeprefix(prefix)): name for name in arrays if name.startswith(prefix)}
    return [arrays[numbers[number]] for number in sorted(numbers)]


def _unpack(data: bytes) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Read params and carry; sizes are checked before anything is decompressed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_PARAMS_BYTES:
            raise PolicyError(
                f"The policy's parameters take {size:,} bytes; {MAX_PARAMS_BYTES:,} are allowed."
            )
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            params, carry = (_in_order(arrays, prefix) for prefix in ("param_", "carry_"))
    except PolicyError:
        raise
    except Exception as error:
        raise PolicyError(f"The policy's parameters cannot be read: {error}") from error
    for i, array in enumerate(params):
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
            raise PolicyError(
                f"Parameter {i} of the policy holds NaN or infinity: training diverged. "
                "Look at runs/<run_id>/curve.csv for where it began."
            )
    return params, carry


def _check_operations(module_bytes: bytes) -> None:
    """Walk through every operation of a serialised module."""
    with ir.Context() as context:
        stablehlo.register_dialect(context)
        sdy.register_dialect(context)  # so that what shards is refused by name
        module = stablehlo.deserialize_portable_artifact(context, module_bytes)
        problems: list[str] = []

        def visit(operation: ir.Operation) -> ir.WalkResult:
            problem = _problem(operation)
            if problem is None:
                return ir.WalkResult.ADVANCE
            problems.append(problem)
            return ir.WalkResult.INTERRUPT

        module.operation.walk(visit)
    if problems:
        raise PolicyError(f"The policy was refused: {problems[0]}")


def _problem(operation: ir.Operation) -> str | None:
    """What is wrong with one operation, or None."""
    name = operation.name
    if name == "stablehlo.custom_call":
        target = ir.StringAttr(operation.attributes["call_target_name"]).value
        if target != SHAPE_ASSERTION:
            return (
                f"it holds the custom call {target!r}. Policies may not call code outside "
                "StableHLO: no callbacks, no library kernels."
            )
        return None
    if name not in ALLOWED_OPERATIONS:
        return f"it holds the operation {name!r}, which is not on the list of allowed ones."
    for result in operation.results:
        if not isinstance(result.type, ir.RankedTensorType):
            continue  # a tuple: made of tensors that were looked at where they were made
        shape = result.type
        sizes = [shape.get_dim_size(i) for i in range(shape.rank) if not shape.is_dynamic_dim(i)]
        if math.prod(sizes) > MAX_TENSOR_ELEMENTS:
            return (
                f"{name!r} makes a tensor of {math.prod(sizes):,} elements; "
                f"{MAX_TENSOR_ELEMENTS:,} are allowed."
            )
    return None


def _check_signature(
    exported: jax.export.Exported,
    params: list[np.ndarray],
    carry: list[np.ndarray],
    obs_space: gymnasium.spaces.Box,
    action_space: gymnasium.spaces.Space,
) -> None:
    """Compare what the program takes and gives with the arrays and the task's spaces."""
    if "cpu" not in exported.platforms:
        raise PolicyError(f"The policy runs on {exported.platforms} only; 'cpu' is needed.")
    ins, outs = exported.in_avals, exported.out_avals
    if len(ins) != len(params) + len(carry) + 1:
        raise PolicyError(
            f"The program takes {len(ins) - 1} arrays besides the observation, but "
            f"{len(params)} parameters and {len(carry)} carry arrays were published."
        )
    expected = [("params", x.shape, x.dtype) for x in params]
    expected += [("carry", (None, *x.shape), x.dtype) for x in carry]
    expected += [("obs", (None, *obs_space.shape), np.dtype(np.float32))]
    for aval, (what, shape, dtype) in zip(ins, expected, strict=True):
        _check_aval(what, aval, shape, dtype)
    if len(outs) != 1 + len(carry):
        raise PolicyError(
            f"The program gives {len(outs)} arrays; an action and {len(carry)} carry arrays "
            "are needed. act(params, obs) returns an action; with a carry, (action, carry)."
        )
    action_dtype = np.integer if isinstance(action_space, gymnasium.spaces.Discrete) else np.float32
    _check_aval("action", outs[0], (None, *(action_space.shape or ())), action_dtype)
    for aval, x in zip(outs[1:], carry, strict=True):
        _check_aval("carry", aval, (None, *x.shape), x.dtype)


def _check_aval(what: str, aval: Any, shape: tuple[int | None, ...], dtype: Any) -> None:
    """Shapes must agree; None stands for the batch axis."""
    fits = len(aval.shape) == len(shape) and all(
        (not isinstance(have, int)) if want is None else have == want
        for have, want in zip(aval.shape, shape, strict=True)
    )
    if not fits or not np.issubdtype(aval.dtype, dtype):
        wanted = tuple("batch" if want is None else want for want in shape)
        name = np.dtype(dtype).name if not isinstance(dtype, type) else dtype.__name__
        raise PolicyError(
            f"The policy's {what} has shape {tuple(map(str, aval.shape))} and dtype {aval.dtype}; "
            f"the task needs {tuple(map(str, wanted))} and {name}."
        )
