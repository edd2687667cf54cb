"""The order: what is to be measured, from the command line to the training's own process.

A request holds one, a measurement takes it, and the part of it that is an assignment travels to the
training. Each value stands in it once.
"""

import dataclasses
import hashlib
import math
import secrets

SEED_BITS = 31
"""Assigned seeds fit a signed 32-bit integer everywhere."""

MAX_SEEDS = 32
"""Of one training: each has a policy, and they are evaluated one after the other."""


@dataclasses.dataclass(frozen=True)
class Assignment:
    """What a training is told. The rest of an order is its parent's, and never reaches it.

    Attributes:
      task_id: a Gymnasium id.
      backend: one of `backends.BACKENDS`; the training resolves `auto`, for it knows its devices.
      seed: for all randomness.
      budget: seconds of training.
      num_seeds: policies that are trained side by side, each from a seed of its own.

    Raises:
      ValueError: there are too many of them, or none.
    """

    task_id: str
    backend: str
    seed: int
    budget: float
    num_seeds: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.num_seeds <= MAX_SEEDS:
            raise ValueError(f"{self.num_seeds} seeds; 1 to {MAX_SEEDS} can be trained at once")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of all policies: the seed, and what follows from it. Nobody chooses among them."""
        return self.seed, *(_following(self.seed, index) for index in range(1, self.num_seeds))


@dataclasses.dataclass(frozen=True)
class Stop:
    """Where a training ends that looks hopeless by what it reports itself; see `reports`.

    Attributes:
      share: of the budget, which is used then, in (0, 1].
      least: the mean return that it has to have reported; it goes on where it has reported none.

    Raises:
      ValueError: they are no such numbers.
    """

    share: float
    least: float

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and math.isfinite(self.least)):
            raise ValueError(f"{self} is no place in a training, or asks for no number")


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be measured.

    Attributes:
      assignment: what the training is told.
      episodes: of the evaluation.
      confinement: of training and evaluation; see `sandbox`.
      eval_engine: a second simulator to evaluate in; None for no second figure.
      allowance: seconds before the clock of the training starts by itself; None for what the
        machine's devices may need.
      stops: where the training ends early; nowhere if empty. The training is not told of them.
    """

    assignment: Assignment
    episodes: int
    confinement: str
    eval_engine: str | None = None
    allowance: float | None = None
    stops: tuple[Stop, ...] = ()


def _following(seed: int, index: int) -> int:
    """The seed of a further policy: the first bits of a hash of the first one's, and its number."""
    digest = hashlib.sha256(f"{seed} {index}".encode()).digest()
    return int.from_bytes(digest[:4], "little") % 2**SEED_BITS


def draw_seed() -> int:
    """A seed for a training that was given none."""
    return secrets.randbits(SEED_BITS)
