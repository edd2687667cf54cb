"""One step of MJX against one step of C MuJoCo, from the same states under the same actions.

    JAX_ENABLE_X64=1 python scripts/bench_fidelity.py [TASK ...] [--policy runs/RUN_ID/policy]
    python scripts/bench_fidelity.py [TASK ...] --engine warp --states 200

States come from C MuJoCo under random actions, or under a trained policy with a little noise. The
reference is C MuJoCo with the solver that MJX has, run until it has converged. The models let a
solver stop earlier (some also ask for another one), so C MuJoCo on the model as it is written has
an error of its own, which is printed for comparison. MJX's precision is JAX's: float32, or float64
with JAX_ENABLE_X64=1. Prints, per quantity, the median over states of the largest error in a state,
and the largest of all.
"""

import argparse
import copy
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import mujoco
import numpy as np

from harness import tasks
from harness.contract import policy
from harness.contract.artifact import Artifact
from harness.engines import backends, mjx_corrections
from harness.engines.mjx import CARRIED, MjxEngine
from harness.engines.native import CONTACT_FORCES, spaces
from harness.tasks.draws import HostDraws
from harness.tasks.pusher import ARM

NUM_ENVS = 50
POLICY_NOISE = 0.1  # standard deviation, so that 50 environments do not run in step
STRIDE = 10  # steps from one recorded state to the next, so that all of an episode is seen
CONVERGED = 1e-14  # tolerance of the reference's solver; the models have 1e-8
QUANTITIES = ("qpos", "qvel", "obs", "reward")
CHUNK = 500  # states in one call of MJX: 2,000 Humanoids fill the memory

States = dict[str, np.ndarray]  # fields of mujoco.MjData by name, [states, ...]


def read(task: tasks.MujocoTask, data: mujoco.MjData) -> States:
    """The fields that MJX carries and the task reads, of one state."""
    return {name: getattr(data, name).copy() for name in (*CARRIED, *task.fields)}


def stack(states: list[States]) -> States:
    return {name: np.stack([state[name] for state in states]) for name in states[0]}


def advance(task: tasks.MujocoTask, data: mujoco.MjData, action: np.ndarray) -> None:
    """One environment step of C MuJoCo, on the task's model."""
    data.ctrl[:] = action
    mujoco.mj_step(task.model, data, nstep=task.frame_skip)
    if CONTACT_FORCES in task.fields:
        mujoco.mj_rnePostConstraint(task.model, data)


def collect(
    task: tasks.MujocoTask, count: int, actor: policy.Policy | None
) -> tuple[States, np.ndarray]:
    """States of C MuJoCo on the model as it is written, and an action in each."""
    generator = np.random.default_rng(0)
    space = spaces(task)[1]
    datas = [mujoco.MjData(task.model) for _ in range(NUM_ENVS)]

    def restart(data: mujoco.MjData) -> None:
        mujoco.mj_resetData(task.model, data)
        data.qpos[:], data.qvel[:] = task.reset(HostDraws(generator))
        mujoco.mj_forward(task.model, data)

    for data in datas:
        restart(data)
    states, actions = [], []
    elapsed = np.zeros(NUM_ENVS, int)
    carry = actor.begin(NUM_ENVS) if actor else None
    for step in range(-(-count // NUM_ENVS) * STRIDE):
        if actor is None:
            batch = generator.uniform(space.low, space.high, (NUM_ENVS, *space.shape))
        else:
            batch, carry = actor.act(carry, np.stack([task.observation(data) for data in datas]))
            batch = batch + generator.normal(0, POLICY_NOISE, batch.shape)
        batch = np.clip(batch, space.low, space.high).astype(np.float32)
        elapsed += 1
        for i, (data, action) in enumerate(zip(datas, batch, strict=True)):
            if step % STRIDE == 0:
                states.append(read(task, data))
                actions.append(action)
            advance(task, data, action)
            if task.terminated(data) or elapsed[i] >= task.horizon:
                restart(data)
                elapsed[i] = 0
    return stack(states[:count]), np.stack(actions[:count])


def pushing(task: tasks.MujocoTask, count: int) -> tuple[States, np.ndarray]:
    """States of Pusher in which the arm touches the cylinder, which random actions seldom reach."""
    generator = np.random.default_rng(0)
    space, data, states = spaces(task)[1], mujoco.MjData(task.model), []
    cylinder = task.model.body("object")
    low, high = task.model.jnt_range[:ARM].T
    while len(states) < count:
        mujoco.mj_resetData(task.model, data)
        data.qpos[:ARM] = generator.uniform(low, high)
        mujoco.mj_forward(task.model, data)
        tip = data.body("tips_arm").xpos[:2] + generator.uniform(-0.1, 0.1, 2)
        data.qpos[ARM : ARM + 2] += tip - data.body("object").xpos[:2]
        data.qvel[:ARM] = generator.uniform(-1, 1, ARM)
        mujoco.mj_forward(task.model, data)
        bodies = task.model.geom_bodyid[data.contact.geom]
        if ((bodies == cylinder.id).any(-1) & (bodies > 0).all(-1)).any():
            states.append(read(task, data))
    actions = generator.uniform(space.low, space.high, (count, *space.shape))
    return stack(states), actions.astype(np.float32)


def outcome(
    task: tasks.MujocoTask, before: States, after: States, action: np.ndarray
) -> dict[str, np.ndarray]:
    """What is compared, [states, ...] each."""
    start, end = SimpleNamespace(**before), SimpleNamespace(**after)
    velocity = (task.position(end) - task.position(start)) / task.dt
    return {
        "qpos": after["qpos"],
        "qvel": after["qvel"],
        "obs": task.observation(end),
        "reward": task.reward(end, action, velocity),
    }


def step_of_mjx(engine: MjxEngine, before: States, action: np.ndarray) -> dict[str, np.ndarray]:
    """One step of every state on the device."""
    step = jax.jit(jax.vmap(engine.simulate))
    afters = [
        jax.device_get(
            step({k: v[i : i + CHUNK] for k, v in before.items()}, action[i : i + CHUNK])
        )
        for i in range(0, len(action), CHUNK)
    ]
    after = {name: np.concatenate([part[name] for part in afters]) for name in afters[0]}
    return outcome(engine.task, before, after, action)


def step_of_c(task: tasks.MujocoTask, before: States, action: np.ndarray) -> dict[str, np.ndarray]:
    """The same in C MuJoCo, on the task's model."""
    data, afters = mujoco.MjData(task.model), []
    for i in range(len(action)):
        mujoco.mj_resetData(task.model, data)
        for name in CARRIED:
            getattr(data, name)[:] = before[name][i]
        advance(task, data, action[i])
        afters.append(read(task, data))
    return outcome(task, before, stack(afters), action)


def converged(task: tasks.MujocoTask) -> tasks.MujocoTask:
    """The task on a model with MJX's solver, which goes on until it has converged."""
    model = copy.copy(mjx_corrections.model(task))
    model.opt.tolerance = CONVERGED
    other = type(task)()
    other.__dict__["model"] = model  # where functools.cached_property keeps it
    return other


def report(name: str, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Print the errors of one comparison."""
    line = f"{name:40}"
    for quantity in QUANTITIES:
        error = np.abs(ours[quantity] - theirs[quantity]).reshape(len(theirs["reward"]), -1)
        line += f"  {quantity} {np.median(error.max(-1)):.1e} {error.max():.1e}"
    print(line, flush=True)


def compare(
    task: tasks.MujocoTask, count: int, folder: Path | None, push: bool, backend: str
) -> None:
    """Print the errors of one task."""
    actor = None
    if folder is not None:
        actor = policy.load(Artifact.load(folder), *spaces(task))
    before, action = pushing(task, count) if push else collect(task, count, actor)
    reference = step_of_c(converged(task), before, action)
    name = f"{task.id} {'pushing' if push else 'trained' if actor else 'random'}"
    engine = backends.make_device_engine(task, len(action), backend)
    report(
        f"{name}, {'Warp' if backend == 'warp' else 'MJX'}",
        step_of_mjx(engine, before, action),
        reference,
    )
    report(f"{name}, C as written", step_of_c(task, before, action), reference)


def main() -> None:
    """Compare the tasks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help="ids; all MuJoCo tasks if left out")
    parser.add_argument("--policy", type=Path, help="folder of a published policy")
    parser.add_argument("--states", type=int, default=2000)
    parser.add_argument("--engine", choices=("mjx", "warp"), default="mjx")
    parser.add_argument("--pushing", action="store_true", help="Pusher, touching its cylinder")
    arguments = parser.parse_args()
    dtype = "float64" if jax.config.jax_enable_x64 else "float32"
    print(f"{dtype}; per quantity: median and largest error over {arguments.states} states")
    every = [t for t in tasks.TASKS.values() if isinstance(t, tasks.MujocoTask)]
    named = ["Pusher-v5"] if arguments.pushing else arguments.tasks
    chosen = [t for t in every if not named or t.id in named]
    if not chosen:
        sys.exit("None of these is a MuJoCo task.")
    for task in chosen:
        compare(task, arguments.states, arguments.policy, arguments.pushing, arguments.engine)


if __name__ == "__main__":
    main()
