"""What confinement costs an honest run: pairs of runs with and without it, side by side.

    python scripts/bench_sandbox.py [--pairs 8] [--budget 20] [--task HalfCheetah-v5]

The two runs of a pair go on at the same time, each on a half of the cores, so that a machine
whose speed drifts is the same for both; halves are swapped from pair to pair. Prints, pair by
pair and as means with their standard errors, the ratio of the training rates, the difference of
the start-ups (from the start of the child to `trial.start()`), and that of all seconds which are
not on the clock.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.confinement import sandbox

ROOT = Path(__file__).resolve().parent.parent


def start(checkout: Path, cores: list[int], options: list[str]) -> subprocess.Popen:
    """A run of the shipped training file on some cores, in a checkout of its own."""
    shutil.copytree(ROOT / "agent_space", checkout / "agent_space")
    command = ["taskset", "--cpu-list", ",".join(map(str, cores)), sys.executable]
    return subprocess.Popen(
        [*command, "-m", "harness.run", *options], cwd=checkout, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(checkout / "state")},
    )  # fmt: skip


def pair(swap: bool, options: list[str]) -> tuple[float, float, float]:
    """Ratio of rates, difference of start-ups and of all seconds off the clock, in one pair."""
    cores = sorted(os.sched_getaffinity(0))
    halves = [cores[: len(cores) // 2], cores[len(cores) // 2 :]]
    with tempfile.TemporaryDirectory(prefix="autorl-sandbox-") as name:
        folders = [Path(name, "confined"), Path(name, "free")]
        runs = [
            start(folder, half, [*options, *flags])
            for folder, half, flags in zip(
                folders, halves[::-1] if swap else halves, ([], ["--no-sandbox"]), strict=True
            )
        ]
        codes = [run.wait() for run in runs]
        if any(codes):
            sys.exit(f"A run failed: exit codes {codes}, messages above.")
        confined, free = (
            json.loads(next(folder.glob("runs/*/summary.json")).read_text()) for folder in folders
        )
    rest = [run["total_seconds"] - run["training_seconds"] for run in (confined, free)]
    return (
        confined["steps_per_second"] / free["steps_per_second"],
        confined["startup_seconds"] - free["startup_seconds"],
        rest[0] - rest[1],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--task", default="HalfCheetah-v5")
    options = parser.parse_args()
    if options.pairs < 2 or len(os.sched_getaffinity(0)) < 2:
        parser.error("two pairs and two cores are the least: there is no error of one.")
    print(f"{options.task}, {options.budget:g} s, confined by {sandbox.available()}")
    pairs = []
    for i in range(options.pairs):
        pairs.append(pair(i % 2 == 1, ["--task", options.task, "--budget", str(options.budget)]))
        print("rate confined/free {:.3f}  start-up {:+.2f} s  off the clock {:+.2f} s"
              .format(*pairs[-1]), flush=True)  # fmt: skip
    for name, values in zip(
        ("rate ratio", "start-up difference", "difference off the clock"),
        zip(*pairs, strict=True),
        strict=True,
    ):
        error = statistics.stdev(values) / len(values) ** 0.5
        print(f"{name}: {statistics.fmean(values):.3f} ± {error:.3f}")


if __name__ == "__main__":
    main()
