"""Learning curves of finished runs, one panel a task, with their scores.

python scripts/plot_learning.py OUT.png RUN_FOLDER ...
"""

import csv
import json
import math
import statistics
import sys
from pathlib import Path

import matplotlib.pyplot as plt

RETURN = "charts/episodic_return"
PANEL = (5.0, 3.4)  # inches
COLUMNS = 3  # of panels, at most
BINS = 60  # of each curve; an update sees few episodes, and some of them fall
INK = "#1f4e79"


def curve(folder: Path) -> tuple[list[float], list[float]]:
    """Seconds on the clock and mean return of the training's episodes, in `BINS` equal parts."""
    with open(folder / "curve.csv") as file:
        rows = [(float(r["seconds"]), float(r[RETURN])) for r in csv.DictReader(file)]
    rows = [(s, value) for s, value in rows if not math.isnan(value)]
    edges = [rows[-1][0] * i / BINS for i in range(BINS + 1)]
    bins = [
        [value for s, value in rows if low < s <= high]
        for low, high in zip(edges, edges[1:], strict=False)
    ]
    filled = [(high, part) for high, part in zip(edges[1:], bins, strict=True) if part]
    return [high for high, _ in filled], [statistics.fmean(part) for _, part in filled]


def draw(out: Path, folders: list[Path]) -> None:
    """Draw all runs, a panel a task, and write the picture."""
    runs: dict[str, list[tuple[Path, dict]]] = {}
    for folder in folders:
        summary = json.loads((folder / "summary.json").read_text())
        runs.setdefault(summary["task"], []).append((folder, summary))
    columns = min(len(runs), COLUMNS)
    lines = -(-len(runs) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(PANEL[0] * columns, PANEL[1] * lines), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[len(runs) :]:
        axis.remove()
    for axis, (task, members) in zip(axes.flat, sorted(runs.items()), strict=False):
        for folder, summary in members:
            seconds, returns = curve(folder)
            axis.plot(seconds, returns, color=INK, linewidth=0.9, alpha=0.6)
            axis.plot(summary["budget"], summary["avg_return"], "o", color=INK)
        scores = sorted((summary["avg_return"] for _, summary in members), reverse=True)
        axis.set_title(f"{task}: {', '.join(f'{score:,.0f}' for score in scores)}", loc="left")
        axis.set_xlabel("seconds of training")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.02)
    figure.supylabel("return (lines: training policy; dots: score)")
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
