"""Whether a branch can find anything: its baseline may be at a ceiling, or have learned nothing."""

import math
from pathlib import Path

from harness.judgement import objective, search
from harness.judgement.history import History
from harness.measurement.sites import RETURN, curve
from harness.places import run_folder
from harness.record.entries import Role, Run
from harness.system import words
from harness.tasks import anchors

LEARNED = 0.05
"""Share of the way from random actions to the reference; a file below has learned nothing yet."""

AT_THE_TOP = 0.5
"""Share of the runs that have exactly the highest return: that is no chance, but a ceiling."""

LEAST_AT_THE_TOP = 3
"""Such runs, where there are as many: a pair of four can be chance."""


def doubts(root: Path, past: History) -> list[str]:
    """Why no edit may be found to be better than the incumbent, a line for each task.

    Args:
      root: the checkout.
      past: what was measured; two runs of the incumbent at least.
    """
    conditions = past.conditions
    if conditions is None:
        return []
    found = []
    for task in conditions.tasks:
        runs = [run for run in _fresh(past) if run.task == task and run.avg_return is not None]
        if len(runs) > 1 and (doubt := _ceiling(runs) or _nothing_learned(root, runs)):
            found.append(f"{task}: {doubt}")
    return found


def too_short(left: float, level: float) -> str:
    """What is said of a night in which no lead can be proved; empty where one can be.

    Args:
      left: whole runs that it has.
      level: of its confirmation.
    """
    least = math.ceil(search.reserve(level))
    if left >= least:
        return ""
    return (
        f"this night has {words.counted(int(left), 'run')}, and a proof takes up to {least}: it "
        "ends at the first edit that leads. What leads is proved by the next night, or by "
        "python -m harness.run --confirm."
    )


def _fresh(past: History) -> list[Run]:
    """The runs of the incumbent for its own sake, by what measures now."""
    name = (past.incumbent, past.incumbent, past.instrument)
    roles = (Role.INCUMBENT, Role.ESTIMATE)
    mine = (run for run in past.runs if run.role in roles)
    return [run for run in mine if (run.commit, run.challenger, run.harness) == name]


def _ceiling(runs: list[Run]) -> str:
    """What is said where returns cannot be higher; else nothing."""
    returns = [run.avg_return for run in runs if run.avg_return is not None]
    best = max(returns)
    least = max(AT_THE_TOP * len(returns), min(len(returns), LEAST_AT_THE_TOP))
    if returns.count(best) < max(least, 2):
        return ""
    return (
        f"{returns.count(best)} of {len(returns)} runs scored exactly {best:,.2f}, and none more. "
        "It is a ceiling: nothing can be shown to be better. Take another task, or a shorter "
        "--budget in which it is not reached."
    )


def _nothing_learned(root: Path, runs: list[Run]) -> str:
    """What is said where the budget is too short to learn anything; else nothing."""
    task, last = runs[0].task, runs[-1]
    mean = sum(run.avg_return or 0.0 for run in runs) / len(runs)
    rows = curve(run_folder(root, last.run_id))
    silent = bool(rows) and not any(math.isfinite(row.get(RETURN, math.nan)) for row in rows)
    ended = " No episode ended in its training." if silent else ""
    known = task in anchors.RANDOM and objective.unit_return(task) is not None
    if known and objective.normalized(task, mean) < LEARNED:
        return (
            f"the runs score {mean:,.2f}, and random actions {anchors.RANDOM[task]:,.1f}: in "
            f"{last.budget:g} s nothing is learned.{ended} Give a longer --budget, or edits are "
            "compared by chance."
        )
    if silent and not known:
        return (
            f"no episode ended in a training of {last.budget:g} s. Give a longer --budget if the "
            "scores are those of random actions."
        )
    return ""
