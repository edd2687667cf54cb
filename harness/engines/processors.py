"""JAX's devices for the host's processors: where programs run that call a host engine."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import io_callback
from jax.experimental.buffer_callback import buffer_callback
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from harness.errors import InputError


def devices() -> list[jax.Device]:
    """Those of this process; JAX has them beside an accelerator's.

    Raises:
      InputError: `JAX_PLATFORMS` leaves them out.
    """
    try:
        return jax.local_devices(backend="cpu")
    except RuntimeError as error:
        raise InputError(
            "Simulation on the host needs JAX's CPU device, which JAX_PLATFORMS leaves out. "
            f"Add it: JAX_PLATFORMS={jax.default_backend()},cpu."
        ) from error


def call(
    function: Callable, shapes: Any, where: Sequence[jax.Device], counter: jax.Array, *args: Any
) -> Any:
    """Call a function on the host from a jitted program, each time that the program comes to it.

    Args:
      function: takes NumPy arrays or JAX's, on the host, and returns a pytree of arrays.
      shapes: a pytree of the shapes and dtypes of what it returns.
      where: the devices that the program is compiled for.
      counter: the first argument. Calls are in order where each takes it from the one before.
      args: further arguments.

    Returns:
      What the function returned.
    """
    args = bound(counter), *args
    if len(where) == 1:
        # Less than half the time of the other way, which copies what it takes and returns.
        return buffer_callback(_Filling(function), shapes, has_side_effect=True)(*args)
    # On one explicit device, because the default placement fails on sharded inputs.
    sharding = jax.sharding.SingleDeviceSharding(where[0])
    return io_callback(function, shapes, *args, ordered=True, sharding=sharding)


@dataclasses.dataclass(frozen=True)
class _Filling:
    """A function that fills buffers with what another one returns.

    Two of one function are equal, so that JAX compiles a call outside a program once.
    """

    function: Callable

    def __call__(self, context: object, buffers: Any, *args: Any) -> None:
        """Arguments and buffers are XLA's again as soon as this returns."""
        del context
        jax.tree.map(_fill, buffers, self.function(*map(np.asarray, args)))


def _fill(buffer: Any, value: np.ndarray) -> None:
    into = np.asarray(buffer)
    if (into.shape, into.dtype) != (value.shape, value.dtype):
        raise ValueError(
            f"A host engine returned {value.dtype}{list(value.shape)}; "
            f"{into.dtype}{list(into.shape)} is needed."
        )
    into[...] = value


def bound(number: jax.Array) -> jax.Array:
    """The same number, in a program that compiles for processors only.

    Without it, XLA ends with a failed check of its own where a callback is on an accelerator.
    """
    return _bound.bind(number)


def _refuse(context: mlir.LoweringRuleContext, *_: object) -> NoReturn:
    platform = ", ".join(context.module_context.platforms)
    raise RuntimeError(
        f"This program is compiled for {platform}, and steps an engine on the host. Compile it for "
        "env.devices: under `with jax.default_device(env.devices[0]):`, or with shardings over "
        "env.devices (docs/trial.md, “Env”)."
    )


_bound = Primitive("bound_to_processors")
_bound.def_impl(jax.jit(_bound.bind))
_bound.def_abstract_eval(lambda number: number)
mlir.register_lowering(_bound, _refuse)
mlir.register_lowering(_bound, lambda _, number: [number], platform="cpu")
batching.primitive_batchers[_bound] = lambda numbers, axes: (_bound.bind(*numbers), *axes)
