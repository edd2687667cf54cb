"""Learning curves of finished runs, one panel a task and one colour a description, with scores.

python scripts/plot_learning.py OUT.png RUN_FOLDER ...
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from harness.morning import curves

PANEL = (5.0, 3.4)  # inches
COLUMNS = 3  # of panels, at most
COLOURS = ("#1f4e79", "#b0752f", "#5a8f4f", "#8c4a7d", "#777777")
INK = "#333333"
SECONDS_A_MINUTE = 60.0

Runs = dict[Path, dict[str, Any]]  # a run's folder and its summary


def panel(axis: Axes, task: str, runs: Runs, colours: dict[str, str]) -> None:
    """Draw the runs of one task."""
    for folder, summary in runs.items():
        colour = colours[summary["description"]]
        seconds, returns = curves.curve(folder / "curve.csv", "seconds")
        minutes = [second / SECONDS_A_MINUTE for second in seconds]
        axis.plot(minutes, returns, color=colour, linewidth=0.9, alpha=0.6)
        axis.plot(summary["budget"] / SECONDS_A_MINUTE, summary["avg_return"], "o", color=colour)
    title = task
    if len(colours) == 1:
        scores = sorted((summary["avg_return"] for summary in runs.values()), reverse=True)
        title += ": " + ", ".join(f"{score:,.0f}" for score in scores)
    axis.set_title(title, loc="left")
    axis.set_xlabel("minutes of training")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.02)


def draw(out: Path, folders: list[Path]) -> None:
    """Draw all runs and write the picture."""
    tasks: dict[str, Runs] = {}
    for folder in folders:
        summary = json.loads((folder / "summary.json").read_text())
        tasks.setdefault(summary["task"], {})[folder] = summary
    names = dict.fromkeys(s["description"] for runs in tasks.values() for s in runs.values())
    if not 1 <= len(names) <= len(COLOURS):
        sys.exit(f"{len(names)} descriptions in {len(folders)} folders; 1 to {len(COLOURS)} can be "
                 "told apart.")  # fmt: skip
    colours = dict(zip(names, COLOURS, strict=False))
    columns = min(len(tasks), COLUMNS)
    lines = -(-len(tasks) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(PANEL[0] * columns, PANEL[1] * lines), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[len(tasks) :]:
        axis.remove()
    for axis, (task, runs) in zip(axes.flat, sorted(tasks.items()), strict=False):
        panel(axis, task, runs, colours)
    figure.legend(handles=key(colours), loc="outside upper left", ncols=2 + len(colours))
    figure.supylabel("return")
    figure.savefig(out, dpi=150)


def key(colours: dict[str, str]) -> list[plt.Line2D]:
    """What lines, dots and, where there are several, colours mean."""
    line = plt.Line2D([], [], color=INK, linewidth=0.9, label="training policy")
    dot = plt.Line2D([], [], color=INK, marker="o", linestyle="", label="score of 100 episodes")
    several = colours.items() if len(colours) > 1 else ()
    return [plt.Line2D([], [], color=c, linewidth=4, label=n) for n, c in several] + [line, dot]


if __name__ == "__main__":
    draw(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
