"""What the shipped PPO scores, and what each of its ingredients is worth.

    python scripts/bench_algorithm.py --cores 1 --budget 180 --tasks Hopper-v5,Ant-v5
    python scripts/bench_algorithm.py --only "shipped,plain PPO" --runs 3

Every variant but plain PPO is the shipped file with a few lines replaced. Variants are trained and
scored by `python -m harness.run` on their own cores, as many beside each other as the machine has
room for, with the seeds 1, 2, 3, … Each gets a row in `algorithm/BUDGET/cores*/results.tsv` here; a
call that is interrupted goes on from these ledgers. Prints all scores, and each variant's
difference from the shipped file.
"""

import argparse
import os
import queue
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from harness.engines.engine import available_cpus
from harness.ledger import FILE, Ledger

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "agent_space" / "train.py"
TASKS = "BipedalWalker-v3,Hopper-v5,Walker2d-v5,HalfCheetah-v5,Ant-v5"

Replacements = tuple[tuple[str, str], ...]


def _constant(name: str, old: str, new: str) -> tuple[str, str]:
    return f"\n{name} = {old} ", f"\n{name} = {new} "


NO_BOOTSTRAP = (
    "jnp.where(outcome.terminated, 0.0, next_value)",
    "jnp.where(outcome.terminated | outcome.truncated, 0.0, next_value)",
)


RECOMPUTED: Replacements = (
    ("    size = batch.obs.shape[0]", "    size = batch(state.params).obs.shape[0]"),
    ("minibatch(state: TrainState, rows: jax.Array)", "minibatch(state, rows, fresh)"),
    ("lambda x: x[rows], batch)", "lambda x: x[rows], fresh)"),
    ("jax.lax.scan(minibatch, state, rows)",
     "jax.lax.scan(partial(minibatch, fresh=batch(state.params)), state, rows)"),
    ("def value_of(obs: jax.Array)", "def value_of(obs, params=state.params)"),
    ("net.apply(state.params, normalise(", "net.apply(params, normalise("),
    ("""
    batch = Batch(obs, action, log_prob, advantage, normalise(value_stats, target))
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
""", """
    def batch(params):
        value = value_of(raw_obs, params)
        advantage = gae(value, value_of(outcome.next_obs, params), outcome)
        target = normalise(value_stats, advantage + value)
        made = Batch(obs, action, log_prob, advantage, target)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), made)
"""),
)  # fmt: skip
VARIANTS: dict[str, Replacements | Path] = {
    "shipped": (),
    "plain PPO": ROOT / "peers" / "plain_ppo.py",
    "no annealing": (("rate = state.learning_rate * state.left", "rate = state.learning_rate"),),
    "KL target annealed": (
        ("rate = state.learning_rate * state.left", "rate = state.learning_rate"),
        ("kl > 2 * TARGET_KL", "kl > 2 * TARGET_KL * state.left"),
        ("kl < TARGET_KL / 2", "kl < TARGET_KL / 2 * state.left"),
    ),
    "no KL rule": (_constant("KL_ADAPTATION", "1.5", "1.0"),),
    "no entropy bonus": ((" - entropy_coef * entropy", ""),),
    "entropy bonus of 0.005 throughout": (
        _constant("ENTROPY_COEF", "0.01", "0.005"),
        _constant("FINAL_ENTROPY_COEF", "0.0001", "0.005"),
    ),
    "entropy bonus of 0.001 throughout": (
        _constant("ENTROPY_COEF", "0.01", "0.001"),
        _constant("FINAL_ENTROPY_COEF", "0.0001", "0.001"),
    ),
    "no bootstrap at the time limit": (NO_BOOTSTRAP,),
    "values not normalised": (
        ("value_stats = add_samples(state.value_stats, target.ravel())",
         "value_stats = state.value_stats"),
    ),
    "advantages anew every epoch": RECOMPUTED,
    "swish": (("nn.tanh]", "nn.swish]"),),
    "128 units": (_constant("HIDDEN", "(64, 64)", "(128, 128)"),),
    "ELU 256-128-64": (
        _constant("HIDDEN", "(64, 64)", "(256, 128, 64)"), ("nn.tanh]", "nn.elu]")
    ),
    "64 environments": (("trial.num_envs_hint)", "trial.num_envs_hint // 2)"),),
    "256 environments": (("trial.num_envs_hint)", "trial.num_envs_hint * 2)"),),
    "rollouts of 64 steps": (
        _constant("ROLLOUT_STEPS", "32", "64"), _constant("NUM_MINIBATCHES", "8", "16")
    ),
    "rollouts of 128 steps": (
        _constant("ROLLOUT_STEPS", "32", "128"), _constant("NUM_MINIBATCHES", "8", "32")
    ),
    "half the minibatches": (_constant("NUM_MINIBATCHES", "8", "4"),),
    "8 epochs": (_constant("NUM_EPOCHS", "5", "8"),),
    "KL target 0.02": (_constant("TARGET_KL", "0.01", "0.02"),),
    "KL target 0.005": (_constant("TARGET_KL", "0.01", "0.005"),),
    "lambda 0.9": (_constant("GAE_LAMBDA", "0.95", "0.9"),),
    "horizon of 100 steps": (_constant("HORIZON", "150.0", "100.0"),),
    "horizon of 300 steps": (_constant("HORIZON", "150.0", "300.0"),),
    "horizon of 1000 steps": (_constant("HORIZON", "150.0", "1000.0"),),
    "advantages not clipped": (_constant("MAX_ADVANTAGE", "3.0", "100.0"),),
    "log std from 0": (_constant("INITIAL_LOG_STD", "-0.5", "0.0"),),
    "log std from -1": (_constant("INITIAL_LOG_STD", "-0.5", "-1.0"),),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One run: a variant on a task with a seed."""

    variant: str
    task: str
    seed: int


def source(name: str) -> str:
    """The text of a variant, or of several joined by " + ".

    Raises:
      ValueError: the shipped file has no longer what a variant replaces.
    """
    text = SHIPPED.read_text()
    for part in name.split(" + "):
        variant = VARIANTS[part]
        if isinstance(variant, Path):
            return variant.read_text()
        for old, new in variant:
            if text.count(old) != 1:
                raise ValueError(f"{part}: {old!r} is in {SHIPPED.name} {text.count(old)} times.")
            text = text.replace(old, new)
    return text


def scores(folder: Path) -> dict[Job, float]:
    """What has been measured so far."""
    return {
        Job(row.description, row.task, int(row.seed)): float(row.avg_return)
        for ledger in sorted(folder.glob(f"cores*/{FILE}"))
        for row in Ledger(ledger).rows()
        if row.status == "scored"
    }


def work(cores: str, jobs: "queue.SimpleQueue[Job]", folder: Path, budget: float) -> None:
    """Run jobs on some cores until none is left."""
    place = folder / f"cores{cores}"
    place.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            return
        train = place / "variant.py"
        train.write_text(source(job.variant))
        done = subprocess.run(
            ["taskset", "-c", cores, sys.executable, "-m", "harness.run", "--task", job.task,
             "--budget", f"{budget:g}", "--seed", str(job.seed), "--train", train.name,
             "--message", job.variant],
            cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if done.returncode:
            print(f"{job}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)


def table(found: dict[Job, float], names: list[str], tasks: list[str]) -> str:
    """Every score in the order of the seeds, their mean, and its difference from the shipped."""

    def of(name: str, task: str) -> list[float]:
        seeds = sorted(job.seed for job in found if (job.variant, job.task) == (name, task))
        return [found[Job(name, task, seed)] for seed in seeds]

    def cell(name: str, task: str) -> str:
        mine, base = of(name, task), of("shipped", task)
        if not mine:
            return "-"
        shown = f"{statistics.fmean(mine):,.0f}"
        if len(mine) > 1:
            shown += f" ({', '.join(f'{score:,.0f}' for score in mine)})"
        if base and name != "shipped":
            shown += f" {statistics.fmean(mine) - statistics.fmean(base):+,.0f}"
        return shown

    lines = [["", *tasks], *([name, *(cell(name, task) for task in tasks)] for name in names)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Make the runs that are missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--budget", type=float, default=720.0, help="seconds of training")
    parser.add_argument("--cores", type=int, help="of each run; all if left out")
    parser.add_argument("--runs", type=int, default=1, help="of each variant on each task")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--only", default=",".join(VARIANTS), help="variants, with commas")
    arguments = parser.parse_args()
    names, tasks = arguments.only.split(","), arguments.tasks.split(",")
    for name in names:
        source(name)  # fails before anything is measured
    mine = sorted(os.sched_getaffinity(0))
    each = arguments.cores or available_cpus()
    folder = Path("algorithm") / f"{arguments.budget:g}"
    found = scores(folder)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for seed in range(1, arguments.runs + 1):
        for name in names:
            for task in tasks:
                if Job(name, task, seed) not in found:
                    jobs.put(Job(name, task, seed))
    workers = [
        threading.Thread(
            target=work,
            args=(",".join(map(str, mine[i : i + each])), jobs, folder, arguments.budget),
        )
        for i in range(0, len(mine) - each + 1, each)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(table(scores(folder), names, tasks))


if __name__ == "__main__":
    main()
