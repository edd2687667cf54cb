"""Random draws for reset laws: one law, written once, seeded like Gymnasium or by a JAX key."""

from collections.abc import Callable
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

    def accepted(
        self, propose: Callable[["Draws"], Array], accept: Callable[[Array], Array]
    ) -> Array:
        """The first proposal that is accepted (rejection sampling)."""
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

    def accepted(
        self, propose: Callable[[Draws], np.ndarray], accept: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """The first proposal that is accepted (rejection sampling)."""
        while not accept(proposal := propose(self)):
            pass
        return proposal
