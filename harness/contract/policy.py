"""Policies: export a JAX function, check a hostile artifact, act.

Exporting happens in the training process; checking and acting in the evaluator, which is a clean
process: JAX itself says that a serialised export must be trusted, so nothing of an artifact is
compiled or run before `harness.contract.program` has walked through every operation in it.

A program acts for one observation. It sees nothing of other episodes, and what it does for one
does not depend on how many are played.
"""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from harness.contract import program
from harness.contract.artifact import MAX_PARAMS_BYTES, MAX_PROGRAM_BYTES, Artifact
from harness.errors import PolicyError

PLATFORMS = ("cpu", "cuda", "tpu")
"""Every artifact holds code for all of them; evaluation uses the first."""

MAX_CARRY_BYTES = 2**16
"""What a policy remembers from step to step, 64 KiB: eight times a GRU of 2,048 units, or the last
128 observations of 128 numbers. The shipped network and its optimizer's state do not fit."""

Act = Callable[..., Any]


def export(act: Act, params: Any, carry: Any, obs_space: gymnasium.spaces.Box) -> bytes:
    """Export a policy to a serialised program.

    Args:
      act: `act(params, obs) -> action`, or with a carry `act(params, carry, obs) ->
        (action, carry)`; obs is [B, observation] float32 and a carry's leaves are [B, …]. It is
        exported for B = 1.
      params: pytree of arrays.
      carry: None, or the initial carry of one environment: a pytree of arrays, no batch axis.
      obs_space: the observation space.

    Returns:
      The program, for one observation, without a batch axis, and every platform of `PLATFORMS`.

    Raises:
      PolicyError: what `act` gives has no batch axis.
    """
    param_leaves, param_tree = jax.tree.flatten(params)
    carry_leaves, carry_tree = jax.tree.flatten(carry)

    def single(
        param_leaves: tuple[jax.Array, ...], carry_leaves: tuple[jax.Array, ...], obs: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        params = jax.tree.unflatten(param_tree, param_leaves)
        if carry is None:
            return _only("action", act(params, obs[None])), ()
        before = jax.tree.unflatten(carry_tree, [x[None] for x in carry_leaves])
        action, after = act(params, before, obs[None])
        leaves = tuple(_only("carry", x) for x in jax.tree.leaves(after))
        return _only("action", action), leaves

    # Without source locations: an artifact names no paths, and equal code gives equal bytes.
    locations = jax.config.values["jax_traceback_in_locations_limit"]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    specs = (
        *(
            tuple(jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for x in leaves)
            for leaves in (param_leaves, carry_leaves)
        ),
        jax.ShapeDtypeStruct(obs_space.shape, jnp.float32),
    )
    try:
        return bytes(jax.export.export(jax.jit(single), platforms=PLATFORMS)(*specs).serialize())
    finally:
        jax.config.update("jax_traceback_in_locations_limit", locations)


def _only(what: str, batch: Any) -> jax.Array:
    """The one row of a batch."""
    shapes = [jnp.shape(x) for x in jax.tree.leaves(batch)]
    if len(shapes) != 1 or shapes[0][:1] != (1,):
        raise PolicyError(
            f"The {what} that act gives for one row of obs has the shape "
            f"{', '.join(map(str, shapes))}; one array with a row for every row of obs is needed."
        )
    return jax.tree.leaves(batch)[0][0]


def pack(params: Any, carry: Any) -> bytes:
    """The arrays of a policy as an uncompressed npz archive; arguments as for `export`."""
    return _archive(_arrays(params, carry))


def pack_each(params: Any, carry: Any, count: int) -> list[bytes]:
    """The arrays of several policies, an archive each.

    Args:
      params: as for `export`, with an axis in front: the policy.
      carry: likewise.
      count: of the policies.

    Raises:
      PolicyError: an array has no row for each policy, or all together are too large.
    """
    arrays = _arrays(params, carry)
    if (size := sum(x.nbytes for x in arrays.values())) > MAX_PARAMS_BYTES:
        raise PolicyError(
            f"The parameters of {count} policies take {size:,} bytes; {MAX_PARAMS_BYTES:,} are "
            "allowed, as for one. Train fewer seeds, or a smaller network."
        )
    if strange := {x.shape for x in arrays.values() if x.shape[:1] != (count,)}:
        raise PolicyError(
            f"Parameters of shape {', '.join(map(str, sorted(strange)))} are not those of {count} "
            "policies: the first axis of each array has to be the seed."
        )
    return [_archive({name: x[i] for name, x in arrays.items()}) for i in range(count)]


def _arrays(params: Any, carry: Any) -> dict[str, np.ndarray]:
    """The arrays of a policy by their names in an archive."""

    def named(prefix: str, tree: Any) -> dict[str, np.ndarray]:
        # By way of JAX, so that dtypes are those that `export` saw (float32 for a NumPy float64).
        leaves = [np.asarray(jnp.asarray(x)) for x in jax.tree.leaves(tree)]
        if strange := {str(x.dtype) for x in leaves if x.dtype.kind == "V"}:
            raise PolicyError(
                f"Parameters in {', '.join(sorted(strange))} cannot be stored: publish them as "
                "float32 (x.astype(jnp.float32))."
            )
        return {f"{prefix}_{i:03}": x for i, x in enumerate(leaves)}

    return named("param", params) | named("carry", carry)


def _archive(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


class Policy:
    """A checked policy that acts for many environments at once, for each of them by itself."""

    def __init__(
        self, exported: jax.export.Exported, params: list[np.ndarray], carry: list[np.ndarray]
    ) -> None:
        def act(params: Any, carry: Any, obs: jax.Array) -> Any:
            # One row after the other. A batched program would be three times as fast with layers
            # of a thousand units, but nothing but a loop is sure to keep rows apart.
            return jax.lax.map(lambda row: exported.call(params, *row), (carry, obs))

        self._call = jax.jit(act)
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

        Raises:
          PolicyError: the program cannot be compiled, or fails.
        """
        try:
            action, carry = self._call(self._params, carry, np.asarray(obs, np.float32))
            return np.asarray(action), carry
        except Exception as error:  # whatever XLA says of a program that is none
            raise PolicyError(
                f"The policy's program cannot be run ({type(error).__name__}: {str(error)[:1000]})."
            ) from error


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
        _check_signature(exported, params, carry, obs_space, action_space)
        program.check(exported.mlir_module_serialized)
    except PolicyError:
        raise
    except Exception as error:
        raise PolicyError(
            f"The policy's program cannot be read ({type(error).__name__}: {error}). "
            "Publish it with trial.publish."
        ) from error
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
    if (size := sum(x.nbytes for x in carry)) > MAX_CARRY_BYTES:
        raise PolicyError(
            f"The policy carries {size:,} bytes from step to step; {MAX_CARRY_BYTES:,} are "
            "allowed. What does not change belongs to the parameters."
        )
    return params, carry


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
    if any(not isinstance(size, int) for aval in (*ins, *outs) for size in aval.shape):
        raise PolicyError(
            "The policy's program is for a batch of observations; one for a single observation is "
            "needed, as trial.publish makes it. (If an earlier harness made it, its run can be "
            "scored again with the harness of the commit in its row.)"
        )
    if len(ins) != len(params) + len(carry) + 1:
        raise PolicyError(
            f"The program takes {len(ins) - 1} arrays besides the observation, but "
            f"{len(params)} parameters and {len(carry)} carry arrays were published."
        )
    expected = [("params", x.shape, x.dtype) for x in params]
    expected += [("carry", x.shape, x.dtype) for x in carry]
    expected += [("obs", obs_space.shape, np.dtype(np.float32))]
    for aval, (what, shape, dtype) in zip(ins, expected, strict=True):
        _check_aval(what, aval, shape, dtype)
    if len(outs) != 1 + len(carry):
        raise PolicyError(
            f"The program gives {len(outs)} arrays; an action and {len(carry)} carry arrays "
            "are needed. act(params, obs) returns an action; with a carry, (action, carry)."
        )
    action_dtype = np.integer if isinstance(action_space, gymnasium.spaces.Discrete) else np.float32
    _check_aval("action", outs[0], action_space.shape or (), action_dtype)
    for aval, x in zip(outs[1:], carry, strict=True):
        _check_aval("carry", aval, x.shape, x.dtype)


def _check_aval(what: str, aval: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Shapes must be equal, and dtypes of one kind."""
    if aval.shape != shape or not np.issubdtype(aval.dtype, dtype):
        name = np.dtype(dtype).name if not isinstance(dtype, type) else dtype.__name__
        raise PolicyError(
            f"The policy's {what} has shape {aval.shape} and dtype {aval.dtype} for one "
            f"observation; the task needs {shape} and {name}."
        )
