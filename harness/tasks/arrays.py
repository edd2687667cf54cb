"""The few array operations that tasks share, for NumPy and JAX alike (array API)."""

from typing import Any

import numpy as np

from harness.tasks.draws import Array


def namespace(*arrays: Array) -> Any:
    """The array API namespace of some arrays: NumPy's where all are NumPy's."""
    spaces = [array.__array_namespace__() for array in arrays]
    return next((space for space in spaces if space is not np), np)


def concatenate(*parts: Array) -> Array:
    """Join along the last axis."""
    return namespace(*parts).concatenate(parts, axis=-1)


def flatten(x: Array) -> Array:
    """Join the last two axes: per-body quantities to one vector."""
    return x.reshape(*x.shape[:-2], -1)


def clip(x: Array, low: float, high: float) -> Array:
    """Limit every element."""
    return namespace(x).clip(x, low, high)


def total(x: Array) -> Array:
    """Sum over the last axis."""
    return namespace(x).sum(x, axis=-1)


def scalar_square(x: Array) -> Array:
    """x² by C's `pow`, as NumPy squares a scalar; its last bit can differ from that of x·x."""
    return namespace(x).float_power(x, 2)


def square_sum(x: Array) -> Array:
    """Σ x² over the last axis."""
    return total(x * x)


def norm(x: Array) -> Array:
    """Euclidean length over the last axis, by a dot product as `numpy.linalg.norm` does it."""
    xp = namespace(x)
    return xp.sqrt(xp.vecdot(x, x))


def within(x: Array, low: float, high: float) -> Array:
    """Whether low < x < high."""
    return (low < x) & (x < high)
