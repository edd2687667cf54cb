"""JAX's devices for the host's processors: where programs run that call a host engine."""

from typing import NoReturn

import jax
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
