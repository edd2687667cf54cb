"""What finished runs reached and cost, and where the curves of two training files cross.

    python scripts/tabulate_runs.py RUN_FOLDER ...

Runs are told apart by their description, as `bench_peers.py` and `bench_algorithm.py` give it.
"""

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.morning import curves
from matrix import SHIPPED


@dataclass(frozen=True)
class Run:
    """A finished run: what trained, on what, and how it went."""

    name: str
    task: str
    budget: float  # seconds
    score: float
    steps_per_second: float
    curve: tuple[list[float], list[float]]  # seconds, and the training policy's returns


def load(folder: Path) -> Run:
    """The run of a folder."""
    summary = json.loads((folder / "summary.json").read_text())
    return Run(
        summary["description"], summary["task"], summary["budget"], summary["avg_return"],
        summary["steps_per_second"], curves.curve(folder / "curve.csv", "seconds"),
    )  # fmt: skip


def mean_curve(runs: list[Run], seconds: np.ndarray) -> np.ndarray:
    """The mean of the runs' curves at some seconds."""
    return np.mean([np.interp(seconds, *run.curve) for run in runs], axis=0)


def ahead(ours: list[Run], theirs: list[Run]) -> str:
    """Who is ahead at the end, and since which minute."""
    seconds = np.arange(1, int(ours[0].budget))
    lead = mean_curve(ours, seconds) > mean_curve(theirs, seconds)
    if lead.all() or not lead.any():
        return f"{ours[0].name if lead[-1] else theirs[0].name} throughout"
    since = seconds[np.flatnonzero(lead != lead[-1])[-1]] / 60
    return f"{ours[0].name if lead[-1] else theirs[0].name} from minute {since:.1f} on"


def separated(ours: list[float], theirs: list[float]) -> str:
    """Whether every score of one is above every score of the other."""
    if min(ours) > max(theirs):
        return "above"
    return "below" if max(ours) < min(theirs) else "not separated"


def main(folders: list[Path]) -> None:
    """Print a table for each task."""
    groups: dict[tuple[str, float], dict[str, list[Run]]] = {}
    for run in map(load, folders):
        if not run.curve[0]:
            sys.exit(f"{run.name} on {run.task}: no episode ended in training, no curve to compare")
        groups.setdefault((run.task, run.budget), {}).setdefault(run.name, []).append(run)
    for (task, budget), files in groups.items():
        print(f"\n{task}, {budget:g} s")
        print("| | scores | mean | steps/s | shipped: | its rate | curves |")
        print("|---|---|---|---|---|---|---|")
        shipped = files.get(SHIPPED)
        for name, runs in files.items():
            scores = [run.score for run in runs]
            rate = statistics.fmean(run.steps_per_second for run in runs)
            line = [name, ", ".join(f"{score:,.0f}" for score in scores),
                    f"{statistics.fmean(scores):,.0f}", f"{rate:,.0f}"]  # fmt: skip
            if shipped and name != SHIPPED:
                own = statistics.fmean(run.steps_per_second for run in shipped)
                line += [separated([run.score for run in shipped], scores), f"{own / rate:.1f} ×",
                         ahead(shipped, runs)]  # fmt: skip
            print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
