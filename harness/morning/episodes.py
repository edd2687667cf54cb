"""The chart of single runs: the return of every episode, beside what is known of the task."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.morning import singles
from harness.morning.charts import CHART_WIDTH, COLOURS, DASHES, STYLE, Chart, finished, legend
from harness.record.entries import Run, stamp
from harness.system import words
from harness.tasks import anchors

RUNS_DRAWN = 12
"""Runs of a task, the latest."""

RUN_HEIGHT, FRAME_HEIGHT = 0.42, 0.65
"""Inches that a run takes, and what is around those of a task."""

LEGEND_HEIGHT = 0.3
"""Inches."""

DESCRIBED = 28
"""Characters of a run's description."""


def draw(runs: Sequence[Run], root: Path) -> Chart | None:
    """Every scored run as a row of its episodes, a part of the picture for each task.

    Args:
      runs: single runs, in their order.
      root: the folder that holds `runs/`.

    Returns:
      None where no run has a score.
    """
    scored = [run for run in runs if run.avg_return is not None]
    tasks = dict.fromkeys(run.task for run in reversed(scored))
    shown = {task: [run for run in scored if run.task == task][-RUNS_DRAWN:] for task in tasks}
    if not shown:
        return None
    heights = [RUN_HEIGHT * len(mine) + FRAME_HEIGHT for mine in shown.values()]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(CHART_WIDTH, sum(heights) + LEGEND_HEIGHT), layout="constrained")
        axes = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)
        for (axis,), (task, mine) in zip(axes, shown.items(), strict=True):
            _draw_task(axis, task, mine, root)
        words = {
            word: handle for (axis,) in axes for handle, word in zip(*legend(axis), strict=True)
        }
        figure.legend([*words.values()], [*words], loc="outside upper left", ncols=len(words))
        return finished("episodes", figure)


def _draw_task(axis: Axes, task: str, runs: Sequence[Run], root: Path) -> None:
    """The runs of a task, the latest on top."""
    for y, run in enumerate(runs):
        returns = singles.episodes(root, run)
        axis.plot(
            returns, [y] * len(returns), "|", color=COLOURS["incumbent"], alpha=0.35, markersize=9,
            label="episodes" if run is runs[-1] else None,
        )  # fmt: skip
        axis.plot(
            [run.avg_return or 0.0], [y], "D", color=COLOURS["incumbent"], markersize=5,
            label="score" if run is runs[-1] else None,
        )  # fmt: skip
    for value, word, colour in _known(task, runs[-1].budget):
        axis.axvline(value, color=COLOURS[colour], linestyle=DASHES, linewidth=1, label=word)
    axis.set_yticks(range(len(runs)), [_name(run) for run in runs])
    axis.set_ylim(-0.6, len(runs) - 0.4)
    axis.set_xlabel(f"{task}: return")
    axis.xaxis.set_major_formatter("{x:,.0f}")


def _known(task: str, budget: float) -> Iterator[tuple[float, str, str]]:
    """Returns to compare with, each with a word for it and its colour."""
    if (random := anchors.RANDOM.get(task)) is not None:
        yield random, "random actions", "muted"
    if (best := anchors.AUTORL.get(task)) is not None:
        yield best, "autoRL's best", "other"
    if (solved := anchors.solved(task)) is not None:
        yield solved, "solved", "keep"
    if (usual := anchors.usual(task, budget)) is not None:
        seconds, scores = usual
        yield sum(scores) / len(scores), f"the shipped file in {seconds:g} s", "ink"


def _name(run: Run) -> str:
    """When a run was, and what it was."""
    what = words.shortened(run.description, DESCRIBED) or f"{run.budget:g} s"
    return f"{what}\n{stamp(run):%m-%d %H:%M}"
