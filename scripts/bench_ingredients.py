"""What each ingredient of the shipped PPO is worth: the file with one of them changed, scored.

    python scripts/bench_ingredients.py [--budget 180] [--runs 1] [--tasks ...] [--only swish,...]

Every variant is the shipped file with a few lines replaced. They are trained and scored by
`python -m harness.run`, one core each and as many beside each other as there are cores, into
`ingredients/` here: its ledgers are the record, and a call that is interrupted goes on from them.
Prints all scores, and each variant's difference from the shipped file.
"""

import argparse
import os
import queue
import statistics
import subprocess
import sys
import threading
from pathlib import Path

from harness.engines.engine import available_cpus
from harness.ledger import FILE, Ledger

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "agent_space" / "train.py"
FOLDER = Path("ingredients")
TASKS = "Hopper-v5,Walker2d-v5,Ant-v5"

Replacements = tuple[tuple[str, str], ...]


def _constant(name: str, old: str, new: str) -> tuple[str, str]:
    return f"\n{name} = {old} ", f"\n{name} = {new} "


VARIANTS: dict[str, Replacements] = {
    "shipped": (),
    "no annealing": (("rate = state.learning_rate * state.left", "rate = state.learning_rate"),),
    "no KL rule": (_constant("KL_ADAPTATION", "1.5", "1.0"),),
    "no entropy bonus": (_constant("ENTROPY_COEF", "0.005", "0.0"),),
    "no bootstrap at the time limit": (
        ("jnp.where(outcome.terminated, 0.0, next_value)",
         "jnp.where(outcome.terminated | outcome.truncated, 0.0, next_value)"),
    ),
    "no scaling of rewards": ((" / jnp.sqrt(return_stats.var + 1e-8)", ""),),
    "swish": (("nn.tanh]", "nn.swish]"),),
    "128 units": (_constant("HIDDEN", "(64, 64)", "(128, 128)"),),
    "rollouts of 64 steps": (
        _constant("ROLLOUT_STEPS", "32", "64"), _constant("NUM_MINIBATCHES", "8", "16")
    ),
    "half the minibatches": (_constant("NUM_MINIBATCHES", "8", "4"),),
    "8 epochs": (_constant("NUM_EPOCHS", "5", "8"),),
    "KL target 0.02": (_constant("TARGET_KL", "0.01", "0.02"),),
    "KL target 0.005": (_constant("TARGET_KL", "0.01", "0.005"),),
    "lambda 0.9": (_constant("GAE_LAMBDA", "0.95", "0.9"),),
    "gamma 0.995": (_constant("GAMMA", "0.99", "0.995"),),
    "log std from 0": (_constant("INITIAL_LOG_STD", "-0.5", "0.0"),),
    "log std from -1": (_constant("INITIAL_LOG_STD", "-0.5", "-1.0"),),
}  # fmt: skip


def source(name: str) -> str:
    """The text of a variant.

    Raises:
      ValueError: the shipped file has no longer what the variant replaces.
    """
    text = SHIPPED.read_text()
    for old, new in VARIANTS[name]:
        if text.count(old) != 1:
            raise ValueError(
                f"{name}: {SHIPPED.name} has {old!r} {text.count(old)} times, not once."
            )
        text = text.replace(old, new)
    return text


def scores(folder: Path) -> dict[tuple[str, str], list[float]]:
    """All scores so far, by variant and task."""
    found: dict[tuple[str, str], list[float]] = {}
    for ledger in sorted(folder.glob(f"core*/{FILE}")):
        for row in Ledger(ledger).rows():
            if row.status == "scored":
                found.setdefault((row.description, row.task), []).append(float(row.avg_return))
    return found


def work(
    core: int, jobs: "queue.SimpleQueue[tuple[str, str]]", folder: Path, budget: float
) -> None:
    """Run jobs on one core until none is left."""
    place = folder / f"core{core}"
    place.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            name, task = jobs.get_nowait()
        except queue.Empty:
            return
        train = place / "variant.py"
        train.write_text(source(name))
        subprocess.run(
            ["taskset", "-c", str(core), sys.executable, "-m", "harness.run", "--task", task,
             "--budget", f"{budget:g}", "--train", train.name, "--message", name],
            cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip


def table(found: dict[tuple[str, str], list[float]], names: list[str], tasks: list[str]) -> str:
    """Every score, and the difference of the means from the shipped file."""
    lines = []
    for name in names:
        cells = []
        for task in tasks:
            mine, base = found.get((name, task), []), found.get(("shipped", task), [])
            shown = ", ".join(f"{score:,.0f}" for score in mine) or "-"
            if mine and base and name != "shipped":
                shown += f" ({statistics.fmean(mine) - statistics.fmean(base):+,.0f})"
            cells.append(f"{shown:28}")
        lines.append(f"{name:32}" + "".join(cells))
    return "\n".join([f"{'':32}" + "".join(f"{task:28}" for task in tasks), *lines])


def main() -> None:
    """Make the runs that are missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--budget", type=float, default=180.0, help="seconds of training on one core"
    )
    parser.add_argument("--runs", type=int, default=1, help="of each variant on each task")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--only", default=",".join(VARIANTS), help="variants, with commas")
    arguments = parser.parse_args()
    names, tasks = arguments.only.split(","), arguments.tasks.split(",")
    found = scores(FOLDER)
    jobs: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    for run in range(arguments.runs):
        for name in names:
            source(name)  # fails before anything is measured
            for task in tasks:
                if len(found.get((name, task), [])) <= run:
                    jobs.put((name, task))
    workers = [
        threading.Thread(target=work, args=(core, jobs, FOLDER, arguments.budget))
        for core in range(available_cpus())
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(table(scores(FOLDER), names, tasks))


if __name__ == "__main__":
    main()
