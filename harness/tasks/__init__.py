"""The tasks, by Gymnasium id."""

import difflib

from harness.errors import InputError
from harness.tasks.half_cheetah import HalfCheetah
from harness.tasks.task import Box2DTask, GymnasiumTask, MujocoTask, Task

__all__ = ["TASKS", "Box2DTask", "GymnasiumTask", "MujocoTask", "Task", "get"]

TASKS: dict[str, Task] = {
    task.id: task
    for task in (
        HalfCheetah(),
        Box2DTask("BipedalWalker-v3"),
    )
}


def get(task_id: str) -> Task:
    """The task with this id.

    Raises:
      InputError: there is no such task; the message suggests the nearest ids.
    """
    if task_id in TASKS:
        return TASKS[task_id]
    near = difflib.get_close_matches(task_id, TASKS, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(TASKS)}."
    raise InputError(f"Unknown task {task_id!r}. {hint}")
