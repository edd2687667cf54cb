"""A training as its parent sees it: its clock, what it has sent, and whether it is stopped.

Three promises. The clock is ours: it starts when the child says so, or when its start-up allowance
is used up, and nothing that the child does afterwards moves it. The policy is the last one that had
wholly arrived before the deadline. And a training during which we stood still ourselves says so.
"""

import dataclasses
import math
import time
from typing import Any

from harness.confinement.launcher import SIGNALLED
from harness.contract import reports, wire
from harness.contract.artifact import Artifact
from harness.contract.messages import Clock, Log, Publish, Start
from harness.contract.order import Stop
from harness.engines import backends

STARTUP_ALLOWANCE = 120.0
"""Seconds for imports and compilation before the clock starts by itself, where nothing is known of
what they take: MJX compiles for 50 s on two cores."""

STANDSTILL, STANDSTILL_SHARE = 1.0, 0.01
"""Seconds, and share of the budget, that we may stand still in a training; the larger one counts.
"""

MAX_CELLS = 2_000_000
"""Of the table of a training's curve, some 150 MB in memory. Where there are more, every second row
is dropped, the first and the last ones aside."""

MAX_STEP = 2**53
"""Environment steps of one training: beyond, a float counts them no more."""

MAX_METRICS = 100
"""Numbers in one log message, and names of numbers in a training: each is a column of its curve."""

MAX_NAME = 200
"""Characters of such a name, and of that of a device."""

MAX_NUMBER = 3e38
"""The largest finite number that is logged, float32's; sums of a whole curve stay finite, too."""


@dataclasses.dataclass(frozen=True)
class Stopped:
    """Where a training was ended, by its own reports.

    Attributes:
      stop: the one that applied.
      reported: the mean return that it had reported, which is less than that asks for.
    """

    stop: Stop
    reported: float


@dataclasses.dataclass
class Training:
    """A training as its parent sees it, while it runs and after.

    Attributes:
      budget: seconds.
      allowance: seconds before the clock starts by itself.
      begun: monotonic time at which the child was started.
      clock_start: monotonic time at which the clock started; None before.
      ended: monotonic time at which the child had ended or was ended; None before.
      started: whether the child called `start()` (the allowance may have been used up instead).
      excess: seconds that it did so after the clock had started by itself.
      startup_cpu_seconds: processor time of the child and its descendants when the clock started.
      stood_still: seconds that this process stood still meanwhile.
      policies: the last ones received in time, one for each seed; none before.
      published: how often policies arrived in time.
      late: how many arrived after the deadline.
      updates: how many log messages arrived in time.
      diverged: the sum of their `reports.DIVERGED`.
      curve: log messages: seconds on the clock, environment steps, metrics. All of them up to
        `MAX_CELLS`; always the first and the last one.
      compile_seconds: as the child reports them; never credited.
      backend: the engine that the child trains on.
      device: what the child trains on.
      exit_code: of the child; None where it was ended by us.
      protocol_error: what was wrong with a message that was not understood.
      stops: where it ends early, those that are still ahead.
      stopped: which of them it was; None where it was none.
      num_seeds: as it was told.
    """

    budget: float
    allowance: float = STARTUP_ALLOWANCE
    begun: float = dataclasses.field(default_factory=time.monotonic)
    clock_start: float | None = None
    ended: float | None = None
    started: bool = False
    excess: float = 0.0
    startup_cpu_seconds: float = 0.0
    stood_still: float = 0.0
    policies: tuple[Artifact, ...] = ()
    published: int = 0
    late: int = 0
    updates: int = 0
    diverged: float = 0.0
    curve: list[tuple[float, int, dict[str, float]]] = dataclasses.field(default_factory=list)
    compile_seconds: float = 0.0
    backend: str = ""
    device: str = ""
    exit_code: int | None = None
    protocol_error: str = ""
    stops: tuple[Stop, ...] = ()
    stopped: Stopped | None = None
    num_seeds: int = 1
    _names: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which the budget is used up."""
        return None if self.clock_start is None else self.clock_start + self.budget

    @property
    def startup_seconds(self) -> float:
        """From the start of the child to that of the clock, or to the child's end without one."""
        until = self.ended if self.clock_start is None else self.clock_start
        return 0.0 if until is None else until - self.begun

    @property
    def unmeasured(self) -> bool:
        """Whether we stood still for so long that it is no measurement."""
        return self.stood_still > max(STANDSTILL, STANDSTILL_SHARE * self.budget)

    @property
    def steps_per_second(self) -> float:
        """Environment steps per second, from the end of the first update to the end of the last."""
        if len(self.curve) < 2:
            return 0.0
        (first_time, first_step, _), (last_time, last_step, _) = self.curve[0], self.curve[-1]
        return (last_step - first_step) / max(last_time - first_time, 1e-9)

    @property
    def signal(self) -> int:
        """The number of the signal that has ended the child, which was none of ours; 0 if none."""
        code = self.exit_code or 0
        return -code if code < 0 else max(code - SIGNALLED, 0)

    @property
    def breakdowns(self) -> int:
        """`diverged` as a count."""
        return round(min(max(self.diverged, 0), MAX_STEP))

    def seconds(self, now: float) -> float:
        """Seconds on the clock."""
        return 0.0 if self.clock_start is None else now - self.clock_start

    def time_left(self, now: float) -> float:
        """Seconds of budget left."""
        return self.budget - self.seconds(now)

    def look(self, now: float) -> None:
        """Start the clock where the allowance has been used up; stop where it says so."""
        if self.clock_start is None and now > self.begun + self.allowance:
            self.clock_start = self.begun + self.allowance
        seconds = round(self.seconds(now), reports.CLOCK_DIGITS)  # as they are counted afterwards
        for stop in self.stops:
            if self.stopped is None and seconds > stop.share * self.budget:
                self._reach(stop)

    def _reach(self, stop: Stop) -> None:
        """Stop here, unless enough was reported; once, from what has arrived by then."""
        self.stops = tuple(one for one in self.stops if one != stop)
        told = [(at, metrics.get(reports.RETURN, math.nan)) for at, _, metrics in self.curve]
        reported = reports.mean(told, self.budget, stop.share)
        if reported is not None and reported < stop.least:
            self.stopped = Stopped(stop, reported)

    def take(self, header: dict[str, Any], payload: bytes, now: float) -> bytes | None:
        """Take one message that arrived at `now`; the answer to send, if any.

        Raises:
          WireError: the message makes no sense.
        """
        message: object = wire.read(header, Start, Log, Publish)
        self.look(now)
        if self.time_left(now) < 0:
            self.late += isinstance(message, Publish)
            return None
        try:
            match message:
                case Start():
                    return self._start(message, now)
                case Log():
                    self._log(message, now)
                case Publish():
                    self._publish(message, payload)
        except ValueError as error:
            kind = header["kind"]
            raise wire.WireError(f"a message {kind!r} that makes no sense: {error}") from error
        return None

    def _start(self, told: Start, now: float) -> bytes:
        self.device = _name(told.device)
        if not self.started:
            self.excess = max(self.seconds(now), 0.0)
        self.started = True
        self.backend = told.backend if told.backend in backends.BACKENDS else ""
        if self.clock_start is None:
            self.clock_start = now
        return wire.encode(wire.header(Clock(self.time_left(now))))

    def _log(self, told: Log, now: float) -> None:
        if not 0 <= told.step <= MAX_STEP:
            raise ValueError(f"steps beyond 0 to {MAX_STEP}")
        if not 0 <= told.compile_seconds < math.inf:
            raise ValueError("compile_seconds that are no time")
        logged = {self._column(name): _bounded(value) for name, value in told.metrics.items()}
        while len(self.curve) > 2 and len(self.curve) * (len(self._names) + 2) >= MAX_CELLS:
            del self.curve[1::2]
        self.curve.append((self.seconds(now), told.step, logged))
        self.updates += 1
        diverged = logged.get(reports.DIVERGED, 0.0)
        self.diverged += diverged if math.isfinite(diverged) else 0.0
        self.compile_seconds = told.compile_seconds

    def _column(self, name: str) -> str:
        """The name of a metric: the same text for all messages."""
        if name not in self._names:
            self._names[_name(name)] = name
            if len(self._names) > MAX_METRICS:
                raise ValueError(f"over {MAX_METRICS} names of metrics")
        return self._names[name]

    def _publish(self, told: Publish, payload: bytes) -> None:
        """Take the policies of all seeds, or none."""
        program, *params = wire.split(payload, told.program_bytes, *told.params_bytes)
        if len(params) != self.num_seeds:
            raise ValueError(f"policies of {len(params)} seeds, not of {self.num_seeds}")
        if not program and not self.policies:
            raise ValueError("parameters without a program")
        program = program or self.policies[0].program
        self.policies = tuple(Artifact(program, one) for one in params)
        self.published += 1


def _name(text: str) -> str:
    """A name as it is shown.

    Raises:
      ValueError: it is too long, or holds what cannot be shown.
    """
    if len(text) > MAX_NAME or not text.isprintable():
        raise ValueError(f"a name of over {MAX_NAME} characters, or with unprintable ones")
    return text


def _bounded(value: float) -> float:
    """A number as it is logged: beyond the largest it is infinite."""
    return math.copysign(math.inf, value) if abs(value) > MAX_NUMBER else value
