"""The parent's side of an evaluation: draw the nonce, start a clean process, read its answer."""

import dataclasses
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import processes, sandbox
from harness.artifact import Artifact
from harness.errors import PolicyError
from harness.evaluate import REFERENCE, Evaluation, episode_seeds

NONCE_BYTES = 32

EVALUATION_LIMIT = 900.0
"""Seconds: twenty times what 100 Humanoid episodes take on one core."""


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
    with tempfile.TemporaryDirectory(prefix="autorl-score-") as name:
        folder = Path(name)
        artifact.save(folder / "policy")
        (folder / "seeds.json").write_text(json.dumps(seeds))
        files = (folder / "policy", folder / "seeds.json", folder / "out.json")
        arguments = [task_id, simulator, *map(str, files)]
        run_apart("harness.evaluate", arguments, folder, place, EVALUATION_LIMIT)
        try:
            answer = json.loads(left_behind(folder / "out.json"))
        except (OSError, ValueError) as error:
            log = left_behind(folder / "log").decode(errors="replace")[-2000:]
            raise PolicyError(
                f"The evaluator ended without an answer; its last output was:\n{log}"
            ) from error
    if "refused" in answer:
        raise PolicyError(answer["refused"])
    return Evaluation(**answer)


def run_apart(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    place: Place,
    limit: float,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Run a module in a clean process that may write to one folder only; its output goes to `log`.

    Args:
      module: of the harness.
      arguments: of its command line.
      folder: what it may write to, and where it starts.
      place: where.
      limit: seconds until it is ended.
      variables: of its environment, beside the usual ones.

    Raises:
      PolicyError: it used up its limit.
    """
    with open(folder / "log", "wb") as log:
        process = sandbox.start(
            place.confinement,
            [sys.executable, "-m", module, *arguments],
            [
                *sandbox.system(),
                *sandbox.checkout(place.root),
                sandbox.Mount("write", str(folder)),
            ],
            {"JAX_PLATFORMS": "cpu", **(variables or {})},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            process.wait(timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise PolicyError(
                f"The evaluation did not end within {limit:.0f} s: the policy is too slow or never "
                "returns, or episodes do not end (has the environment max_episode_steps?)."
            ) from error
        finally:
            processes.end_all()


def left_behind(path: Path) -> bytes:
    """A file that a hostile process has left: never what a link of its making leads to.

    Raises:
      OSError: it is a link, or cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read()
