"""The chart of learning curves, from the runs' folders."""

import csv
import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from harness.contract.reports import RETURN
from harness.morning.charts import CHART_WIDTH, COLOURS, STYLE, Chart, finished, legend
from harness.morning.findings import Findings
from harness.places import CURVE, run_folder
from harness.record.entries import Run

CURVES_DRAWN = 6
"""Of one kind in the chart."""

BINS = 60
"""Parts of a curve, each shown as its mean: an update sees few episodes."""


@dataclasses.dataclass(frozen=True)
class End:
    """What a curve leads to.

    Attributes:
      task: of the run.
      score: of the run; None where it has none.
    """

    task: str
    score: float | None


@dataclasses.dataclass(frozen=True)
class Kind:
    """Runs that are drawn alike.

    Attributes:
      word: for the legend.
      colour: one of `COLOURS`.
      width: of the lines, in points.
      runs: ids.
    """

    word: str
    colour: str
    width: float
    runs: Sequence[str]


def of_branch(found: Findings, root: Path) -> Chart | None:
    """Learning curves of incumbent, baseline and challengers; see `draw`."""
    ends = {run.run_id: End(run.task, run.avg_return) for run in found.runs}
    return draw(_kinds(found), ends, found.tasks, root)


def of_singles(runs: Sequence[Run], root: Path) -> Chart | None:
    """Learning curves of the last run of each task, and of those before it; see `draw`."""
    tasks = dict.fromkeys(run.task for run in reversed(runs))
    latest = {task: [run.run_id for run in runs if run.task == task] for task in tasks}
    kinds = [
        Kind(
            "before", "discard", 0.8, [i for ids in latest.values() for i in ids[-CURVES_DRAWN:-1]]
        ),
        Kind("last run", "incumbent", 1.5, [ids[-1] for ids in latest.values()]),
    ]
    return draw(kinds, {r.run_id: End(r.task, r.avg_return) for r in runs}, [*tasks], root)


def draw(
    kinds: Sequence[Kind], ends: Mapping[str, End], tasks: Sequence[str], root: Path
) -> Chart | None:
    """Learning curves by seconds and by steps.

    Args:
      kinds: of runs, the most important last, on top.
      ends: of the curves, by run id.
      tasks: in the order in which they are shown.
      root: the folder that holds `runs/`.

    Returns:
      None where no run has left a curve there.
    """
    there = {run: end for run, end in ends.items() if path(root, run).exists()}
    tasks = [task for task in tasks if any(end.task == task for end in there.values())]
    if not tasks:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(CHART_WIDTH, 3.4 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), 2, squeeze=False, sharey="row")
        for pair, task in zip(axes, tasks, strict=True):
            own = {run: end for run, end in there.items() if end.task == task}
            for kind in kinds:
                for axis, column in zip(pair, ("seconds", "step"), strict=True):
                    _draw_kind(axis, kind, column, own, root)
            pair[0].plot([], [], "D", color=COLOURS["muted"], markersize=4, label="score")
            for axis in pair:
                axis.set_xlim(left=0)
            pair[0].set_xlabel("seconds on the clock")
            pair[1].set_xlabel("environment steps")
            pair[0].set_ylabel(f"{task}\nreturn")
            pair[1].xaxis.set_major_formatter(EngFormatter(sep=""))
        figure.legend(*legend(axes[0][0]), loc="outside upper left", ncols=4)
        return finished("curves", figure)


def _kinds(found: Findings) -> list[Kind]:
    """Who of a branch is drawn."""
    challengers = [run for e in found.experiments[-CURVES_DRAWN:] for run in e.runs[:1]]
    kinds = [Kind("latest challengers", "discard", 0.8, challengers)]
    if len(found.reigns) > 1:
        kinds.append(Kind("baseline", "other", 1.1, found.reigns[0].runs[:CURVES_DRAWN]))
    return [*kinds, Kind("incumbent", "incumbent", 1.5, found.reigns[-1].runs[-CURVES_DRAWN:])]


def _draw_kind(axis: Axes, kind: Kind, column: str, ends: Mapping[str, End], root: Path) -> None:
    """Lines of the training policies' returns, ending in their scores."""
    for i, run in enumerate(run for run in kind.runs if run in ends):
        x, y = curve(path(root, run), column)
        axis.plot(
            x, y, color=COLOURS[kind.colour], linewidth=kind.width, alpha=0.8,
            marker="." if len(x) < BINS // 4 else None, label=None if i else kind.word,
        )  # fmt: skip
        end, score = last(path(root, run), column), ends[run].score
        if score is not None and end is not None:
            axis.plot(end, score, "D", color=COLOURS[kind.colour], markersize=4)


def path(root: Path, run_id: str) -> Path:
    """Where a run leaves its curve."""
    return run_folder(root, run_id) / CURVE


def curve(file: Path, column: str) -> tuple[list[float], list[float]]:
    """A run's returns in `BINS` equal parts of a column: the parts' ends, and their means."""
    pairs = [(x, y) for x, y in _pairs(file, column) if math.isfinite(y)]
    if not pairs:
        return [], []
    parts: dict[int, list[float]] = {}
    end = pairs[-1][0] or 1.0
    for x, y in pairs:
        parts.setdefault(min(int(x / end * BINS), BINS - 1), []).append(y)
    return [(i + 1) / BINS * end for i in parts], [statistics.fmean(p) for p in parts.values()]


def last(file: Path, column: str) -> float | None:
    """Where in a column a run has ended; None where it has no updates."""
    pairs = _pairs(file, column)
    return pairs[-1][0] if pairs else None


def _pairs(file: Path, column: str) -> list[tuple[float, float]]:
    """A column and the returns, an update each; empty where the file has none."""
    try:
        with open(file, newline="", encoding="utf-8", errors="replace") as lines:
            return [(float(r[column]), float(r[RETURN])) for r in csv.DictReader(lines)]
    except (OSError, KeyError, ValueError, TypeError):
        return []
