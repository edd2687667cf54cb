"""Runs as evidence: their summaries, and their curves with one row every few seconds.

python scripts/thin_runs.py OUT_FOLDER RUN_FOLDER ...
"""

import csv
import itertools
import math
import shutil
import statistics
import sys
from pathlib import Path

SECONDS = 3.0  # of training that become one row: 40 kB a run of twelve minutes
DIGITS = 5


def mean(values: list[float]) -> float:
    """Of those that are numbers; NaN of none."""
    numbers = [value for value in values if not math.isnan(value)]
    return statistics.fmean(numbers) if numbers else math.nan


def thin(curve: Path, out: Path) -> None:
    """Write a curve whose rows are means over `SECONDS`, with the last time and step of each."""
    with open(curve) as file:
        rows = [{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]
    if not rows:
        sys.exit(f"{curve} has no rows: the run has made no update.")
    with open(out, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for _, group in itertools.groupby(rows, lambda row: row["seconds"] // SECONDS):
            part = list(group)
            row = {name: mean([each[name] for each in part]) for name in part[0]}
            row |= {name: part[-1][name] for name in ("seconds", "step")}
            writer.writerow({name: f"{value:.{DIGITS}g}" for name, value in row.items()}
                            | {"step": f"{row['step']:.0f}"})  # fmt: skip


def main(out: Path, folders: list[Path]) -> None:
    """Copy what shall be kept of each run."""
    for folder in folders:
        place = out / folder.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "summary.json", place)
        thin(folder / "curve.csv", place / "curve.csv")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
