"""The chart of learning curves, from the runs' folders."""

import csv
import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from harness.morning.charts import COLOURS, STYLE, WIDTH, Chart, finished, legend
from harness.morning.findings import Findings
from harness.places import CURVE, run_folder
from harness.record.entries import Run

SHOWN = 6
"""Of one kind in the chart."""

BINS = 60
"""Parts of a curve, each shown as its mean: an update sees few episodes."""

RETURN = "charts/episodic_return"


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


def draw(found: Findings, root: Path) -> Chart | None:
    """Learning curves of incumbent, baseline and challengers, by seconds and by steps.

    Args:
      found: what the ledger says.
      root: the folder that holds `runs/`.

    Returns:
      None where no run has left a curve there.
    """
    rows = {row.run_id: row for row in found.runs if path(root, row.run_id).exists()}
    tasks = [task for task in found.tasks if any(row.task == task for row in rows.values())]
    if not tasks:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4 * len(tasks)), layout="constrained")
        axes = figure.subplots(len(tasks), 2, squeeze=False, sharey="row")
        for pair, task in zip(axes, tasks, strict=True):
            for kind in _kinds(found):
                own = [rows[run] for run in kind.runs if run in rows and rows[run].task == task]
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
    """Who is drawn; the most important last, on top."""
    challengers = [run for e in found.experiments[-SHOWN:] for run in e.runs[:1]]
    kinds = [Kind("latest challengers", "discard", 0.8, challengers)]
    if len(found.reigns) > 1:
        kinds.append(Kind("baseline", "other", 1.1, found.reigns[0].runs[:SHOWN]))
    return [*kinds, Kind("incumbent", "incumbent", 1.5, found.reigns[-1].runs[-SHOWN:])]


def _draw_kind(axis: Axes, kind: Kind, column: str, rows: Sequence[Run], root: Path) -> None:
    """Lines of the training policies' returns, ending in their scores."""
    for i, row in enumerate(rows):
        x, y = curve(path(root, row.run_id), column)
        axis.plot(
            x, y, color=COLOURS[kind.colour], linewidth=kind.width, alpha=0.8,
            marker="." if len(x) < BINS // 4 else None, label=None if i else kind.word,
        )  # fmt: skip
        end = last(path(root, row.run_id), column)
        if row.avg_return is not None and end is not None:
            axis.plot(end, row.avg_return, "D", color=COLOURS[kind.colour], markersize=4)


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
