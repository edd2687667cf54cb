"""Where the time of a night went, by what its runs and turns left in their folders."""

import dataclasses
from pathlib import Path

from harness.morning.findings import Findings
from harness.record.runs import details_of


@dataclasses.dataclass(frozen=True)
class Hours:
    """Where the time of a night went, in hours.

    Attributes:
      agent: for its turns.
      starting: imports and compilation, before the clock of a training runs.
      training: on the clock.
      evaluation: of policies.
      other: the rest: the harness, and waiting.
    """

    agent: float
    starting: float
    training: float
    evaluation: float
    other: float


def spent(found: Findings, root: Path) -> Hours:
    """Where the time went, from what the runs left in `root`; runs without a folder are other."""
    seconds = {"agent": 0.0, "starting": 0.0, "training": 0.0, "evaluation": 0.0}
    latest = 0.0
    for row in found.rows:
        details = details_of(root, row.run_id)
        seconds["agent"] += details.get("seconds", 0.0)
        seconds["starting"] += details.get("startup_seconds", 0.0)
        seconds["training"] += details.get("training_seconds", 0.0)
        seconds["evaluation"] += details.get("eval_seconds", 0.0)
        latest = details.get("total_seconds", 0.0)
    whole = found.hours + latest / 3600
    parts = {name: value / 3600 for name, value in seconds.items()}
    return Hours(**parts, other=max(whole - sum(parts.values()), 0.0))
