"""A run as it stands in `runs/`, read again."""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.contract import reports
from harness.contract.artifact import Artifact
from harness.contract.order import MAX_SEEDS, Assignment
from harness.errors import InputError
from harness.evaluate import episode_seeds
from harness.places import CURVE, ERROR, RUNS, SUMMARY, TURN, policy_folder, run_folder
from harness.record.entries import FORMATS, Run, Status

ROUNDED = 1e-5
"""Of the largest report: a mean from curve.csv is that of numbers with six digits."""


@dataclasses.dataclass(frozen=True)
class ScoredPolicy:
    """A policy of a run, as it was scored.

    Attributes:
      folder: that holds it.
      details: what summary.json holds of its evaluation.
    """

    folder: Path
    details: Mapping[str, Any]

    def artifact(self) -> Artifact:
        """The policy itself.

        Raises:
          InputError: it was deleted.
        """
        try:
            return Artifact.load(self.folder)
        except FileNotFoundError as error:
            raise InputError(
                f"The policy of run {self.folder.parent.name} is gone: there is no "
                f"{error.filename}."
            ) from error

    @property
    def returns(self) -> list[float]:
        """Of the episodes, as they were scored."""
        return self.details["episode_returns"]

    @property
    def seeds(self) -> list[int]:
        """Of the episodes."""
        return self.details["episode_seeds"]

    def faults(self) -> list[str]:
        """What of it does not agree with itself; without simulation."""
        details, found = self.details, []
        if self.artifact().digest != details["artifact_sha256"]:
            found.append("the policy is not the one that was scored")
        count = len(self.returns)
        seeds = episode_seeds(details["artifact_sha256"], details["evaluation_nonce"], count)
        if self.seeds != seeds:
            found.append("the episode seeds do not follow from policy and nonce")
        return found


@dataclasses.dataclass(frozen=True)
class Record:
    """The folder of a run that was measured: that has a score, or was stopped.

    Attributes:
      folder: `runs/<run_id>`.
      details: what summary.json holds.
    """

    folder: Path
    details: dict[str, Any]

    @classmethod
    def load(cls, root: Path, run_id: str) -> "Record":
        """Read a run that has a score.

        Raises:
          InputError: there is no such run, or it has no score.
        """
        record = cls.measured(root, run_id)
        if "stopped" in record.details:
            raise InputError(
                f"Run {run_id} has no score: {record.details.get('reason')} There is no policy of "
                "it."
            )
        return record

    @classmethod
    def measured(cls, root: Path, run_id: str) -> "Record":
        """Read a run that has a score, or was stopped.

        Raises:
          InputError: there is no such run, or it is neither.
        """
        folder = run_folder(root, run_id)
        if not run_id or folder.parent != root / RUNS or not folder.is_dir():
            raise InputError(
                f"There is no folder of a run {run_id!r} in {root / RUNS}; results.tsv lists the "
                "runs, and a folder that was deleted cannot be read again."
            )
        if (folder / ERROR).exists() and not (folder / SUMMARY).exists():
            raise InputError(f"Run {run_id} has no score: {folder / 'error.txt'} says why.")
        try:
            details = json.loads((folder / SUMMARY).read_text())
            _check(details)
            return cls(folder, details)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder / 'summary.json'} cannot be read ({error}), and nothing else says "
                "what the run's score was."
            ) from error

    @property
    def policies(self) -> list[ScoredPolicy]:
        """The policies that were scored: one for each seed, and mostly one."""
        return [
            ScoredPolicy(policy_folder(self.folder, index), told)
            for index, told in enumerate(evaluated(self.details))
        ]

    @property
    def returns(self) -> list[float]:
        """Of the episodes of all policies, as they were scored."""
        return [value for policy in self.policies for value in policy.returns]

    def faults(self, row: Run) -> list[str]:
        """What in the folder does not agree with itself or with the row; without simulation."""
        if row.status == Status.STOPPED:
            return self._faults_of_a_stop()
        details = self.details
        found: list[str] = []
        try:
            policies = self.policies
            found += [fault for policy in policies for fault in policy.faults()]
            if len(policies) != row.num_seeds:
                found.append(f"it has {len(policies)} policies, the ledger {row.num_seeds} seeds")
            if len({len(policy.returns) for policy in policies}) > 1:
                found.append("its policies have not played equally many episodes")
            if details["avg_return"] != statistics.fmean(self.returns):
                found.append("the average is not that of the episodes")
            found += self._faults_of_figures(row)
            if float(f"{details['avg_return']:{FORMATS['avg_return']}}") != row.avg_return:
                found.append(f"the ledger says {row.avg_return}, the summary another average")
        except (KeyError, TypeError, ValueError, AttributeError, OSError, InputError) as error:
            found.append(f"its files cannot be read ({error!r})")
        return found

    def _faults_of_figures(self, row: Run) -> Iterator[str]:
        """What the summary says beside the average, where its policies or the row do not."""
        details, policies, returns = self.details, self.policies, self.returns
        again = [r for one in policies for r in one.details.get("second_episode_returns") or ()]
        expected: dict[str, object] = {
            "std_return": within([one.returns for one in policies]),
            "min_return": min(returns),
            "max_return": max(returns),
            "second_return": statistics.fmean(again) if again else None,
        }
        if row.num_seeds > 1:
            expected["num_seeds"] = row.num_seeds
            expected["policy_returns"] = [statistics.fmean(one.returns) for one in policies]
            drawn = Assignment(row.task, row.backend, details["seed"], row.budget, row.num_seeds)
            seeds = drawn.seeds if row.seed == details["seed"] else ()
            if [one.details["seed"] for one in policies] != list(seeds):
                yield "the seeds of its policies do not follow from that of the run"
        for name, value in expected.items():
            if details.get(name) != value:
                yield f"{name} is {details.get(name)}, its episodes say {value}"

    def _faults_of_a_stop(self) -> list[str]:
        """The same of a run that was stopped: whether its own curve says what ended it."""
        try:
            stopped, budget = self.details["stopped"], self.details["budget"]
            told = reports.read(self.folder / CURVE)
            mean = reports.mean(told, budget, stopped["share"])
            largest = max((abs(value) for _, value in told if math.isfinite(value)), default=0.0)
            found = []
            if "avg_return" in self.details:
                found.append("it was stopped, and has a score all the same")
            if not stopped["reported"] < stopped["least"]:
                found.append("it had reported no less than was asked for")
            if mean is None or abs(mean - stopped["reported"]) > ROUNDED * largest:
                found.append(f"it was stopped for {stopped['reported']}, its curve says {mean}")
        except (KeyError, TypeError, ValueError) as error:
            return [f"its files cannot be read ({error!r})"]
        return found


def _check(details: Any) -> None:
    """Make sure that what a summary.json holds can be of ours: a folder may come from elsewhere.

    Raises:
      ValueError: it cannot.
    """
    if not isinstance(details, dict):
        raise ValueError("it holds no object")
    told = evaluated(details)
    listed = isinstance(told, list) and len(told) <= MAX_SEEDS
    if not (listed and all(isinstance(one, dict) for one in told)):
        raise ValueError("its policies are none of ours")


def within(returns: Sequence[Sequence[float]]) -> float:
    """The standard deviation between episodes of one policy, over all policies of a run.

    Args:
      returns: of the episodes of each policy, equally many.
    """
    if len(returns) == 1:
        return statistics.pstdev(returns[0])
    return statistics.fmean(map(statistics.pvariance, returns)) ** 0.5


def evaluated(details: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a summary.json holds of the evaluation of each policy."""
    return details.get("policies") or [details]


def details_of(root: Path, run_id: str) -> dict[str, Any]:
    """What a run's summary.json or a turn's turn.json holds; nothing where there is none."""
    for name in (SUMMARY, TURN):
        try:
            return json.loads((run_folder(root, run_id) / name).read_text())
        except (OSError, ValueError):
            continue
    return {}


def medians(root: Path, runs: Iterable[Run], figure: str) -> dict[str, float]:
    """The median of a figure over runs, by task; of tasks on which it is known and positive.

    Args:
      root: the checkout.
      runs: of which those whose folders lack it, or were deleted, are left out.
      figure: its name in `SUMMARY`, as `steps_per_second`.
    """
    found: dict[str, list[float]] = {}
    for run in runs:
        value = _figure(run_folder(root, run.run_id) / SUMMARY, figure)
        if 0 < value < math.inf:
            found.setdefault(run.task, []).append(value)
    return {task: statistics.median(values) for task, values in found.items()}


def _figure(summary: Path, name: str) -> float:
    """A number of a summary; NaN where there is none."""
    try:
        return float(json.loads(summary.read_text())[name])
    except (OSError, ValueError, KeyError, TypeError):
        return math.nan
