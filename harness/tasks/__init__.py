"""The tasks, by Gymnasium id; a task knows no engine.

May import: `system`, `errors`.
"""

import difflib
import importlib

import gymnasium
from gymnasium.envs.registration import EnvSpec

from harness.errors import InputError
from harness.system import origin
from harness.tasks.ant import Ant
from harness.tasks.half_cheetah import HalfCheetah
from harness.tasks.hopper import Hopper
from harness.tasks.humanoid import Humanoid, HumanoidStandup
from harness.tasks.inverted_double_pendulum import InvertedDoublePendulum
from harness.tasks.inverted_pendulum import InvertedPendulum
from harness.tasks.pusher import Pusher
from harness.tasks.reacher import Reacher
from harness.tasks.swimmer import Swimmer
from harness.tasks.task import Box2DTask, BraxTask, GymnasiumTask, MujocoTask, Task
from harness.tasks.walker2d import Walker2d

__all__ = [
    "TASKS",
    "Box2DTask",
    "BraxTask",
    "GymnasiumTask",
    "MujocoTask",
    "Task",
    "anchors",
    "draws",
    "get",
    "horizon",
]  # fmt: skip

TASKS: dict[str, Task] = {
    task.id: task
    for task in (
        Ant(),
        HalfCheetah(),
        Hopper(),
        Humanoid(),
        HumanoidStandup(),
        InvertedDoublePendulum(),
        InvertedPendulum(),
        Pusher(),
        Reacher(),
        Swimmer(),
        Walker2d(),
        Box2DTask("BipedalWalker-v3"),
        Box2DTask("BipedalWalkerHardcore-v3"),
    )
}
"""The tasks that have an engine of their own; any other Gymnasium id can be run, too."""


GYMNASIUMS = frozenset(gymnasium.registry)
"""What is registered before any task is asked for: Gymnasium's own ids."""


def get(task_id: str) -> Task:
    """The task with this id: one of `TASKS`, or anything that Gymnasium knows.

    Args:
      task_id: such as `HalfCheetah-v5`, `CartPole-v1` or `my_package:MyEnv-v0`, which imports
        `my_package` first; `brax:ant` and `playground:CheetahRun` are of those libraries.

    Raises:
      InputError: there is no such task; the message suggests the nearest ids.
    """
    if task_id in TASKS:
        return TASKS[task_id]
    if task_id.partition(":")[0] in BraxTask.PACKAGES:
        return BraxTask(task_id)
    module, _, name = task_id.rpartition(":")
    suites = " and ".join(f"{library}:" for library in BraxTask.PACKAGES)
    try:
        if module:
            origin.allow(task_id)
            importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise InputError(
            f"Importing {module!r} for task {task_id!r} failed: {error} ({type(error).__name__}). "
            f"Install the package, or run from where it can be imported. ({suites} are suites that "
            "are known here; any other prefix is a package that registers the task.)"
        ) from error
    try:
        spec = gymnasium.spec(name)
    except gymnasium.error.Error as error:
        known = [*TASKS, *(set(gymnasium.registry) - set(TASKS))]
        near = difflib.get_close_matches(task_id, known, n=3, cutoff=0.6)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(TASKS)}."
        raise InputError(
            f"Unknown task {task_id!r}. {hint} Any registered Gymnasium id can be used; write "
            "my_package:MyEnv-v0 where importing my_package registers it."
        ) from error
    if module and module.partition(".")[0] != "gymnasium" and _is_gymnasiums(spec):
        raise InputError(
            f"{name} is Gymnasium's own task, and {module} registers no other: {task_id!r} would "
            f"run {name}. Write {name} if that is meant. ({suites} are suites that are known here.)"
        )
    return GymnasiumTask(task_id)


def _is_gymnasiums(spec: EnvSpec) -> bool:
    """Whether an id means what Gymnasium itself registers under it."""
    return spec.id in GYMNASIUMS and str(spec.entry_point).startswith("gymnasium.")


def horizon(task: Task) -> int | None:
    """Environment steps after which an episode is truncated; None where nobody says."""
    if isinstance(task, MujocoTask):
        return task.horizon
    if isinstance(task, GymnasiumTask):
        return gymnasium.spec(task.id.rpartition(":")[2]).max_episode_steps
    return None
