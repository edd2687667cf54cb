"""The process of a training: started, listened to, and ended with all that it has started."""

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import psutil

from harness.confinement import sandbox
from harness.contract import wire
from harness.contract.order import Order
from harness.measurement import instrument, kernels
from harness.measurement.training import STARTUP_ALLOWANCE, Training
from harness.places import LOG, TRAIN_FILE
from harness.system import processes
from harness.system.pulse import Pulse

ACCELERATOR_ALLOWANCE = 300.0
"""The same where there are GPUs, on which the first kernels of MJX take up to three minutes."""

EXIT_GRACE = 2.0
"""Seconds that a child may go on after the deadline, to end by itself."""

FORGET_FROM = 10.0
"""Seconds of budget from which a training is worth the seconds that forgetting files takes."""

MAX_LOG_BYTES = 16 * 2**20
"""Of train.log; what a child prints beyond is read and thrown away."""

POLL = 0.1
"""Seconds between looks at the clock."""

READS_PER_LOOK = 32
"""Reads from the child between looks at the clock, so that a flood cannot stop it."""


def train(
    order: Order,
    folder: Path,
    root: Path,
    watch: Callable[[Training], None] = lambda training: None,
    compiled: Path | None = None,
) -> Training:
    """Run a training file under the clock; returns when no process of it is left.

    Args:
      order: what is to be measured; of it the training is told its assignment.
      folder: holds `TRAIN_FILE`; `LOG` takes the child's output.
      root: the checkout.
      watch: called now and then with the training as it stands, for display.
      compiled: the folder of Warp's kernels, of which it gets a copy; None for none.
    """
    with kernels.lent(compiled, order.confinement) as (lent, variables):
        mounts = [*_mounts(order.assignment.task_id, folder / TRAIN_FILE, root), *lent]
        return _train(order, folder, root, watch, mounts, variables)


def _train(
    order: Order,
    folder: Path,
    root: Path,
    watch: Callable[[Training], None],
    mounts: list[sandbox.Mount],
    variables: Mapping[str, str],
) -> Training:
    """Run a training file that sees these mounts, and has these variables beside the usual ones."""
    processes.adopt_orphans()
    if order.confinement != sandbox.NONE and order.assignment.budget >= FORGET_FROM:
        sandbox.forget(mounts)
    ours, theirs = socket.socketpair()
    ours.sendall(wire.encode(wire.header(order.assignment)))
    training = Training(
        order.assignment.budget, _allowance(order), stops=order.stops,
        num_seeds=order.assignment.num_seeds,
    )  # fmt: skip
    with ours, open(folder / LOG, "wb") as log:
        child = sandbox.start(
            order.confinement,
            [sys.executable, str(folder / TRAIN_FILE)],
            mounts,
            {wire.CHANNEL_VARIABLE: str(theirs.fileno()), **variables},
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        try:
            _serve(training, child, ours, log, watch)
        finally:
            training.ended = time.monotonic()
            processes.end_all()
            child.wait()
    return training


def _mounts(task_id: str, train_file: Path, root: Path) -> list[sandbox.Mount]:
    """What a training sees."""
    return [
        *sandbox.system(),
        *sandbox.checkout(root, task_id),
        sandbox.Mount("show", str(train_file)),
    ]


def _allowance(order: Order) -> float:
    """Seconds of start-up that are free: no more than the order's, or than devices here need."""
    most = ACCELERATOR_ALLOWANCE if instrument.accelerators() else STARTUP_ALLOWANCE
    return most if order.allowance is None else min(most, order.allowance)


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
    pulse = Pulse(POLL)
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
            training.look(now)
            if training.clock_start is not None and not training.startup_cpu_seconds:
                training.startup_cpu_seconds = _processor_seconds(child.pid)
            watch(training)
            training.stood_still += pulse.beat()
            training.exit_code = child.poll()
            if training.exit_code is not None:
                _read(training, channel, decoder)  # what it sent before it ended
                output.pump()
                return
            over = training.time_left(now) < -EXIT_GRACE or training.stopped is not None
            if over or training.protocol_error or training.unmeasured:
                return


def _processor_seconds(pid: int) -> float:
    """Of a process and its descendants, those that have ended included."""
    tree: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(pid)
        tree = [first, *first.children(recursive=True)]
    used = 0.0
    for process in tree:
        with contextlib.suppress(psutil.Error):  # one that has just ended
            used += sum(
                process.cpu_times()[:4]
            )  # user and system, its own and its ended children's
    return used


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
