"""The parent's side of a training: start the child, hold the clock, receive policies, end it.

Two promises. The clock is ours: it starts when the child says so, or when its start-up allowance
is used up, and nothing that the child does afterwards moves it. And the policy is the last one
that had wholly arrived before the deadline.
"""

import contextlib
import dataclasses
import math
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from harness import backends, processes, sandbox, wire
from harness.artifact import Artifact

STARTUP_ALLOWANCE = 120.0
"""Seconds for imports and compilation before the clock starts by itself."""

EXIT_GRACE = 2.0
"""Seconds that a child may go on after the deadline, to end by itself."""

MAX_LOG_BYTES = 16 * 2**20
"""Of train.log; what a child prints beyond is read and thrown away."""

MAX_CURVE = 500_000
"""Log messages of one training: a hundred a second for more than an hour."""

MAX_STEP = 2**53
"""Environment steps of one training: beyond, a float counts them no more."""

MAX_METRICS = 100
"""Numbers in one log message, and names of numbers in a training: each is a column of its curve."""

MAX_NAME = 200
"""Characters of such a name."""

MAX_NUMBER = 3e38
"""The largest finite number that is logged, float32's; sums of a whole curve stay finite, too."""

POLL = 0.1
"""Seconds between looks at the clock."""

READS_PER_LOOK = 32
"""Reads from the child between looks at the clock, so that a flood cannot stop it."""


@dataclasses.dataclass(frozen=True)
class Assignment:
    """What a training is given.

    Attributes:
      train_file: the file to run.
      task_id: a Gymnasium id.
      backend: one of `backends.BACKENDS`; the child resolves `auto`, for it knows its devices.
      seed: for all randomness.
      budget: seconds.
      confinement: of `sandbox`.
      root: the checkout.
    """

    train_file: Path
    task_id: str
    backend: str
    seed: int
    budget: float
    confinement: str
    root: Path


@dataclasses.dataclass
class Training:
    """A training as its parent sees it, while it runs and after.

    Attributes:
      budget: seconds.
      begun: monotonic time at which the child was started.
      clock_start: monotonic time at which the clock started; None before.
      started: whether the child called `start()` (the allowance may have been used up instead).
      artifact: the last policy received in time.
      published: how many policies arrived in time.
      late: how many arrived after the deadline.
      curve: one entry a log message: seconds on the clock, environment steps, metrics.
      compile_seconds: as the child reports them; never credited.
      backend: the engine that the child trains on.
      device: what the child trains on.
      exit_code: of the child; None where it was ended by us.
      protocol_error: what was wrong with a message that was not understood.
    """

    budget: float
    begun: float = dataclasses.field(default_factory=time.monotonic)
    clock_start: float | None = None
    started: bool = False
    artifact: Artifact | None = None
    published: int = 0
    late: int = 0
    curve: list[tuple[float, int, dict[str, float]]] = dataclasses.field(default_factory=list)
    compile_seconds: float = 0.0
    backend: str = ""
    device: str = ""
    exit_code: int | None = None
    protocol_error: str = ""
    _names: set[str] = dataclasses.field(default_factory=set)

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which the budget is used up."""
        return None if self.clock_start is None else self.clock_start + self.budget

    @property
    def steps_per_second(self) -> float:
        """Environment steps per second, from the end of the first update to the end of the last."""
        if len(self.curve) < 2:
            return 0.0
        (first_time, first_step, _), (last_time, last_step, _) = self.curve[0], self.curve[-1]
        return (last_step - first_step) / max(last_time - first_time, 1e-9)

    def seconds(self, now: float) -> float:
        """Seconds on the clock."""
        return 0.0 if self.clock_start is None else now - self.clock_start

    def time_left(self, now: float) -> float:
        """Seconds of budget left."""
        return self.budget - self.seconds(now)

    def take(self, header: dict[str, Any], payload: bytes, now: float) -> bytes | None:
        """Take one message that arrived at `now`; the answer to send, if any.

        Raises:
          WireError: the message makes no sense.
        """
        try:
            return self._take(header, payload, now)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise wire.WireError(f"a message that makes no sense ({error!r})") from error

    def _take(self, header: dict[str, Any], payload: bytes, now: float) -> bytes | None:
        if self.time_left(now) < 0:
            self.late += header["kind"] == "publish"
            return None
        match header["kind"]:
            case "start":
                self.started = True
                self.device = str(header["device"])[:100]
                said = str(header["backend"])
                self.backend = said if said in backends.BACKENDS else ""
                if self.clock_start is None:
                    self.clock_start = now
                return wire.encode({"time_left": self.time_left(now)})
            case "log":
                metrics = {str(k): _bounded(float(v)) for k, v in header["metrics"].items()}
                self._names |= metrics.keys()
                if len(self.curve) >= MAX_CURVE or len(self._names) > MAX_METRICS:
                    raise ValueError(f"over {MAX_CURVE:,} logs, or {MAX_METRICS} names of metrics")
                if any(len(name) > MAX_NAME for name in metrics):
                    raise ValueError(f"a metric's name has over {MAX_NAME} characters")
                step = int(header["step"])
                if not 0 <= step <= MAX_STEP:
                    raise ValueError(f"{step} steps")
                self.curve.append((self.seconds(now), step, metrics))
                self.compile_seconds = float(header["compile_seconds"])
            case "publish":
                program = payload[: int(header["program_bytes"])]
                if not program and self.artifact is None:
                    raise ValueError("parameters without a program")
                program = program or self.artifact.program  # type: ignore[union-attr]
                self.artifact = Artifact(program, payload[int(header["program_bytes"]) :])
                self.published += 1
            case kind:
                raise ValueError(f"unknown kind {kind!r}")
        return None


def _bounded(value: float) -> float:
    """A number as it is logged: beyond the largest it is infinite."""
    return math.copysign(math.inf, value) if abs(value) > MAX_NUMBER else value


def train(
    assignment: Assignment,
    log_file: Path,
    watch: Callable[[Training], None] = lambda training: None,
) -> Training:
    """Run a training file under the clock; returns when no process of it is left.

    Args:
      assignment: what it is given.
      log_file: takes the child's output.
      watch: called now and then with the training as it stands, for display.
    """
    processes.adopt_orphans()
    ours, theirs = socket.socketpair()
    settings = {
        "task": assignment.task_id,
        "backend": assignment.backend,
        "seed": assignment.seed,
        "budget": assignment.budget,
    }
    ours.sendall(wire.encode(settings))
    training = Training(assignment.budget)
    with ours, open(log_file, "wb") as log:
        child = sandbox.start(
            assignment.confinement,
            [sys.executable, str(assignment.train_file)],
            [
                *sandbox.system(),
                *sandbox.checkout(assignment.root),
                sandbox.Mount("show", str(assignment.train_file)),
            ],
            {wire.CHANNEL_VARIABLE: str(theirs.fileno())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        try:
            _serve(training, child, ours, log, watch)
        finally:
            processes.end_all()
            child.wait()
    return training


def _serve(
    training: Training,
    child: subprocess.Popen,
    channel: socket.socket,
    log: IO[bytes],
    watch: Callable[[Training], None],
) -> None:
    """Read messages and output until the child has ended or the deadline has passed."""
    channel.setblocking(False)
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    output = _Log(child.stdout, log)
    decoder = wire.Decoder()
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select(POLL)}
            if channel in ready and not _read(training, channel, decoder):
                selector.unregister(channel)
            if child.stdout in ready and not output.pump():
                selector.unregister(child.stdout)
            now = time.monotonic()
            if training.clock_start is None and now > training.begun + STARTUP_ALLOWANCE:
                training.clock_start = training.begun + STARTUP_ALLOWANCE
            watch(training)
            training.exit_code = child.poll()
            if training.exit_code is not None:
                _read(training, channel, decoder)  # what it sent before it ended
                output.pump()
                return
            if training.time_left(now) < -EXIT_GRACE or training.protocol_error:
                return


def _read(training: Training, channel: socket.socket, decoder: wire.Decoder) -> bool:
    """Take the messages that have arrived; False when there will be no more."""
    try:
        for _ in range(READS_PER_LOOK):
            data = channel.recv(2**20)
            now = time.monotonic()
            for header, payload in decoder.feed(data):
                answer = training.take(header, payload, now)
                if answer is not None:
                    channel.sendall(answer)
    except BlockingIOError:
        pass
    except (EOFError, OSError):
        return False
    except wire.WireError as error:
        training.protocol_error = str(error)
        return False
    return True


class _Log:
    """Copies a child's output to a file, up to a limit."""

    def __init__(self, source: IO[bytes], target: IO[bytes]) -> None:
        self._source = source
        self._target = target
        self._room = MAX_LOG_BYTES

    def pump(self) -> bool:
        """Copy what is there; False at the end of the output."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(READS_PER_LOOK):
                data = os.read(self._source.fileno(), 2**16)
                if not data:
                    return False
                self._target.write(data[: self._room])
                self._target.flush()
                self._room = max(self._room - len(data), 0)
        return True
