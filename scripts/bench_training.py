"""What a training costs and reaches: its rate against bare simulators, its start-up, its memory.

    python scripts/bench_training.py [--budget 60] [--rounds 3] [--cpus 0]
    python scripts/bench_training.py --train peers/sb3_ppo.py --tasks Hopper-v5

Runs `python -m harness.run` on each task, and the bare simulator on the same cores just before and
just after it, round after round. Prints ratios of figures measured in this one call, the median
last; nothing else may run beside it.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gymnasium
import mujoco.batch
import numpy as np
import psutil

from harness import tasks
from harness.engines.engine import available_cpus

ROOT = Path(__file__).resolve().parent.parent
TASKS = "HalfCheetah-v5,BipedalWalker-v3"
NUM_ENVS = 64
SECONDS = 8.0  # of stepping the bare simulator
SAMPLE_SECONDS = 1.0  # between looks at the memory
POLL_SECONDS = 0.02  # between looks at whether the run has ended


def bare_mujoco(task_id: str) -> float:
    """Environment steps per second of `mujoco.batch` under random actions."""
    task = tasks.get(task_id)
    assert isinstance(task, tasks.MujocoTask)
    batch = mujoco.batch.Batch(task.model, NUM_ENVS, available_cpus())
    batch.reset()
    control = batch.bind("ctrl")
    actions = np.random.default_rng(0).uniform(-1, 1, (100, *control.shape))
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        for action in actions:
            control[:] = action
            batch.step(nstep=task.frame_skip)
        steps += len(actions)
    return steps * NUM_ENVS / (time.perf_counter() - begin)


def gymnasium_sync(task_id: str) -> float:
    """Environment steps per second of Gymnasium's synchronous vector environment."""
    envs = gymnasium.make_vec(task_id, num_envs=NUM_ENVS, vectorization_mode="sync")
    envs.reset(seed=0)
    envs.action_space.seed(0)
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        envs.step(envs.action_space.sample())
        steps += 1
    envs.close()
    return steps * NUM_ENVS / (time.perf_counter() - begin)


def training(task_id: str, budget: float, train: Path) -> dict[str, float]:
    """One run from the command line: its rate, its first update, its peak memory, its score."""
    command = [sys.executable, "-m", "harness.run", "--task", task_id, "--budget", f"{budget:g}",
               "--train", str(train)]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        process = psutil.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": folder},
            stdout=subprocess.DEVNULL,
        )
        peak, looked, begun = 0, 0.0, None
        while process.poll() is None:
            if begun is None and any(Path(folder).glob("runs/*")):
                begun = time.monotonic() - begin
            if time.monotonic() - looked > SAMPLE_SECONDS:
                looked = time.monotonic()
                peak = max(peak, tree_memory(process))
            time.sleep(POLL_SECONDS)
        if process.returncode or begun is None:
            sys.exit(f"The run on {task_id} ended with {process.returncode}; its message is above.")
        (summary_file,) = Path(folder).glob("runs/*/summary.json")
        summary = json.loads(summary_file.read_text())
        with open(summary_file.parent / "curve.csv") as file:
            first = float(next(csv.DictReader(file))["seconds"])
    return {
        "steps_per_second": summary["steps_per_second"],
        "first_update": begun + summary["startup_seconds"] + first,
        "peak_gigabytes": peak / 1e9,
        "avg_return": summary["avg_return"],
    }


def tree_memory(process: psutil.Process) -> int:
    """Proportional set size of a process and all its descendants, in bytes."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return total


def main() -> None:
    """Measure the tasks and print `key: value` lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training a run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each task")
    parser.add_argument("--cpus", default="", help="processors to use, such as 0 or 0,1")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--train", type=Path, default=ROOT / "agent_space" / "train.py")
    arguments = parser.parse_args()
    if arguments.cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in arguments.cpus.split(",")})
    print(f"cpus: {available_cpus()}  budget: {arguments.budget:g} s")
    for task_id in arguments.tasks.split(","):
        on_mujoco = isinstance(tasks.get(task_id), tasks.MujocoTask)
        bare = bare_mujoco if on_mujoco else gymnasium_sync
        ratios = []
        for _ in range(arguments.rounds):
            before = bare(task_id)
            figures = training(task_id, arguments.budget, arguments.train.resolve())
            rate = (before + bare(task_id)) / 2
            ratios.append(figures["steps_per_second"] / rate)
            shown = "  ".join(f"{name} {value:.2f}" for name, value in figures.items())
            print(
                f"{task_id}  {bare.__name__} {rate:.0f}  ratio {ratios[-1]:.2f}  {shown}",
                flush=True,
            )
        print(f"{task_id} training_to_{bare.__name__}: {statistics.median(ratios):.2f}", flush=True)


if __name__ == "__main__":
    main()
