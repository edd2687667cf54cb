"""Where the wall time of a training goes: simulation, gradient steps, and everything else.

    python scripts/bench_update.py [--tasks HalfCheetah-v5,Ant-v5] [--warm-up 60] [--updates 40]

Trains the shipped file for a while, so that the robots move as they do in a training, and then
times whole updates as the file makes them, with the log and with the packing of the policy, without
their way through the socket. The simulation is the time inside the
engine's own `step`. Gradient steps are the file's `learn`, alone, on a batch of the same shapes.
Callbacks are a rollout whose engine does nothing, less the policy alone. Prints the share of each
in the wall time of the updates; nothing else may run beside it.
"""

import argparse
import contextlib
import dataclasses
import io
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import shipped
from harness.contract import policy
from harness.contract.order import Assignment
from harness.engines.engine import HostEngine, Step
from harness.trial import Trial

TASKS = "BipedalWalker-v3,Hopper-v5,Walker2d-v5,HalfCheetah-v5,Ant-v5"
SEED = 0
train = shipped.load()


class Timed:
    """An engine that knows how long it has stepped, in seconds."""

    def __init__(self, engine: HostEngine) -> None:
        self.engine = engine
        self.seconds = 0.0
        self.last: Step | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def step(self, actions: Any) -> Step:
        """As the engine's."""
        begin = time.perf_counter()
        self.last = self.engine.step(actions)
        self.seconds += time.perf_counter() - begin
        return self.last


class Still:
    """An engine in which nothing happens, and takes no time."""

    def __init__(self, last: Step) -> None:
        self._last = last

    def step(self, actions: Any) -> Step:
        """The same step every time."""
        del actions
        return self._last


def seconds(function: Callable[[], Any], repeats: int) -> float:
    """The median time of a call that returns arrays."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def shares(task_id: str, warm_up: float, updates: int) -> dict[str, float]:
    """Seconds an update, and the share of each part of it."""
    trial = Trial(Assignment(task_id, "auto", SEED, warm_up), channel=None)
    env = trial.make_env(trial.num_envs_hint)
    net = train.ActorCritic(env.action_space)
    key = jax.random.key(SEED, impl="rbg")
    init, iterate = train.compiled(key, env, net, jax.devices())

    def advance(state: Any, env_state: Any) -> tuple[Any, Any, dict]:
        return iterate(state.replace(left=jnp.float32(1 - trial.progress())), env_state)

    trial.start()
    state, env_state = init(key)
    while trial.time_left() > 0:
        state, env_state, metrics = advance(state, env_state)

    env._engine = timed = Timed(env._engine)
    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        for i in range(updates):
            state, env_state, metrics = advance(state, env_state)
            trial.log(i, **metrics)
            policy.pack((state.params, state.obs_stats), None)
    whole = (time.perf_counter() - begin) / updates
    simulation = timed.seconds / updates

    assert timed.last is not None
    env._engine = Still(timed.last)
    rollout = jax.jit(partial(train.rollout, env=env, net=net))
    counter = env_state.internal

    def idle() -> Any:
        nonlocal counter
        after, steps = rollout(state, dataclasses.replace(env_state, internal=counter))
        counter = after.internal
        return steps

    idle_rollout = seconds(idle, updates)
    steps = idle()
    batch = _batch(steps)
    learn = jax.jit(partial(train.learn, net=net))
    gradient = seconds(lambda: learn(state, batch, key), updates)
    act = jax.jit(partial(_policy, net=net))
    acting = seconds(partial(act, state, env_state.obs, key), updates)
    timed.close()
    parts = {
        "simulation": simulation,
        "gradient steps": gradient,
        "policy": acting,
        "callbacks": idle_rollout - acting,
    }
    parts["rest"] = whole - sum(parts.values())
    return {"seconds": whole} | {name: part / whole for name, part in parts.items()}


def _batch(steps: tuple) -> Any:
    """Samples of the right shapes; what is in them takes no more or less time."""
    obs, action, log_prob = (np.asarray(x).reshape(-1, *x.shape[2:]) for x in steps[:3])
    noise = jax.random.normal(jax.random.key(SEED), log_prob.shape)
    return train.Batch(*map(jnp.asarray, (obs.clip(-1, 1), action, log_prob)), noise, noise)


def _policy(state: Any, obs: jax.Array, key: jax.Array, net: Any) -> jax.Array:
    """A rollout's actions without its environments."""

    def step(obs: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        policy = net.apply(state.params, train.normalize(state.obs_stats, obs), method=net.policy)
        action = policy.sample(key)
        return obs, policy.log_prob(action)

    keys = jax.random.split(key, train.ROLLOUT_STEPS)
    return jax.lax.scan(step, obs, keys)[1]


def main() -> None:
    """Measure every task and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--warm-up", type=float, default=60.0, help="seconds of training before")
    parser.add_argument("--updates", type=int, default=40, help="that are timed")
    arguments = parser.parse_args()
    if jax.default_backend() != "cpu":
        sys.exit("This is about host engines: JAX_PLATFORMS=cpu python scripts/bench_update.py")
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as harness.trial.connect does
    for task_id in arguments.tasks.split(","):
        found = shares(task_id, arguments.warm_up, arguments.updates)
        line = "  ".join(
            f"{name} {share:.1%}" for name, share in found.items() if name != "seconds"
        )
        print(f"{task_id:18} {found['seconds'] * 1000:6.0f} ms  {line}", flush=True)


if __name__ == "__main__":
    main()
