"""The picture of docs/keep-rule.md: what both rules keep of nothing, and what they gain.

python scripts/plot_keep_rule.py OUT.png SCORES_FILE
"""

import dataclasses
import statistics
import sys

import matplotlib.pyplot as plt

from harness.judgement import confirmation
from simulate_nights import Setting, nights

NIGHTS = 300  # for each bar and dot
RUNS = (20, 40, 60, 100, 150)  # full runs of machine time
SIGNAL = ((0.25, 0.75), (0.5, 0.88))
INK, PALE = "#1f4e79", "#c0713a"
RULES = {"ahead": "this rule", "greedy": "higher is better"}


def main() -> None:
    out, scores = sys.argv[1:]
    noises = {
        "normal": "gaussian",
        "log-normal": "lognormal",
        "10 % stall": "bimodal:0.1",
        "30 % stall": "bimodal:0.3",
        "50 % stall": "bimodal:0.5",
        "measured": scores,
    }
    settings = {name: Setting(noise, signal=SIGNAL) for name, noise in noises.items()}
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for offset, (rule, name), colour in zip((-0.2, 0.2), RULES.items(), (INK, PALE), strict=True):
        kept = [
            statistics.fmean(night.false_keeps for night in nights(setting, rule, "idle", NIGHTS))
            for setting in settings.values()
        ]
        bars = left.bar(
            [i + offset for i in range(len(noises))], kept, 0.4, label=name, color=colour
        )
        left.bar_label(bars, fmt="%.2f", fontsize=8, padding=14 if rule == "ahead" else 3)
        for style, noise in (("-", "normal"), ("--", "measured"), (":", "30 % stall")):
            gains = [
                statistics.fmean(
                    night.gain
                    for night in nights(
                        dataclasses.replace(settings[noise], runs=runs), rule, "mixed", NIGHTS
                    )
                )
                for runs in RUNS
            ]
            right.plot(RUNS, gains, style, color=colour, label=f"{name}, {noise}")
    left.axhline(
        confirmation.BUDGET / (1 - confirmation.BUDGET), color="black", linewidth=0.8,
        label=f"proved: {confirmation.BUDGET / (1 - confirmation.BUDGET):.2f}",
    )  # fmt: skip
    left.set_xticks(range(len(noises)), list(noises))
    left.set_title(
        "False keeps in a night of 40 edits that change nothing", loc="left", fontsize=10
    )
    left.set_ylim(0, 4.8)
    right.set_title(
        "True gain in a night, 5 % good edits, in deviations between runs", loc="left", fontsize=10
    )
    right.set_xlabel("full runs of machine time")
    right.set_ylim(bottom=0)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
    left.legend(frameon=False, fontsize=8, loc="upper left", ncols=3)
    right.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main()
