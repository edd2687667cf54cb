"""Random draws for reset laws: one law, written once, seeded like Gymnasium or by a JAX key."""

from typing import Any, Protocol

import numpy as np

Array = Any  # numpy.ndarray or jax.Array: both speak the array API


class Draws(Protocol):
    """What a task's reset law may ask for."""

    def uniform(self, low: float, high: float, size: int) -> Array:
        """`size` numbers, uniform in [low, high)."""
        ...

    def normal(self, size: int) -> Array:
        """`size` numbers from the standard normal distribution."""
        ...


class HostDraws:
    """Draws in float64 from a NumPy generator, in the order that Gymnasium makes them."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def uniform(self, low: float, high: float, size: int) -> np.ndarray:
        """`size` numbers, uniform in [low, high)."""
        return self._generator.uniform(low=low, high=high, size=size)

    def normal(self, size: int) -> np.ndarray:
        """`size` numbers from the standard normal distribution."""
        return self._generator.standard_normal(size)
