"""What confinement costs an honest run: pairs of runs with and without it, in turns.

    python scripts/bench_sandbox.py [--pairs 6] [--budget 20] [--task HalfCheetah-v5]

Prints, pair by pair and as medians, the ratio of the training rates, the difference of the
start-ups (from the start of the child to `trial.start()`), and that of all seconds which are not
on the clock. Nothing else may load the machine.
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

from harness import sandbox

ROOT = Path(__file__).resolve().parent.parent


def measure(checkout: Path, task: str, budget: float, *options: str) -> dict:
    """The summary of one run of the shipped training file."""
    command = [sys.executable, "-m", "harness.run", "--task", task, "--budget", str(budget)]
    done = subprocess.run(
        [*command, *options], cwd=checkout, check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(checkout / "state")},
    )  # fmt: skip
    (run_id,) = (line[8:] for line in done.stdout.splitlines() if line.startswith("run_id: "))
    return json.loads((checkout / "runs" / run_id / "summary.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--task", default="HalfCheetah-v5")
    options = parser.parse_args()
    print(f"{options.task}, {options.budget:g} s, confined by {sandbox.available()}")
    pairs = []
    with tempfile.TemporaryDirectory(prefix="autorl-sandbox-") as name:
        checkout = Path(name)
        shutil.copytree(ROOT / "agent_space", checkout / "agent_space")
        for i in range(options.pairs):
            order = [(), ("--no-sandbox",)]
            runs = {}
            for flags in order if i % 2 == 0 else order[::-1]:
                runs[flags] = measure(checkout, options.task, options.budget, *flags)
            pairs.append(compare(runs[()], runs["--no-sandbox",]))
            print("rate confined/free {:.3f}  start-up {:+.2f} s  all but the clock {:+.2f} s"
                  .format(*pairs[-1]), flush=True)  # fmt: skip
    medians = [statistics.median(values) for values in zip(*pairs, strict=True)]
    print("median rate ratio: {:.3f}\nmedian start-up difference: {:+.2f} s\n"
          "median difference of all but the clock: {:+.2f} s".format(*medians))  # fmt: skip


def compare(confined: dict, free: dict) -> tuple[float, float, float]:
    """Ratio of rates; differences of start-up and of all seconds that are not on the clock."""
    rest = [run["total_seconds"] - run["training_seconds"] for run in (confined, free)]
    return (
        confined["steps_per_second"] / free["steps_per_second"],
        confined["startup_seconds"] - free["startup_seconds"],
        rest[0] - rest[1],
    )


if __name__ == "__main__":
    main()
