"""`python -m harness.replay RUN_ID`: the same file under the same conditions, once more."""

import math
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from scipy import special

from harness.confinement import sandbox
from harness.contract.order import Assignment, Order
from harness.judgement import experiment
from harness.places import LEDGER, TRAIN_FILE
from harness.record.entries import Run
from harness.record.ledger import Ledger
from harness.record.runs import Record
from harness.terminal import cli, options
from harness.terminal.display import Display

CONFIDENCE = 0.95
ENOUGH_RUNS = 3
"""Of one edit, from which a spread between runs can be estimated at all."""


def replay(
    run_id: Annotated[str, typer.Argument(help="A run in runs/.")],
    no_sandbox: Annotated[bool, typer.Option("--no-sandbox", help="As in harness.run.")] = False,
) -> None:
    """Train a recorded train.py again: same task, seed, budget and engine; fresh episodes.

    A budget of wall-clock time never gives the same training twice. The result is therefore
    compared with an interval: from the runs of the same edit where there are three, else from the
    episodes alone, which leaves the spread between trainings out. It is confined, whatever the
    record says: a folder may come from elsewhere.
    """
    root = Path.cwd()
    record = Record.load(root, run_id)
    details = record.details
    request = experiment.Request(
        root=root,
        source=options.training_file(record.folder / TRAIN_FILE),
        order=Order(
            Assignment(
                details["task"],
                details["backend"],
                details["seed"],
                details["budget"],
                len(record.policies),
            ),
            episodes=len(record.policies[0].returns),
            confinement=sandbox.NONE if no_sandbox else sandbox.as_safe_as(details["sandbox"]),
            allowance=details.get("startup_allowance"),
        ),
        message=f"replay of {run_id}",
        comparable=False,
    )
    with options.at_work(root), Display(details["task"]) as display:
        summary = experiment.run(request, display.watch, display.announce)
    assert summary.avg_return is not None  # it was ordered without stops
    again = Record.load(root, summary.run_id)
    mine, used = _row(root, run_id), request.site.instrument
    siblings = _siblings(root, mine, used) if mine else []  # else the ledger was moved away
    if len(siblings) >= ENOUGH_RUNS:
        low, high = prediction_interval(siblings)
        basis = f"{len(siblings)} runs of the same edit, measured as this one"
    else:
        low, high = episode_interval(_by_policy(record), _by_policy(again))
        basis = "the episodes alone; trainings vary more than that"
    inside = low <= summary.avg_return <= high
    print("---")
    print(f"recorded: {details['avg_return']:.2f}")
    print(f"replayed: {summary.avg_return:.2f}")
    print(f"interval: {low:.2f} to {high:.2f} ({CONFIDENCE:.0%}, from {basis})")
    print(f"within: {'yes' if inside else 'no'}")
    print(f"run_id: {summary.run_id}")
    if mine and mine.harness != used:
        other = _other(mine.harness, used)
        print(f"note: the recorded run was measured by another instrument: {other}.",
              file=sys.stderr)  # fmt: skip
    elif details["versions"] != Record.load(root, summary.run_id).details["versions"]:
        print("note: the versions of the packages are not those of the recorded run.",
              file=sys.stderr)  # fmt: skip


def prediction_interval(scores: Sequence[float]) -> tuple[float, float]:
    """Where a further run falls with `CONFIDENCE`, given runs of the same distribution (normal)."""
    count = len(scores)
    quantile = special.stdtrit(count - 1, (1 + CONFIDENCE) / 2)
    half = quantile * statistics.stdev(scores) * math.sqrt(1 + 1 / count)
    return statistics.fmean(scores) - half, statistics.fmean(scores) + half


def episode_interval(
    recorded: Sequence[Sequence[float]], again: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """Where the mean of other episodes of the *same* policies falls with `CONFIDENCE` (normal).

    Args:
      recorded: returns of the episodes of each policy, equally many.
      again: likewise of the replay.
    """
    variance = sum(
        statistics.fmean(map(statistics.pvariance, run)) / sum(map(len, run))
        for run in (recorded, again)
    )
    half = special.ndtri((1 + CONFIDENCE) / 2) * math.sqrt(variance)
    mean = statistics.fmean(map(statistics.fmean, recorded))
    return mean - half, mean + half


def _by_policy(record: Record) -> list[list[float]]:
    """Returns of the episodes of each policy."""
    return [policy.returns for policy in record.policies]


def _row(root: Path, run_id: str) -> Run | None:
    """A run's row in the ledger."""
    return next((run for run in Ledger(root / LEDGER).runs() if run.run_id == run_id), None)


def _other(then: str, now: str) -> str:
    """What of two instruments is not the same, in words."""
    parts = [set(re.split(r"[,;] | (?=\d+x )", one)) for one in (then, now)]
    only = [", ".join(sorted(mine - theirs)) or "nothing else" for mine, theirs in
            (parts, parts[::-1])]  # fmt: skip
    return f"then {only[0]}; now {only[1]}"


def _siblings(root: Path, mine: Run, instrument: str) -> list[float]:
    """Scores of the comparable runs of the same edit under the same conditions.

    Args:
      root: the checkout.
      mine: the recorded run.
      instrument: of its replay; there are none if the recorded one's is another.
    """
    same = [
        run.avg_return
        for run in Ledger(root / LEDGER).runs()
        if (run.commit, run.task, run.budget, run.backend, run.num_seeds, run.comparable)
        == (mine.commit, mine.task, mine.budget, mine.backend, mine.num_seeds, True)
        and run.harness == mine.harness == instrument
        and not run.commit.endswith(("+", "-"))  # an edit that no commit names
    ]
    return [score for score in same if score is not None]


if __name__ == "__main__":
    cli.serve(replay)
