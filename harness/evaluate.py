"""The fixed constants, and the evaluation: 100 first episodes in the reference simulator.

`python -m harness.evaluate` is the clean process in which it happens; `scoring` starts it.
"""

import contextlib
import dataclasses
import hashlib
import math
import resource
import time
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium
import numpy as np

from harness.contract import wire
from harness.contract.messages import Answer, Question, Refusal, Seeds
from harness.errors import HarnessError, PolicyError

TASK = "HalfCheetah-v5"
"""What is trained where no task is named."""

TIME_BUDGET = 720.0
"""Seconds of training. Twelve minutes, as in autoRL: some five experiments an hour."""

NUM_EVAL_EPISODES = 100
"""Episodes behind every score."""

REFERENCE = "reference"
"""The simulator of every score; others give second figures."""

MAX_RETURN = 1e100
"""Of an episode, in size: squares of larger ones would be infinite."""

MAX_REFUSAL = 4000
"""Characters of a message about what went wrong."""

MEMORY_LIMIT = 16 * 2**30
"""Bytes of address space for the evaluator; XLA reserves several times what it uses."""


class Actor(Protocol):
    """What is evaluated; see `harness.policy.Policy`."""

    def begin(self, batch: int) -> Any:
        """The carry of `batch` environments at the start of their episodes."""
        ...

    def act(self, carry: Any, obs: np.ndarray) -> tuple[np.ndarray, Any]:
        """Actions for obs [B, observation], and the next carry."""
        ...


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the episodes gave, in the order of their seeds.

    Attributes:
      returns: undiscounted sums of rewards, summed in float64.
      lengths: environment steps.
      seeds: of `gymnasium.Env.reset(seed=)`.
      seconds: wall-clock time of the episodes.
    """

    returns: list[float]
    lengths: list[int]
    seeds: list[int]
    seconds: float

    def packed(self) -> bytes:
        """Returns and lengths as bytes, eight each, for the way to another process."""
        return np.asarray(self.returns, "<f8").tobytes() + np.asarray(self.lengths, "<i8").tobytes()

    @classmethod
    def unpacked(cls, data: bytes, seeds: list[int], seconds: float) -> "Evaluation":
        """The evaluation over these seeds that another process says there was.

        Raises:
          ValueError: it cannot be one.
        """
        if len(data) != 16 * len(seeds):
            raise ValueError(f"{len(data):,} bytes for {len(seeds):,} episodes")
        returns, lengths = np.frombuffer(data, "<f8", len(seeds)), np.frombuffer(data, "<i8")
        lengths = lengths[len(seeds) :]
        possible = (np.abs(returns) <= MAX_RETURN).all() and (lengths > 0).all()
        if not (possible and 0 <= seconds < math.inf):
            raise ValueError("returns, lengths or seconds that no episodes have")
        return cls(returns.tolist(), lengths.tolist(), seeds, seconds)


def episode_seeds(digest: str, nonce: str, count: int) -> list[int]:
    """Evaluation seeds from the artifact and a nonce that nobody knew while it was made.

    Args:
      digest: hexadecimal SHA-256 of the artifact.
      nonce: hexadecimal, drawn after the last training process is gone.
      count: how many seeds.

    Returns:
      Seed i is the first four bytes of SHA-256(digest ‖ nonce ‖ i), a 32-bit number.
    """
    base = bytes.fromhex(digest) + bytes.fromhex(nonce)
    hashes = (hashlib.sha256(base + i.to_bytes(4, "little")).digest() for i in range(count))
    return [int.from_bytes(h[:4], "little") for h in hashes]


def evaluate(
    actor: Actor,
    task_id: str,
    seeds: list[int],
    simulator: str = REFERENCE,
    watch: Callable[[np.ndarray], None] | None = None,
    limit: float = math.inf,
) -> Evaluation:
    """Play the first episode of one environment per seed, all in lockstep.

    The reference simulator is C MuJoCo, equal to Gymnasium to the last bit, or Gymnasium itself.
    An environment that has ended is stepped no more and counts no more.

    Args:
      actor: the policy; its actions are clipped to the action space.
      task_id: a Gymnasium id.
      seeds: one an episode.
      simulator: `REFERENCE`, or a backend for a second figure.
      watch: called before every step with the actions [B, action] as they are applied.
      limit: seconds after which it is given up.

    Raises:
      PolicyError: an action has the wrong shape or is NaN, or the limit is used up.
      TaskError: the environment fails.
    """
    from harness import tasks  # noqa: PLC0415
    from harness.engines import backends  # noqa: PLC0415  (simulators, which constants do not need)

    task = tasks.get(task_id)
    backend = backends.scoring_engine(task) if simulator == REFERENCE else simulator
    engine = backends.make_evaluation_engine(task, len(seeds), backend)
    begin, stepping = time.monotonic(), 0.0
    returns, lengths = np.zeros(len(seeds)), np.zeros(len(seeds), int)
    running = np.ones(len(seeds), bool)
    obs, carry = engine.reset(seeds), actor.begin(len(seeds))
    while running.any():
        action, carry = actor.act(carry, obs)
        applied = _applicable(action, engine.action_space, running, lengths)
        if watch:
            watch(applied)
        asked = time.monotonic()
        step = engine.step(applied)
        stepping += time.monotonic() - asked
        if time.monotonic() > begin + limit:
            raise PolicyError(_too_slow(task_id, lengths, stepping, limit))
        returns += np.where(running, step.reward, 0.0)
        lengths += running
        running &= ~(step.terminated | step.truncated)
        obs = step.obs
    seconds = time.monotonic() - begin
    engine.close()
    if not np.isfinite(returns).all():
        episode = int(np.flatnonzero(~np.isfinite(returns))[0])
        raise PolicyError(
            f"Episode {episode} has a return of {returns[episode]}: the environment gave a reward "
            "that is no number. Look at its reward under extreme actions."
        )
    return Evaluation(returns.tolist(), lengths.tolist(), list(seeds), seconds)


def _too_slow(task_id: str, lengths: np.ndarray, stepping: float, limit: float) -> str:
    """What took the time, of `limit` seconds `stepping` in the environment."""
    steps = int(lengths.sum())
    return (
        f"The evaluation did not end within {limit:.0f} s. {len(lengths)} episodes of {task_id} "
        f"have come to step {lengths.max():,}; the environment took {stepping / limit:.0%} of the "
        f"time and makes {steps / max(stepping, 1e-9):,.0f} steps a second here, the policy took "
        "the rest. If the environment is slow, give fewer --episodes; if its episodes do not end, "
        "register it with max_episode_steps."
    )


def _applicable(
    action: np.ndarray, space: gymnasium.Space, running: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Check a policy's actions and clip them to the space."""
    expected = (len(running), *(space.shape or ()))
    if action.shape != expected:
        raise PolicyError(f"The policy gave actions of shape {action.shape}, not {expected}.")
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.clip(action, space.start, space.start + space.n - 1)
    bad = running & np.isnan(action).any(axis=-1)
    if bad.any():
        episode = int(np.flatnonzero(bad)[0])
        raise PolicyError(
            f"The policy gave a NaN action at step {lengths[episode]} of episode {episode}. "
            "Its parameters are finite, so it divides by zero or overflows on that observation."
        )
    return np.clip(action, space.low, space.high)


def limit_memory() -> None:
    """Bound what a policy can take, unless we are bound more tightly already."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS may refuse
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def respond(question: Question, payload: bytes) -> tuple[Answer | Refusal, bytes]:
    """Load the policy and evaluate it; the answer, and its payload."""
    from harness import tasks  # noqa: PLC0415
    from harness.contract import policy  # noqa: PLC0415
    from harness.contract.artifact import Artifact  # noqa: PLC0415
    from harness.engines import backends  # noqa: PLC0415

    program, params, rest = wire.split(payload, question.program_bytes, question.params_bytes)
    artifact, seeds = Artifact(program, params), wire.read_text(rest, Seeds).seeds
    try:
        task = tasks.get(question.task_id)
        actor = policy.load(artifact, *backends.spaces(task, backends.scoring_engine(task)))
        evaluation = evaluate(actor, task.id, seeds, question.simulator, limit=question.limit)
    except HarnessError as error:
        return Refusal(str(error)[:MAX_REFUSAL]), b""
    return Answer(evaluation.seconds, question.token, artifact.digest), evaluation.packed()


def main() -> None:
    """`python -m harness.evaluate`: the evaluator, over the channel that it was started with."""
    limit_memory()
    wire.serve(Question, respond)


if __name__ == "__main__":
    main()
