"""Finishes runs that a branch stopped as hopeless, and says what would have become of their edits.

    python scripts/finish_stopped.py COPY_OF_A_CHECKOUT [--count 10] [--seed 0] [--of 2 --part 1]

Draws stopped runs at random and makes them again with their file, task, and seed, to their end. An
edit whose whole run would have been worth another one gets that, too, with another seed; then the
search says whether it would have led, from what the branch knew when the run was stopped. Writes a
line a run to `finished.tsv` in the copy, whose ledger gets the runs as well; begun again, it goes
on. `--of` and `--part` share the work: a process with a copy of its own, held to as many cores as a
worker of the night had, for each of its workers.
"""

import argparse
import dataclasses
import os
import random
import secrets
from pathlib import Path

from harness.confinement import sandbox
from harness.contract.order import Assignment, Order
from harness.judgement import experiment, search, stopping
from harness.judgement.history import History
from harness.judgement.search import File, Outlook
from harness.places import LEDGER, TRAIN_FILE, run_folder
from harness.record.entries import Run, Status
from harness.record.ledger import Ledger
from harness.record.runs import Record
from harness.terminal.display import Display

HEAD = "run\tstopped_at\treported\tleast\tscore\tgain\tsecond_score\tsecond_gain\twould_lead\n"
SEEDS = 2**31


def finish(root: Path, run: Run, seed: int, episodes: int) -> float:
    """The score of a stopped run's file, trained to its end with a seed."""
    details = Record.measured(root, run.run_id).details
    request = experiment.Request(
        root=root,
        source=(run_folder(root, run.run_id) / TRAIN_FILE).read_bytes(),
        order=Order(
            Assignment(run.task, details["backend"], seed, run.budget, run.num_seeds),
            episodes=episodes,
            confinement=sandbox.as_safe_as(details["sandbox"]),
            allowance=details.get("startup_allowance"),
        ),
        message=f"{run.run_id} to its end",
        comparable=False,
    )
    with Display(run.task) as display:
        score = experiment.run(request, display.watch, display.announce).avg_return
    assert score is not None
    return score


def line(root: Path, past: History, run: Run) -> str:
    """What would have become of an edit whose first run was stopped.

    Args:
      root: the checkout.
      past: what the branch knew before the run was ruled on.
      run: its row.
    """
    told = stopping.stopped(root, run)
    assert told is not None
    there, name = past.progress(), run.challenger
    file = dataclasses.replace(there.file(name), made_on=there.made_on.get(name, there.lead))
    assert run.seed is not None
    assert past.conditions is not None
    episodes = past.conditions.episodes
    scores = [finish(root, run, run.seed, episodes)]
    outlook, leads = _judged(past, file, scores)
    cells = [f"{scores[0]:.2f}", f"{outlook.gain(name):+.2f}", "", ""]
    if leads is None:
        scores.append(finish(root, run, secrets.randbelow(SEEDS), episodes))
        outlook, leads = _judged(past, file, scores)
        cells[2:] = [f"{scores[1]:.2f}", f"{outlook.gain(name):+.2f}"]
    begin = [run.run_id, f"{told.stop.share:g}", f"{told.reported:.2f}", f"{told.stop.least:.2f}"]
    return "\t".join([*begin, *cells, "yes" if leads else "no"]) + "\n"


def _judged(past: History, file: File, scores: list[float]) -> tuple[Outlook, bool | None]:
    """What the search thinks of a file after these runs, and whether it leads."""
    tried = dataclasses.replace(file, scores=tuple(scores), looks=len(scores))
    there = past.progress()
    outlook = Outlook({**past.files(), file.name: tried}, there.incumbent, there.stack)
    return outlook, search.is_accepted(outlook, file.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--part", type=int, default=0)
    options = parser.parse_args()
    root = options.root.resolve()
    os.chdir(root)
    entries = Ledger(root / LEDGER).read().entries
    stopped = [e for e in entries if isinstance(e, Run) and e.status == Status.STOPPED]
    drawn = random.Random(options.seed).sample(stopped, min(options.count, len(stopped)))
    out = root / "finished.tsv"
    if not out.exists():
        out.write_text(HEAD)
    for run in drawn[options.part :: options.of]:
        if run.run_id in out.read_text():
            continue
        past = History(entries[: entries.index(run)], run.branch, run.harness)
        there = line(root, past, run)
        with out.open("a") as file:
            file.write(there)
        print(there, end="", flush=True)


if __name__ == "__main__":
    main()
