"""What a run says of itself: the figures of its block, and every episode behind them."""

import dataclasses
import math
import statistics
from typing import Any

from harness import tasks
from harness.contract.order import Order
from harness.engines import backends
from harness.evaluate import Evaluation
from harness.measurement.scoring import Score
from harness.measurement.sites import Measurement
from harness.record.entries import Verdict
from harness.record.runs import within


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run says of itself: the `---` block, and the first part of summary.json.

    Attributes:
      avg_return, std_return, min_return, max_return: over the episodes, of all policies; None where
        the run was stopped.
      total_timesteps: environment steps at the last log message.
      training_seconds: on the clock until the last log message, at most the budget.
      startup_seconds: from the start of the training process to that of the clock.
      compile_seconds: tracing, lowering and compilation, as JAX reports them in the child.
      eval_seconds: wall-clock time of the episodes; 0 where there were none.
      total_seconds: of the whole run.
      num_updates: log messages.
      steps_per_second: from the end of the first update to the end of the last.
      diverged: episodes in which the simulation broke down, as train.py counts them.
      simulator: what scored: C MuJoCo (`native`), Gymnasium, or a library's own.
      task, backend, seed, run_id, verdict: as in the ledger.
      reason: of the verdict, where there is one.
      second_return: the average return in the second simulator, where one was asked for.
      policy_returns: the average return of each policy, where there are several.
    """

    avg_return: float | None
    std_return: float | None
    min_return: float | None
    max_return: float | None
    total_timesteps: int
    training_seconds: float
    startup_seconds: float
    compile_seconds: float
    eval_seconds: float
    total_seconds: float
    num_updates: int
    steps_per_second: float
    diverged: int
    simulator: str
    task: str
    backend: str
    seed: int
    run_id: str
    verdict: Verdict = Verdict.NONE
    reason: str | None = None
    second_return: float | None = None
    policy_returns: tuple[float, ...] | None = None


def summarize(order: Order, measured: Measurement, run_id: str, seconds: float) -> Summary:
    """A run's summary, before anything is ruled.

    Args:
      order: what was to be measured.
      measured: what was.
      run_id: of the run.
      seconds: that all of it took.
    """
    training, assignment = measured.training, order.assignment
    by_policy = [score.evaluation.returns for score in measured.scores]
    returns = [value for of_one in by_policy for value in of_one]
    second = [value for again in measured.second for value in again.returns]
    curve = training.curve
    return Summary(
        avg_return=statistics.fmean(returns) if returns else None,
        std_return=within(by_policy) if returns else None,
        min_return=min(returns, default=None),
        max_return=max(returns, default=None),
        total_timesteps=curve[-1][1] if curve else 0,
        training_seconds=curve[-1][0] if curve else 0.0,
        startup_seconds=training.startup_seconds,
        compile_seconds=training.compile_seconds,
        eval_seconds=math.fsum(score.evaluation.seconds for score in measured.scores),
        total_seconds=seconds,
        num_updates=training.updates,
        steps_per_second=training.steps_per_second,
        diverged=training.breakdowns,
        simulator=backends.scoring_engine(tasks.get(assignment.task_id)),
        task=assignment.task_id,
        backend=training.backend or assignment.backend,
        seed=assignment.seed,
        run_id=run_id,
        second_return=statistics.fmean(second) if second else None,
        policy_returns=means(measured) if len(by_policy) > 1 else None,
    )


def means(measured: Measurement) -> tuple[float, ...]:
    """The average return of each policy; none where the training was stopped."""
    return tuple(statistics.fmean(score.evaluation.returns) for score in measured.scores)


def evaluated(order: Order, measured: Measurement) -> dict[str, Any]:
    """What summary.json holds of the evaluation: every episode; or where the training stopped."""
    stopped = measured.training.stopped
    if stopped is not None:
        return {"stopped": {**dataclasses.asdict(stopped.stop), "reported": stopped.reported}}
    second = measured.second or (None,) * len(measured.scores)
    told = [_of_policy(*pair) for pair in zip(measured.scores, second, strict=True)]
    if len(told) == 1:
        return {**told[0], "second_simulator": order.eval_engine}
    seeds = order.assignment.seeds
    policies = [{"seed": seed, **one} for seed, one in zip(seeds, told, strict=True)]
    return {"policies": policies, "second_simulator": order.eval_engine}


def _of_policy(score: Score, second: Evaluation | None) -> dict[str, Any]:
    """What summary.json holds of a policy's evaluation."""
    return {
        "episode_returns": score.evaluation.returns,
        "episode_lengths": score.evaluation.lengths,
        "episode_seeds": score.evaluation.seeds,
        "second_episode_returns": second.returns if second else None,
        "evaluation_nonce": score.nonce,
        "artifact_sha256": score.digest,
    }
