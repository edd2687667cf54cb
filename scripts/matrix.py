"""A matrix of training files × tasks × seeds; each cell is one run of the harness.

Cells are trained and scored by `python -m harness.run` on cores of their own, as many beside each
other as the machine has room for. Each gets a row in a ledger below `matrix/BUDGET/CORESx/` here; a
call that is interrupted goes on from these. They know a file by its name: whoever has edited one
and wants it measured anew starts in an empty folder.
"""

import argparse
import contextlib
import os
import queue
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import errors
from harness.engines.engine import available_cpus
from harness.record.entries import Run, Status
from harness.record.ledger import Ledger

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("matrix")
TASKS = "BipedalWalker-v3,Hopper-v5,Walker2d-v5,HalfCheetah-v5,Ant-v5"
SHIPPED = "shipped"  # the name of agent_space/train.py, which the others are compared with

# Ends of a run that every later one would meet, too.
LASTING = {
    kind.exit_code for kind in (errors.LedgerError, errors.StorageError, errors.IntegrityError)
}


@dataclass(frozen=True)
class Cell:
    """One run: a training file, by its name, on a task with a seed."""

    name: str
    task: str
    seed: int


def measured(folder: Path) -> dict[Cell, Run]:
    """The rows with a score in the ledgers below a folder."""
    return {
        Cell(run.description, run.task, run.seed or 0): run
        for ledger in sorted(folder.rglob("*.tsv"))
        for run in Ledger(ledger).runs()
        if run.status == Status.SCORED
    }


def fill(
    cells: list[Cell], source: Callable[[str], str], budget: float, cores: int | None
) -> dict[Cell, Run]:
    """Measure the cells that are missing; all that has been measured so far.

    Args:
      cells: in the order in which they are run.
      source: the text of the training file of a name.
      budget: seconds of training.
      cores: of each run; all if None.
    """
    each = cores or available_cpus()
    folder = FOLDER / f"{budget:g}" / f"{each}x"
    found = measured(folder)
    jobs: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    for cell in cells:
        if cell not in found:
            jobs.put(cell)
    mine = sorted(os.sched_getaffinity(0))
    workers = [
        threading.Thread(
            target=_work,
            args=(folder, ",".join(map(str, mine[i : i + each])), jobs, source, budget),
        )
        for i in range(0, len(mine) - each + 1, each)
    ]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:  # which the runs have had, too
        _drain(jobs)
        sys.exit(f"Interrupted; the same command goes on from the ledgers in {folder}.")
    return measured(folder)


def _work(
    folder: Path, cores: str, jobs: "queue.SimpleQueue[Cell]", source: Callable[[str], str],
    budget: float,
) -> None:  # fmt: skip
    """Run cells on some cores until none is left."""
    place = folder / f"cores{cores}"
    place.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            cell = jobs.get_nowait()
        except queue.Empty:
            return
        train = place / "train.py"
        train.write_text(source(cell.name))
        done = subprocess.run(
            ["taskset", "-c", cores, sys.executable, "-m", "harness.run", "--task", cell.task,
             "--budget", f"{budget:g}", "--seed", str(cell.seed), "--train", train.name,
             "--message", cell.name],
            cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if done.returncode:
            print(f"{cell}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr, flush=True)
        if done.returncode in LASTING:
            _drain(jobs)


def _drain(jobs: "queue.SimpleQueue[Cell]") -> None:
    """Leave nothing to do."""
    with contextlib.suppress(queue.Empty):
        while True:
            jobs.get_nowait()


def table(found: dict[Cell, Run], names: list[str], tasks: list[str]) -> str:
    """Every score in the order of the seeds, their mean, and its difference from the shipped.

    The difference is that of the seeds that both have.
    """

    def of(name: str, task: str) -> dict[int, float]:
        rows = {c.seed: row for c, row in found.items() if (c.name, c.task) == (name, task)}
        return {seed: float(rows[seed].avg_return) for seed in sorted(rows)}

    def shown(name: str, task: str) -> str:
        mine, base = of(name, task), of(SHIPPED, task)
        if not mine:
            return "-"
        text = f"{statistics.fmean(mine.values()):,.0f}"
        if len(mine) > 1:
            text += f" ({', '.join(f'{score:,.0f}' for score in mine.values())})"
        pairs = mine.keys() & base.keys()
        if pairs and name != SHIPPED:
            text += f" {statistics.fmean(mine[seed] - base[seed] for seed in pairs):+,.0f}"
        return text

    lines = [["", *tasks], *([name, *(shown(name, task) for task in tasks)] for name in names)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(description: str | None, names: list[str], source: Callable[[str], str]) -> None:
    """The command line of a matrix: measure what is missing and print the table.

    Args:
      description: of the command.
      names: of the training files, in the order of the table.
      source: the text of a training file; it may take other names, too.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--budget", type=float, default=720.0, help="seconds of training")
    parser.add_argument("--cores", type=int, help="of each run; all if left out")
    parser.add_argument("--runs", type=int, default=1, help="of each file on each task")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--only", default=",".join(names), help="of " + ", ".join(names))
    arguments = parser.parse_args()
    names, tasks = arguments.only.split(","), arguments.tasks.split(",")
    if arguments.cores is not None and not 1 <= arguments.cores <= available_cpus():
        parser.error(f"--cores {arguments.cores}: there are {available_cpus()} here.")
    for name in names:  # fails before anything is measured
        try:
            source(name)
        except KeyError as error:
            parser.error(f"there is no {error}; --help shows the names.")
        except ValueError as error:
            parser.error(str(error))
    seeds = range(1, arguments.runs + 1)
    cells = [Cell(name, task, seed) for seed in seeds for name in names for task in tasks]
    found = fill(cells, source, arguments.budget, arguments.cores)
    wanted = {cell: found[cell] for cell in cells if cell in found}
    print(table(wanted, names, tasks))
    if len(wanted) < len(cells):
        sys.exit(f"{len(cells) - len(wanted)} of {len(cells)} cells have no score; why is above.")
