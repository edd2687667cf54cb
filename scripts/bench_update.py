"""Where the wall time of a training goes: simulation, learning, both at once, and neither.

    python scripts/bench_update.py [--tasks HalfCheetah-v5,Ant-v5] [--warm-up 60] [--updates 60]

Trains the shipped file for a while, so that the robots move as they do in a training, and then
watches updates as the file makes them, with the log and with the packing of the policy, without
their way through the socket. Simulation is the time inside the engine's own `step`, learning that
inside the program that updates the parameters; they may pass at the same time. What is neither is
what a training pays for everything else. Processors are this process's seconds of them, a second.
Nothing else may run beside it.
"""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

import shipped
from harness.contract import policy
from harness.contract.order import Assignment
from harness.engines.engine import HostEngine, Step
from harness.trial import Trial

TASKS = "BipedalWalker-v3,Hopper-v5,Walker2d-v5,HalfCheetah-v5,Ant-v5,Humanoid-v5"
SEED = 0

Span = tuple[float, float]
"""Begin and end, in seconds of `time.perf_counter`."""


class Timed:
    """An engine that knows when it stepped."""

    def __init__(self, engine: HostEngine, spans: list[Span]) -> None:
        self._engine = engine
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def step(self, actions: Any) -> Step:
        """As the engine's."""
        begin = time.perf_counter()
        step = self._engine.step(actions)
        self._spans.append((begin, time.perf_counter()))
        return step


class TimedCompiler(shipped.Compiler):
    """Knows when a program ran that was compiled with no word on devices: the update."""

    def __init__(self, num_envs: int, spans: list[Span]) -> None:
        super().__init__(num_envs)
        self._spans = spans

    def compile(
        self, function: Callable, *args: Any, devices: Sequence[jax.Device] | None = None
    ) -> Callable:
        """As `Trial.compile`."""
        program = super().compile(function, *args, devices=devices)
        if devices is not None:
            return program

        def timed(*args: Any) -> Any:
            begin = time.perf_counter()
            value = jax.block_until_ready(program(*args))
            self._spans.append((begin, time.perf_counter()))
            return value

        timed.outputs = program.outputs  # type: ignore[attr-defined]
        return timed


def covered(spans: Sequence[Span], begin: float) -> float:
    """The seconds after `begin` in which at least one of them passed."""
    total, until = 0.0, begin
    for first, last in sorted(spans):
        total += max(last - max(first, until), 0.0)
        until = max(until, last)
    return total


def shares(task_id: str, warm_up: float, updates: int) -> dict[str, float]:
    """Seconds an update, processors, and the share of each part of the wall time."""
    trial = Trial(Assignment(task_id, "auto", SEED, warm_up), channel=None)
    env = trial.make_env(trial.num_envs_hint)
    simulation: list[Span] = []
    learning: list[Span] = []
    env._engine = Timed(env._engine, simulation)
    compiler = TimedCompiler(env.num_envs, learning)
    train = shipped.load()
    trial.start()  # after which the environment may be stepped
    update, current = shipped.iteration(train, env, SEED, compiler)
    until = time.perf_counter() + warm_up
    while (left := (until - time.perf_counter()) / warm_up) > 0:
        current = update(current, left)

    begin, processors = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        for i in range(updates):
            current = update(current, 0.5)
            trial.log(i, **current[-1])
            policy.pack((current[0].params, current[0].obs_stats), None)
    whole = time.perf_counter() - begin
    busy = (time.process_time() - processors) / whole
    env.close()
    found = {
        "simulation": covered(simulation, begin) / whole,
        "learning": covered(learning, begin) / whole,
        "neither": 1 - covered([*simulation, *learning], begin) / whole,
    }
    found["both"] = found["simulation"] + found["learning"] + found["neither"] - 1
    return {"seconds": whole / updates, "processors": busy} | found


def main() -> None:
    """Measure every task and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--warm-up", type=float, default=60.0, help="seconds of training before")
    parser.add_argument("--updates", type=int, default=60, help="that are watched")
    arguments = parser.parse_args()
    if jax.default_backend() != "cpu":
        sys.exit("This is about host engines: JAX_PLATFORMS=cpu python scripts/bench_update.py")
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as harness.trial.connect does
    for task_id in arguments.tasks.split(","):
        found = shares(task_id, arguments.warm_up, arguments.updates)
        each = found.pop("seconds") * 1000
        busy = found.pop("processors")
        line = "  ".join(f"{name} {share:.1%}" for name, share in found.items())
        print(f"{task_id:18} {each:6.0f} ms  processors {busy:.2f}  {line}", flush=True)


if __name__ == "__main__":
    main()
