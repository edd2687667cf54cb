"""What a training has to spend, and what an edit has to reach: figures of a branch, in words."""

from pathlib import Path

from harness.errors import InputError
from harness.judgement import prospects, search
from harness.judgement.history import History
from harness.night import tries
from harness.record.entries import Run
from harness.record.runs import Record
from harness.system import words


def lines(root: Path, past: History, commit: str) -> list[str]:
    """Facts of the budget, a line each; those that no run has told are left out.

    Args:
      root: the checkout.
      past: what was measured.
      commit: of the file that edits are made on.
    """
    found = [f"Machine: {past.instrument.partition(' ')[2].partition(';')[0]}"]
    latest = {run.task: run for run in tries.runs_of(past, commit)}
    for run in latest.values():
        found += _of_training(root, past, run, several=len(latest) > 1)
    found += _of_beliefs(past)
    return [*found, *(f"**{doubt}**" for doubt in prospects.doubts(root, past))]


def _of_training(root: Path, past: History, run: Run, several: bool) -> list[str]:
    """What the last training on a task had, and could do with it."""
    try:
        told = Record.load(root, run.run_id).details
        updates, steps = int(told["num_updates"]), int(told["total_timesteps"])
        startup, whole = float(told["startup_seconds"]), float(told["total_seconds"])
        rate = float(told["steps_per_second"])
    except (InputError, KeyError, TypeError, ValueError):
        return []
    if not updates:
        return []
    free = past.allowance(run.task)
    task = f"{run.task}: " if several else ""
    return [
        f"{task}{updates:,} updates of {steps // updates:,} steps fit "
        f"into the {run.budget:g} s ({rate:,.0f} steps/s, {run.budget / updates * 1000:,.0f} ms an "
        f"update; engine {run.backend})",
        f"Start-up, imports and compilation: {startup:.1f} s"
        + (f", of which {free:.1f} s are free" if free else "")
        + f"; a run takes {whole:,.0f} s in all",
    ]


def _of_beliefs(past: History) -> list[str]:
    """Spread between runs, and the bar that it makes."""
    if past.missing():
        return []
    there, outlook = past.progress(), past.outlook()
    mean = outlook.origin + outlook.unit * outlook.value(outlook.lead)
    share = f", {outlook.unit / abs(mean):.0%} of the mean" if mean else ""
    ahead = (
        f"The lead is {words.counted(len(there.stack), 'edit')} ahead of the proved incumbent, "
        f"which is thought to be {outlook.ahead():+.2f} deviations"
        if there.stack
        else "The lead is the proved incumbent"
    )
    return [
        f"One deviation between runs of the same file: {outlook.unit:,.4g}{share}",
        ahead,
        f"The lead is thought to be worth {mean:,.4g}. A first run of an edit gives hope from "
        f"{outlook.bar():,.4g} on; an edit leads that is thought to gain "
        f"{search.ACCEPT:+.2f} deviations after {search.LOOKS} runs",
    ]
