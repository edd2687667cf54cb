"""The picture of docs/keep-rule.md: what both rules keep of nothing, and of improvements.

python scripts/plot_keep_rule.py OUT.png SCORES_FILE
"""

import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt

from harness.judgement import simulation, verdict
from simulate_nights import detected

NIGHTS = 300  # for each dot
SHIFTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)  # standard deviations between runs
INK, PALE = "#1f4e79", "#c0713a"
RULES: dict[str, Callable[..., simulation.Night]] = {
    "this rule": simulation.sequential,
    "higher is better": simulation.greedy,
}


def main() -> None:
    out, scores = sys.argv[1:]
    noises = {
        "normal": simulation.gaussian,
        "log-normal": simulation.lognormal,
        "10 % stall": simulation.bimodal(0.1),
        "30 % stall": simulation.bimodal(0.3),
        "50 % stall": simulation.bimodal(0.5),
        "measured": simulation.resampled([float(x) for x in Path(scores).read_text().split()]),
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    generator = random.Random(0)
    for offset, (name, rule), colour in zip((-0.2, 0.2), RULES.items(), (INK, PALE), strict=True):
        kept = [
            statistics.fmean(rule(draw, [0.0] * verdict.NIGHT_LENGTH, generator).false_keeps
                             for _ in range(NIGHTS))
            for draw in noises.values()
        ]  # fmt: skip
        bars = left.bar(
            [i + offset for i in range(len(noises))], kept, 0.4, label=name, color=colour
        )
        left.bar_label(bars, fmt="%.2f", fontsize=8, padding=3 if name != "this rule" else 14)
        for style, noise in (("-", "normal"), ("--", "measured"), (":", "30 % stall")):
            rates = [
                statistics.fmean(detected(rule, noises[noise], shift, NIGHTS, generator))
                for shift in SHIFTS
            ]
            right.plot(SHIFTS, rates, style, color=colour, label=f"{name}, {noise}")
    left.axhline(verdict.FALSE_KEEPS, color="black", linewidth=0.8, label="allowed: 0.25")
    left.set_xticks(range(len(noises)), list(noises))
    left.set_title(
        "False keeps in a night of 40 edits that change nothing", loc="left", fontsize=10
    )
    left.set_ylim(0, 4.4)
    right.set_title("One edit is truly better: how often it is kept", loc="left", fontsize=10)
    right.set_xlabel("by so many standard deviations between runs")
    right.set_ylim(0, 1)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
    left.legend(frameon=False, fontsize=8, loc="upper left", ncols=3)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main()
