"""Gradient steps a second of `algorithms/sac.py` beside SBX's SAC, with its widths and its batch.

    python scripts/bench_off_policy.py [--tasks HalfCheetah-v5] [--seconds 30] [--rounds 2]

Both train as they would in a run, on the same cores, one after the other, round after round:
simulation, replay buffer and updates, SBX with one environment and an update a step, as its users
run it. A gradient step is one of the values (SBX: of values, policy and temperature together; here
the policy has one for every `POLICY_DELAY`). The first steps, in which each fills its buffer and
compiles, are not counted. Needs `make peers`; nothing else may run beside it.
"""

import argparse
import importlib.util
import statistics
import time
from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
from sbx import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from harness import envs
from harness.contract.order import Assignment
from harness.trial import Trial

FILE = Path(__file__).resolve().parent.parent / "algorithms" / "sac.py"
FIRST_STEPS = 1_000  # of SBX, before its updates begin
FIRST_CALLS = 2  # of ours
SEED = 0


def load() -> ModuleType:
    """`algorithms/sac.py`, imported anew."""
    spec = importlib.util.spec_from_file_location("sac", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(task: str, seconds: float) -> tuple[float, ModuleType]:
    """Gradient steps a second, and the file that made them."""
    sac = load()
    trial = Trial(Assignment(task, "auto", SEED, seconds), channel=None)
    env = envs.make(task, min(trial.num_envs_hint, sac.MAX_ENVS), SEED)
    net = sac.setup(env)
    go_on = jax.jit(partial(sac.steps, env=env, net=net), donate_argnums=0)
    carry = jax.jit(partial(sac.begin, env=env, net=net))(jax.random.key(SEED, impl="rbg"))
    left = jnp.float32(1)
    for _ in range(FIRST_CALLS):
        carry = jax.block_until_ready(go_on(carry, left)[0])
    begin, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < seconds:
        carry = jax.block_until_ready(go_on(carry, left)[0])
        calls += 1
    env.close()
    return calls * sac.STEPS_PER_CALL * sac.UPDATES_PER_STEP / passed, sac


class Timer(BaseCallback):
    """Ends a training so many seconds after its first updates."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.begin = (0.0, 0)
        self.rate = 0.0

    def _on_step(self) -> bool:
        now, updates = time.perf_counter(), self.model._n_updates
        if self.num_timesteps == FIRST_STEPS + 100:
            self.begin = (now, updates)
        passed = now - self.begin[0]
        if not self.begin[1] or passed < self.seconds:
            return True
        self.rate = (updates - self.begin[1]) / passed
        return False


def theirs(task: str, seconds: float, sac: ModuleType) -> float:
    """Gradient steps a second of SBX."""
    shape = {"net_arch": [sac.HIDDEN, sac.HIDDEN]}
    model = SAC(
        "MlpPolicy", make_vec_env(task, 1, seed=SEED), seed=SEED, learning_starts=FIRST_STEPS,
        batch_size=sac.BATCH_SIZE, policy_kwargs=shape,
    )  # fmt: skip
    timer = Timer(seconds)
    model.learn(10**9, callback=timer)
    return timer.rate


def main() -> None:
    """Measure every task and print its ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", default="HalfCheetah-v5,Humanoid-v5")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each, in each round")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as harness.trial.connect does
    for task in arguments.tasks.split(","):
        ratios = []
        for _ in range(arguments.rounds):
            here, sac = ours(task, arguments.seconds)
            there = theirs(task, arguments.seconds, sac)
            ratios.append(here / there)
            print(f"{task:16} ours {here:6.0f}/s  SBX {there:6.0f}/s  ratio {ratios[-1]:.2f}  "
                  f"({sac.HIDDEN} units, batches of {sac.BATCH_SIZE})", flush=True)  # fmt: skip
        print(f"{task:16} median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
