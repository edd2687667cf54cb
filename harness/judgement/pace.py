"""How fast runs were: a difference explains a score, or shows that something else computed."""

from collections.abc import Sequence
from pathlib import Path

from harness.judgement.history import History
from harness.record.entries import Role, Run
from harness.record.runs import medians

FACTOR = 1.25
"""By which two rates differ that are told. Runs of one file on a machine that does nothing else
differ by a tenth."""

RATES_COMPARED = 10
"""Runs of a file that a rate is compared with: the latest."""


def note(root: Path, past: History, run: Run, rate: float) -> str:
    """What is to be known of a run's rate, in words; nothing where it is as usual.

    Args:
      root: the checkout.
      past: what was measured before it.
      run: its row, as far as it is known.
      rate: environment steps per second.
    """
    own = _usual(root, past, run, run.commit)
    said = []
    if run.role == Role.CHALLENGER:
        theirs = _usual(root, past, run, past.incumbent)
        if differ(rate, theirs):
            said.append(f"It made {rate:,.0f} steps/s, the incumbent's runs {theirs:,.0f}.")
    if differ(rate, own):
        this = "Earlier runs" if said else f"It made {rate:,.0f} steps/s, earlier runs"
        said.append(
            f"{this} of its file {own:,.0f}: the machine had other work then, or has it now."
        )
    return " ".join(said)


def differ(rate: float, other: float) -> bool:
    """Whether two rates are told; those that are not known, 0, are not."""
    return min(rate, other) > 0 and max(rate, other) >= FACTOR * min(rate, other)


def _usual(root: Path, past: History, run: Run, commit: str) -> float:
    """The median rate of a file's latest runs on the task of a run; 0 where it is not known."""
    return medians(root, _runs(past, run, commit)[-RATES_COMPARED:], "steps_per_second").get(
        run.task, 0.0
    )


def _runs(past: History, run: Run, commit: str) -> Sequence[Run]:
    """The runs of a file on the task of a run, by the same instrument."""
    like = (run.task, run.harness)
    return [r for r in past.runs if r.commit == commit and (r.task, r.harness) == like]
