"""A function compiled ahead of time for some devices."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Compiled:
    """A compiled function, which takes its arguments from wherever they are.

    An array in which one of the first two axes is as long as there are environments is spread over
    the devices along it, [N, …] and [T, N, …]; everything else is on each of them. Where another
    axis happens to be as long, an array is spread that need not be: slower, with the same values.

    Args:
      function: of pytrees of arrays, jit-able.
      args: what it will be called with, or the shapes and dtypes of it.
      devices: that run it.
      num_envs: the numbers of environments, by which such an axis is known; multiples of the
        number of devices.
      donate: which arguments are given up, counted from 0: what it returns may take their memory.

    Attributes:
      outputs: shapes and dtypes of what it returns, to compile for what comes next.
    """

    def __init__(
        self,
        function: Callable,
        args: tuple,
        devices: Sequence[jax.Device],
        num_envs: Collection[int],
        donate: Collection[int] = (),
    ) -> None:
        mesh = Mesh(devices, ("devices",))

        def place(x: Any) -> NamedSharding:
            axes = [i for i, size in enumerate(x.shape[:2]) if size in num_envs]
            # The second one if both are: time is as long as there are environments.
            names = [None] * axes[-1] + ["devices"] if axes else []
            return NamedSharding(mesh, PartitionSpec(*names))

        specs = jax.eval_shape(lambda: args)
        self.outputs = jax.eval_shape(function, *specs)
        self._places = jax.tree.map(place, specs)
        placed = jax.jit(
            function,
            in_shardings=self._places,
            out_shardings=jax.tree.map(place, self.outputs),
            donate_argnums=tuple(donate),
        )
        self._call = placed.lower(*specs).compile()

    def __call__(self, *args: Any) -> Any:
        """The function's value, computed on the devices."""
        return self._call(*jax.device_put(args, self._places))
