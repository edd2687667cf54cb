"""The parent's side of an evaluation: draw the nonce, ask a clean process, check its answer.

Question and answer travel over a socket that only the two processes hold, never through files: a
folder of ours is a folder of every process of the user. The clean process holds a policy, which may
have taken it over: its answer is bytes to be checked, and says for which question it is.
"""

import dataclasses
import json
import os
import secrets
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from harness.confinement import sandbox
from harness.contract import wire
from harness.contract.artifact import Artifact
from harness.errors import PolicyError
from harness.evaluate import REFERENCE, Evaluation, episode_seeds
from harness.system import processes

NONCE_BYTES = 32
TOKEN_BYTES = 16

EVALUATION_LIMIT = 900.0
"""Seconds for the policies of an evaluation: what `program.MAX_WORK` at every step takes."""

SLOWEST_STEP = 0.05
"""Seconds beyond, for each step that the episodes may have: of an environment that makes twenty."""

START_LIMIT = 120.0
"""Seconds beyond, until the evaluator gives up by itself, with better words than ours."""

SCRATCH = Path("/tmp")
"""Where a confined process starts: fresh, in memory, its own."""

TAIL_BYTES = 2000
"""Of what a clean process prints, for messages."""


@dataclasses.dataclass(frozen=True)
class Score:
    """An evaluation, and the digest and the nonce that its seeds came from."""

    evaluation: Evaluation
    digest: str
    nonce: str


@dataclasses.dataclass(frozen=True)
class Place:
    """Where evaluations run.

    Attributes:
      root: the checkout, from which a task may be imported.
      confinement: of `sandbox`.
    """

    root: Path
    confinement: str


def score(artifact: Artifact, task_id: str, episodes: int, place: Place) -> Score:
    """Evaluate an artifact in the reference simulator. Call it when no training process is left.

    Args:
      artifact: the policy as it was published.
      task_id: a Gymnasium id.
      episodes: how many.
      place: where.

    Raises:
      PolicyError: the artifact was refused, gave impossible actions, or used up its limits.
    """
    nonce = secrets.token_hex(NONCE_BYTES)
    seeds = episode_seeds(artifact.digest, nonce, episodes)
    evaluation = evaluate_apart(artifact, task_id, seeds, REFERENCE, place)
    return Score(evaluation, artifact.digest, nonce)


def evaluate_apart(
    artifact: Artifact, task_id: str, seeds: list[int], simulator: str, place: Place
) -> Evaluation:
    """Evaluate an artifact in a clean process.

    Args:
      artifact: the policy as it was published.
      task_id: a Gymnasium id.
      seeds: one an episode.
      simulator: a backend, or `REFERENCE`.
      place: where.

    Raises:
      PolicyError: as `score`.
    """
    from harness import tasks  # noqa: PLC0415  (simulators, which a video's parent does without)

    limit = EVALUATION_LIMIT
    limit += SLOWEST_STEP * len(seeds) * (tasks.horizon(tasks.get(task_id)) or 0)
    bound = {"token": secrets.token_hex(TOKEN_BYTES), "digest": artifact.digest}
    question = {
        "task": task_id,
        "simulator": simulator,
        "limit": limit,
        "token": bound["token"],
        "sizes": [len(artifact.program), len(artifact.params)],
    }
    payload = artifact.program + artifact.params + json.dumps(seeds).encode()
    answer, data = run_apart(
        "harness.evaluate", (question, payload), place, limit + START_LIMIT, task_id=task_id
    )
    if "refused" in answer:
        raise PolicyError(in_a_line(str(answer["refused"])))
    try:
        if {name: answer[name] for name in bound} != bound:
            raise ValueError("it is that to another question")
        return Evaluation.unpacked(data, seeds, float(answer["seconds"]))
    except (KeyError, TypeError, ValueError) as error:
        raise PolicyError(
            f"The evaluator's answer is none ({in_a_line(str(error))}): the policy may have taken "
            "the process over. Nothing of it counts."
        ) from error


def run_apart(
    module: str,
    question: wire.Message,
    place: Place,
    limit: float,
    variables: Mapping[str, str] | None = None,
    task_id: str = "",
) -> wire.Message:
    """Ask a module in a clean process, which may write to folders of its own only.

    Args:
      module: of the harness; it answers with `wire.serve`.
      question: what it is asked.
      place: where.
      limit: seconds until it is ended.
      variables: of its environment, beside the usual ones.
      task_id: what it makes an environment of; the package that it names is seen.

    Returns:
      The answer, of which nothing is checked but its size.

    Raises:
      PolicyError: it used up its limit, or ended without an answer.
    """
    ours, theirs = socket.socketpair()
    folder = tempfile.TemporaryDirectory(prefix="autorl-scratch-", ignore_cleanup_errors=True)
    with folder as scratch, ours:
        with theirs:
            process = sandbox.start(
                place.confinement,
                [sys.executable, "-m", module],
                [*sandbox.system(), *sandbox.checkout(place.root, task_id)],
                {
                    "JAX_PLATFORMS": "cpu",
                    "PYTHONSAFEPATH": "1",  # imports nothing from where it starts
                    wire.CHANNEL_VARIABLE: str(theirs.fileno()),
                    **(variables or {}),
                },
                cwd=Path(scratch) if place.confinement == sandbox.NONE else SCRATCH,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
            )
        exchange = _Exchange(process, ours, wire.encode(*question))
        try:
            return exchange.answer(limit)
        except TimeoutError as error:
            raise PolicyError(
                f"The evaluation did not end within {limit:.0f} s: the policy or the environment "
                f"hangs. The last output was:\n{exchange.tail}"
            ) from error
        except (EOFError, OSError, wire.WireError) as error:
            raise PolicyError(
                f"The process of {module} ended without an answer ({error}); the last output "
                f"was:\n{exchange.tail}"
            ) from error
        finally:
            processes.end_all()
            process.wait()


class _Exchange:
    """One question and its answer, while what the process prints is read and forgotten."""

    def __init__(self, process: subprocess.Popen, channel: socket.socket, question: bytes) -> None:
        assert process.stdout is not None
        self._output, self._channel = process.stdout, channel
        self._unsent, self._decoder, self._printed = memoryview(question), wire.Decoder(), b""
        channel.setblocking(False)
        os.set_blocking(self._output.fileno(), False)

    @property
    def tail(self) -> str:
        """The end of what the process has printed, indented."""
        lines = self._printed.decode(errors="replace").splitlines()
        return "\n".join(f"  {in_a_line(line)}" for line in lines)

    def answer(self, limit: float) -> wire.Message:
        """Wait for the answer.

        Raises:
          TimeoutError: there was none within so many seconds.
          EOFError, OSError, WireError: there will be none.
        """
        deadline = time.monotonic() + limit
        with self._output, selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
            selector.register(self._output, selectors.EVENT_READ)
            try:
                return self._go_on(selector, deadline)
            finally:
                self._read_output()

    def _go_on(self, selector: selectors.BaseSelector, deadline: float) -> wire.Message:
        """Send, read and forget until there is an answer."""
        while True:
            left = deadline - time.monotonic()
            ready = {key.fileobj: events for key, events in selector.select(max(left, 0))}
            if self._output in ready and not self._read_output():
                selector.unregister(self._output)
            events = ready.get(self._channel, 0)
            if events & selectors.EVENT_WRITE and not self._send():
                selector.modify(self._channel, selectors.EVENT_READ)
            if events & selectors.EVENT_READ:
                if messages := self._decoder.feed(self._channel.recv(wire.CHUNK_BYTES)):
                    return messages[0]
            elif left <= 0:
                raise TimeoutError

    def _send(self) -> bool:
        """Send what there is room for; whether there is more."""
        self._unsent = self._unsent[self._channel.send(self._unsent) :]
        return bool(self._unsent)

    def _read_output(self) -> bool:
        """Read what was printed; False at its end."""
        try:
            data = os.read(self._output.fileno(), wire.CHUNK_BYTES)
        except BlockingIOError:
            return True
        self._printed = (self._printed + data)[-TAIL_BYTES:]
        return bool(data)


def in_a_line(text: str) -> str:
    """Words of a hostile process as they may be shown.

    They hold no codes that a terminal acts on, and begin no line, as results do.
    """
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
