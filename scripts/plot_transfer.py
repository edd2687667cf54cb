"""The transfer chart: plain PPO and the shipped file on each task, every seed a dot.

python scripts/plot_transfer.py OUT.png docs/evidence/issue8/twelve_minutes
"""

import statistics
import sys
from pathlib import Path

import matplotlib.pyplot as plt

from harness.tasks import anchors
from matrix import SHIPPED, measured

COLOURS = {"plain PPO": "#b0752f", SHIPPED: "#1f4e79"}
PANEL = (2.5, 3.2)  # inches


def draw(out: Path, folder: Path) -> None:
    """Draw a panel a task and write the picture."""
    found: dict[tuple[str, str], list[float]] = {}
    for cell, row in measured(folder).items():
        if cell.name in COLOURS:
            found.setdefault((cell.task, cell.name), []).append(row.avg_return)
    tasks = sorted({task for task, _ in found})
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(PANEL[0] * len(tasks), PANEL[1]), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, task in zip(axes[0], tasks, strict=True):
        labels = list(COLOURS)
        for place, (name, colour) in enumerate(COLOURS.items()):
            if scores := found.get((task, name)):
                mean = statistics.fmean(scores)
                axis.bar(place, mean, width=0.6, color=colour, alpha=0.3)
                axis.plot([place] * len(scores), scores, "o", color=colour)
                labels[place] += f"\n{mean:,.0f}"
        if task in anchors.AUTORL:
            axis.axhline(anchors.AUTORL[task], color="#777777", linewidth=1, linestyle="--")
        axis.set_title(task, loc="left", fontsize=10)
        axis.set_xticks(range(len(COLOURS)), labels)
        axis.set_xlim(-0.6, len(COLOURS) - 0.4)
        axis.grid(axis="y", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("score")
    figure.supxlabel("dots: each seed; bars: their mean; dashed: autoRL's best", fontsize=10)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
