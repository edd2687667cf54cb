"""One step of MJX against one step of C MuJoCo, from the same states under the same actions.

    JAX_ENABLE_X64=1 python scripts/bench_fidelity.py [TASK ...] [--policy RUN_FOLDER]

States come from C MuJoCo under random actions, or under a trained policy with a little noise. Both
simulators run the same model: where MJX must use another solver, so does C MuJoCo, and its distance
from the model as it is written is printed apart. Precision is JAX's: float32, or float64 with
JAX_ENABLE_X64=1. Prints, per quantity, the median over states of the largest error in a state, and
the largest of all.
"""

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from harness import policy, tasks
from harness.artifact import Artifact
from harness.engines import mjx_corrections
from harness.engines.mjx import CARRIED, MjxEngine
from harness.engines.native import NativeEngine, spaces

NUM_ENVS = 50
POLICY_NOISE = 0.1  # standard deviation, so that 50 environments do not run in step
QUANTITIES = ("qpos", "qvel", "obs", "reward")


def with_model(task: tasks.MujocoTask, model: object) -> tasks.MujocoTask:
    """The same task on another model."""
    other = type(task)()
    other.__dict__["model"] = model  # where functools.cached_property keeps it
    return other


def collect(task: tasks.MujocoTask, count: int, actor: policy.Policy | None) -> dict:
    """States before and after a step of C MuJoCo, each field [count, ...]."""
    engine = NativeEngine(task, NUM_ENVS, seed=0)
    generator = np.random.default_rng(0)
    space = engine.action_space
    obs, carry = engine.reset(), actor.begin(NUM_ENVS) if actor else None
    engine._data.qacc_warmstart = engine._batch.bind("qacc_warmstart")
    records: dict[str, list] = {}

    def record(prefix: str, names: tuple[str, ...]) -> None:
        for name in names:
            records.setdefault(prefix + name, []).append(getattr(engine._data, name).copy())

    for _ in range(-(-count // NUM_ENVS)):
        if actor is None:
            action = generator.uniform(space.low, space.high, (NUM_ENVS, *space.shape))
        else:
            action, carry = actor.act(carry, obs)
            action = action + generator.normal(0, POLICY_NOISE, action.shape)
        action = np.clip(action, space.low, space.high).astype(np.float32)
        record("before/", (*CARRIED, *task.fields))
        engine.autoreset = False  # the state after the last step of an episode is wanted, too
        step = engine.step(action)
        record("after/", ("qpos", "qvel"))
        for name, value in (("action", action), ("obs", step.next_obs), ("reward", step.reward)):
            records.setdefault(name, []).append(value.copy())
        ended = np.flatnonzero(step.terminated | step.truncated)
        engine._running[:] = True
        if ended.size:
            engine._restart(ended)
        obs = task.observation(engine._data)
    return {name: np.concatenate(values)[:count] for name, values in records.items()}


def one_step_of_mjx(task: tasks.MujocoTask, states: dict) -> dict[str, np.ndarray]:
    """The same steps on the device."""
    engine = MjxEngine(task, len(states["action"]))
    before = {
        name.removeprefix("before/"): jax.numpy.asarray(value)
        for name, value in states.items()
        if name.startswith("before/")
    }
    action = jax.numpy.asarray(states["action"])
    after = jax.jit(jax.vmap(engine._advance))(before, action)
    start, end = SimpleNamespace(**before), SimpleNamespace(**after)
    velocity = (task.position(end) - task.position(start)) / task.dt
    return {
        "qpos": np.asarray(after["qpos"]),
        "qvel": np.asarray(after["qvel"]),
        "obs": np.asarray(task.observation(end)),
        "reward": np.asarray(task.reward(end, action, velocity)),
    }


def report(name: str, ours: dict[str, np.ndarray], states: dict) -> None:
    """Print the errors of one comparison."""
    line = f"{name:34}"
    for quantity in QUANTITIES:
        theirs = states.get(f"after/{quantity}", states.get(quantity))
        error = np.abs(ours[quantity] - theirs).reshape(len(theirs), -1).max(-1)
        line += f"  {quantity} {np.median(error):.1e} {error.max():.1e}"
    print(line, flush=True)


def compare(task: tasks.MujocoTask, count: int, folder: Path | None) -> None:
    """Print the errors of one task."""
    actor = None
    if folder is not None:
        actor = policy.load(Artifact.load(folder / "policy"), *spaces(task))
    model = mjx_corrections.model(task)
    same = with_model(task, model)
    states = collect(same, count, actor)
    report(
        f"{task.id} {'random' if actor is None else 'trained'}",
        one_step_of_mjx(task, states),
        states,
    )
    if model is not task.model:
        original = one_step_of_c(task, states)
        report(f"{task.id} model as written", original, states)


def one_step_of_c(task: tasks.MujocoTask, states: dict) -> dict[str, np.ndarray]:
    """The same steps in C MuJoCo on the task's own model."""
    engine = NativeEngine(task, len(states["action"]), seed=0)
    engine.reset()
    for name in CARRIED:
        engine._batch.bind(name)[:] = states[f"before/{name}"]
    step = engine.step(states["action"])
    return {
        "qpos": engine._data.qpos.copy(),
        "qvel": engine._data.qvel.copy(),
        "obs": step.next_obs,
        "reward": step.reward,
    }


def main() -> None:
    """Compare the tasks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help="ids; all MuJoCo tasks if left out")
    parser.add_argument("--policy", type=Path, help="run folder of a trained policy")
    parser.add_argument("--states", type=int, default=2000)
    arguments = parser.parse_args()
    dtype = "float64" if jax.config.jax_enable_x64 else "float32"
    print(f"{dtype}; per quantity: median and largest error over {arguments.states} states")
    every = [t for t in tasks.TASKS.values() if isinstance(t, tasks.MujocoTask)]
    chosen = [t for t in every if not arguments.tasks or t.id in arguments.tasks]
    if not chosen:
        sys.exit("None of these is a MuJoCo task.")
    for task in chosen:
        compare(task, arguments.states, arguments.policy)


if __name__ == "__main__":
    main()
