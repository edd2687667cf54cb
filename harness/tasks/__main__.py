"""`python -m harness.tasks`: the tasks, what steps them here, and returns to compare with."""

import gymnasium
from rich.console import Console
from rich.table import Table

from harness.engines import backends
from harness.tasks import TASKS, Task, anchors, horizon
from harness.terminal import cli

HEADINGS = (
    "task",
    "observation",
    "action",
    "horizon",
    "engines here",
    "random",
    "autoRL",
    "solved",
)
NARROW_ENOUGH = 120
"""Columns of text in which the table fits; a pipe would otherwise cut it at 80."""


def list_tasks() -> None:
    """Print the table of tasks; any other Gymnasium id can be run as well."""
    table = Table(*HEADINGS, box=None, pad_edge=False)
    for column in table.columns[3:4] + table.columns[5:]:
        column.justify = "right"
    for task in TASKS.values():
        table.add_row(*_cells(task))
    console = Console()
    console.width = max(console.width, NARROW_ENOUGH)
    console.print(table)
    print("\nAny other registered Gymnasium id can be run, too: Box observations of one axis, Box")
    print("or Discrete actions, as in --task CartPole-v1 or --task my_package:MyEnv-v0.")


def _cells(task: Task) -> tuple[str, ...]:
    engines = [name for name in backends.HOST_BACKENDS if backends.unsupported(task, name) is None]
    observation, action = backends.spaces(task, engines[0])
    return (
        task.id,
        str(observation.shape[0]),
        _action(action),
        str(horizon(task)),
        ", ".join(engines),
        _number(anchors.RANDOM.get(task.id)),
        _number(anchors.AUTORL.get(task.id)),
        _number(anchors.solved(task.id)),
    )


def _action(space: gymnasium.Space) -> str:
    if isinstance(space, gymnasium.spaces.Discrete):
        return f"{space.n} choices"
    return f"{space.shape[0]} in ±{space.high[0]:g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


if __name__ == "__main__":
    cli.serve(list_tasks)
