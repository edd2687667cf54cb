"""What is compared: the return of one task, or one figure for several."""

import statistics
from collections.abc import Mapping, Sequence

from harness import tasks
from harness.errors import InputError
from harness.tasks import anchors


def parse(text: str) -> tuple[str, ...]:
    """Task ids from `A` or `A,B,C`.

    Raises:
      InputError: a task is unknown, named twice, or has no anchors where there are several.
    """
    ids = tuple(part.strip() for part in text.split(","))
    for task_id in ids:
        tasks.get(task_id)
    if len(set(ids)) < len(ids):
        raise InputError(f"--task {text} names a task twice.")
    for task_id in ids if len(ids) > 1 else ():
        if unit_return(task_id) is None or task_id not in anchors.RANDOM:
            raise InputError(
                f"{task_id} cannot be one of several tasks: harness/tasks/anchors.py has no return "
                "of random actions for it, or no good one, to put its returns on one scale with "
                "the others'."
            )
    return ids


def unit_return(task_id: str) -> float | None:
    """The return that counts as one: autoRL's best where it is published, else Gymnasium's."""
    return anchors.AUTORL.get(task_id, anchors.solved(task_id))


def normalized(task_id: str, avg_return: float) -> float:
    """A return as a share of the way from random actions (0) to the reference (1)."""
    good = unit_return(task_id)
    assert good is not None, task_id
    return (avg_return - anchors.RANDOM[task_id]) / (good - anchors.RANDOM[task_id])


def score(task_ids: Sequence[str], returns: Mapping[str, float]) -> float:
    """One task's return itself; the mean of the normalized returns of several."""
    if len(task_ids) == 1:
        return returns[task_ids[0]]
    return statistics.fmean(normalized(task_id, returns[task_id]) for task_id in task_ids)
