"""The parent's side of an evaluation: draw the nonce, ask a clean process, check its answer.

Question and answer travel over a socket that only the two processes hold, never through files: a
folder of ours is a folder of every process of the user. The clean process holds a policy, which may
have taken it over: its answer is bytes to be checked, and says for which question it is.
"""

import dataclasses
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.confinement import sandbox
from harness.contract import wire
from harness.contract.artifact import Artifact
from harness.contract.messages import Answer, Question, Refusal, Seeds
from harness.errors import PolicyError
from harness.evaluate import MAX_REFUSAL, REFERENCE, Evaluation, episode_seeds
from harness.measurement.exchange import Exchange, in_a_line
from harness.system import processes

NONCE_BYTES = 32
TOKEN_BYTES = 16

EVALUATION_LIMIT = 900.0
"""Seconds for all policies of a run: what `program.MAX_WORK` at every step takes."""

SLOWEST_STEP = 0.05
"""Seconds beyond, for each step that the episodes may have: of an environment that makes twenty."""

START_LIMIT = 120.0
"""Seconds beyond, until the evaluator gives up by itself, with better words than ours."""

SCRATCH = Path("/tmp")
"""Where a confined process starts: fresh, in memory, its own."""


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


def score(
    artifact: Artifact, task_id: str, episodes: int, place: Place, limit: float = EVALUATION_LIMIT
) -> Score:
    """Evaluate an artifact in the reference simulator. Call it when no training process is left.

    Args:
      artifact: the policy as it was published.
      task_id: a Gymnasium id.
      episodes: how many.
      place: where.
      limit: seconds that the policy may take, beside the simulator.

    Raises:
      PolicyError: the artifact was refused, gave impossible actions, or used up its limits.
    """
    nonce = secrets.token_hex(NONCE_BYTES)
    seeds = episode_seeds(artifact.digest, nonce, episodes)
    evaluation = evaluate_apart(artifact, task_id, seeds, REFERENCE, place, limit)
    return Score(evaluation, artifact.digest, nonce)


def evaluate_apart(
    artifact: Artifact,
    task_id: str,
    seeds: list[int],
    simulator: str,
    place: Place,
    limit: float = EVALUATION_LIMIT,
) -> Evaluation:
    """Evaluate an artifact in a clean process.

    Args:
      artifact: the policy as it was published.
      task_id: a Gymnasium id.
      seeds: one an episode.
      simulator: a backend, or `REFERENCE`.
      place: where.
      limit: as of `score`.

    Raises:
      PolicyError: as `score`.
    """
    from harness import tasks  # noqa: PLC0415  (simulators, which a video's parent does without)

    limit += SLOWEST_STEP * len(seeds) * (tasks.horizon(tasks.get(task_id)) or 0)
    program, params = artifact.program, artifact.params
    token = secrets.token_hex(TOKEN_BYTES)
    question = Question(task_id, simulator, limit, token, len(program), len(params))
    payload = program + params + wire.text(Seeds(seeds))
    said, data = run_apart(
        "harness.evaluate", (wire.header(question), payload), place, limit + START_LIMIT,
        task_id=task_id,
    )  # fmt: skip
    try:
        answer: object = wire.read(said, Answer, Refusal)
        if isinstance(answer, Refusal):
            raise PolicyError(in_a_line(answer.reason[:MAX_REFUSAL]))
        assert isinstance(answer, Answer)
        if (answer.token, answer.digest) != (token, artifact.digest):
            raise ValueError("it is that to another question")
        return Evaluation.unpacked(data, seeds, answer.seconds)
    except (wire.WireError, ValueError) as error:
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
        exchange = Exchange(process, ours, wire.encode(*question))
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
