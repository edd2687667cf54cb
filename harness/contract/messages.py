"""What processes of the harness say to each other, beside the order; `wire` sends and reads it.

Whoever receives a message checks what stands in it: that its fields are there, and of their types,
is all that is known of one that was read.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Start:
    """A training has compiled everything: its clock may start.

    Attributes:
      device: what it trains on, in words.
      backend: the engine that it trains on.
    """

    device: str
    backend: str


@dataclasses.dataclass(frozen=True)
class Clock:
    """The answer: the clock runs.

    Attributes:
      time_left: seconds of budget.
    """

    time_left: float


@dataclasses.dataclass(frozen=True)
class Log:
    """How far a training is.

    Attributes:
      step: environment steps so far.
      metrics: numbers by name.
      compile_seconds: of JAX, so far.
    """

    step: int
    metrics: dict[str, float]
    compile_seconds: float


@dataclasses.dataclass(frozen=True)
class Publish:
    """A policy for each seed; the payload is the program of all, and the parameters of each.

    Attributes:
      program_bytes: of the payload; 0 where the program is that of the last policies.
      params_bytes: of the payload, of all policies but the last, which has what is left.
    """

    program_bytes: int
    params_bytes: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Question:
    """Which policy to evaluate; the payload is its program, its parameters, and `Seeds`.

    Attributes:
      task_id: a Gymnasium id.
      simulator: a backend, or `evaluate.REFERENCE`.
      limit: seconds.
      token: nobody knows it but who asks and who is asked.
      program_bytes: of the payload.
      params_bytes: likewise.
    """

    task_id: str
    simulator: str
    limit: float
    token: str
    program_bytes: int
    params_bytes: int


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Of episodes, one each."""

    seeds: list[int]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the episodes gave; the payload is `Evaluation.packed`.

    Attributes:
      seconds: wall-clock time of the episodes.
      token: of the question.
      digest: of the policy that was evaluated.
    """

    seconds: float
    token: str
    digest: str


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why there is no answer, in words."""

    reason: str


@dataclasses.dataclass(frozen=True)
class AskDevices:
    """A question: which devices has JAX here."""


@dataclasses.dataclass(frozen=True)
class Devices:
    """The answer.

    Attributes:
      platform: `cpu`, `gpu` or `tpu`, as JAX calls it.
      kinds: the model of each device.
    """

    platform: str
    kinds: list[str]
