"""How fast each engine steps and trains a task, and what it takes to compile.

    python scripts/bench_engines.py [TASK ...] [--backends mjx native] [--envs 32 128] [--compile]

Every row comes from a process of its own. *Bare* is the engine alone: one jitted scan with
random actions. *Training* is the update of agent_space/train.py, rollout and learning. With
--compile, nothing is timed but the way to the first update, twice: cold, and with the compilation
cache that the cold run left.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import jax

import shipped
from harness import envs, tasks

SECONDS = 10.0  # of each rate
BARE_STEPS = 10  # in one call of the scan


def repeat(call, steps: int) -> float:
    """Environment steps per second of a call that makes so many; the first call warms up."""
    call()
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        call()
        calls += 1
    return calls * steps / (time.perf_counter() - begin)


def bare(env: envs.Env) -> float:
    """Steps per second of the engine alone."""
    low, high = env.action_space.low, env.action_space.high

    def play(state: envs.EnvState, key: jax.Array) -> tuple[envs.EnvState, jax.Array]:
        key, noise_key = jax.random.split(key)
        shape = (BARE_STEPS, env.num_envs, *env.action_space.shape)
        actions = jax.random.uniform(noise_key, shape, minval=low, maxval=high)
        return jax.lax.scan(lambda s, a: (env.step(s, a), None), state, actions)[0], key

    with jax.default_device(env.devices[0]):
        current = jax.jit(env.reset)(jax.random.key(0)), jax.random.key(1, impl="rbg")
        call_play = jax.jit(play).lower(*current).compile()

    def call() -> None:
        nonlocal current
        current = jax.block_until_ready(call_play(*current))

    return repeat(call, BARE_STEPS * env.num_envs)


def training(env: envs.Env, rate: bool) -> dict[str, float]:
    """The way to the first update in seconds, and steps per second of those that follow."""
    train = shipped.load()
    seconds = {"trace": 0.0, "compile": 0.0}

    def count(event: str, duration: float, **_: object) -> None:
        kind = "compile" if event.endswith("backend_compile_duration") else "trace"
        if event.startswith("/jax/core/compile"):
            seconds[kind] += duration

    jax.monitoring.register_event_duration_secs_listener(count)
    begin = time.perf_counter()
    update, current = shipped.iteration(train, env)
    current = jax.block_until_ready(update(current))
    figures = {**seconds, "first update": time.perf_counter() - begin}
    if rate:

        def call() -> None:
            nonlocal current
            current = jax.block_until_ready(update(current))

        figures["training"] = repeat(call, train.ROLLOUT_STEPS * env.num_envs)
    return figures


def one(task_id: str, backend: str, num_envs: int, compile_only: bool) -> None:
    """Measure one cell; the figures as JSON on the last line."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    figures = training(envs.make(task_id, num_envs, 0, backend), rate=not compile_only)
    if not compile_only:
        figures["bare"] = bare(envs.make(task_id, num_envs, 0, backend))
    device = jax.devices()[0].device_kind
    print(json.dumps({"device": f"{jax.device_count()} × {device}", **figures}))


def child(arguments: list[str], cache: str = "") -> dict:
    """Run `one` in a process of its own."""
    environment = dict(os.environ)
    if cache:
        environment |= {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
    command = [sys.executable, __file__, "--one", *arguments]
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def row(*cells: object) -> None:
    print("| " + " | ".join(f"{c:,.0f}" if isinstance(c, float) else str(c) for c in cells) + " |")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help="ids; all MuJoCo tasks if left out")
    parser.add_argument("--backends", nargs="+", default=["mjx"])
    parser.add_argument("--envs", nargs="+", type=int, default=[32])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.tasks[0], options.backends[0], options.envs[0], options.compile)
        return
    ids = options.tasks or [t.id for t in tasks.TASKS.values() if isinstance(t, tasks.MujocoTask)]
    columns = ("trace", "compile", "first update")
    if options.compile:
        row("task", "backend", *columns, *(f"cached: {name}" for name in columns))
    else:
        row("task", "backend", "environments", "bare, steps/s", "training, steps/s", "device")
    for task_id in ids:
        for backend in options.backends:
            for num_envs in options.envs:
                cell = [task_id, "--backends", backend, "--envs", str(num_envs)]
                if options.compile:
                    with tempfile.TemporaryDirectory() as cache:
                        runs = [child([*cell, "--compile"], cache) for _ in range(2)]
                    times = (f"{run[name]:.1f}" for run in runs for name in columns)
                    row(task_id, backend, *times)
                else:
                    got = child(cell)
                    rates = (float(got["bare"]), float(got["training"]))
                    row(task_id, backend, num_envs, *rates, got["device"])


if __name__ == "__main__":
    main()
