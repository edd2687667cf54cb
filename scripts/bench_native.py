"""The native engine against the bare simulator and against EnvPool, per task.

    python scripts/bench_native.py [TASK ...]

Each round steps the engine, bare `mujoco.batch` and EnvPool in turn under the same random actions;
the printed ratios are medians over the rounds. Engine and EnvPool begin with fresh resets, the bare
batch with the states in which the engine's round has ended, every 40 steps anew. Nothing else may
run beside it.
"""

import statistics
import sys
import time
from collections.abc import Callable

import envpool
import mujoco.batch
import numpy as np

from harness import tasks
from harness.engines.engine import available_cpus
from harness.engines.native import NativeEngine

NUM_ENVS = (64, 256)
ROUNDS = 3
SECONDS = 1.0  # of stepping per measurement
EPISODE = 40  # steps between resets of the bare batch, so that few of its robots lie on the ground


def rate(step: Callable[[np.ndarray], object], actions: np.ndarray) -> float:
    """Environment steps per second."""
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        step(actions[steps % len(actions)])
        steps += 1
    return steps * actions.shape[1] / (time.perf_counter() - begin)


def bare(engine: NativeEngine) -> Callable[[np.ndarray], None]:
    """Steps of `mujoco.batch` alone, on states that the engine has left behind."""
    task = engine.task
    batch = mujoco.batch.Batch(task.model, engine.num_envs, available_cpus())
    control = batch.bind("ctrl")
    start = engine._batch.state.copy()
    steps = 0

    def step(action: np.ndarray) -> None:
        nonlocal steps
        if steps % EPISODE == 0:
            batch.state[:] = start
        steps += 1
        control[:] = action
        batch.step(nstep=task.frame_skip)

    return step


def compare(task: tasks.MujocoTask, num_envs: int) -> None:
    """Print the figures of one task at one number of environments."""
    engine = NativeEngine(task, num_envs, seed=0)
    space = engine.action_space
    generator = np.random.default_rng(0)
    shape = (EPISODE, num_envs, *space.shape)
    actions = generator.uniform(space.low, space.high, shape).astype(np.float32)
    threads = min(available_cpus(), num_envs)
    pool = None
    if task.id in envpool.list_all_envs():
        pool = envpool.make_gymnasium(task.id, num_envs=num_envs, num_threads=threads, seed=0)
    rates: dict[str, list[float]] = {"engine": [], "bare": [], "envpool": []}
    for _ in range(ROUNDS):
        engine.reset()
        rates["engine"].append(rate(engine.step, actions))
        rates["bare"].append(rate(bare(engine), actions))
        if pool is not None:
            pool.reset()
            rates["envpool"].append(rate(pool.step, actions))
    ours = rates["engine"]
    line = f"{task.id:26} {num_envs:4} envs  engine {statistics.median(ours):8,.0f}/s"
    for name in ("bare", "envpool"):
        if rates[name]:
            ratio = statistics.median(a / b for a, b in zip(ours, rates[name], strict=True))
            line += f"  {name} {statistics.median(rates[name]):8,.0f}/s  ratio {ratio:.2f}"
    print(line, flush=True)


if __name__ == "__main__":
    for task_id in sys.argv[1:] or [t.id for t in tasks.TASKS.values()]:
        chosen = tasks.get(task_id)
        if isinstance(chosen, tasks.MujocoTask):
            for count in NUM_ENVS:
                compare(chosen, count)
