"""What a verdict means for whoever has just made an edit, and what follows from it."""

import math

from harness.judgement import search
from harness.judgement.history import History
from harness.morning.findings import Findings
from harness.places import EDITABLE
from harness.record.entries import Role, Run, Verdict
from harness.system import words


def of_trial(past: History, verdict: Verdict) -> list[str]:
    """After an edit's trial, a line a thing.

    Args:
      past: what was measured, the trial included.
      verdict: of the trial.
    """
    if verdict == Verdict.ACCEPT:
        there = (
            f"The edit leads: it is expected to be better, which is not proved yet. {EDITABLE} "
            "stays as it is, and the next edits are made on it."
        )
    else:
        there = (
            f"The edit is set aside: too little speaks for it. {EDITABLE} is again the file that "
            "leads, unless you have changed it meanwhile; the edit stays in git."
        )
    return [there, *_of_lead(past)]


def of_confirmation(past: History, verdict: Verdict) -> list[str]:
    """After a confirmation; arguments likewise."""
    if verdict == Verdict.KEEP and past.progress().before_simpler:
        return [
            "What led is as good as the file before it, but for the margin that its proof allows, "
            "and simpler: it is the incumbent. That is no gain.",
            *_of_lead(past),
        ]
    if verdict == Verdict.KEEP:
        return [
            "What led is proved, and is the incumbent: the branch has moved over all its edits. "
            "They are proved together: some of them may do nothing.",
            *_of_lead(past),
        ]
    stack = past.progress().stack
    stays = "It still leads, and may be proved later" if stack else "The incumbent leads again"
    return [f"The lead is not proved. {stays}.", *_of_lead(past)]


def undue(past: History) -> str:
    """Why no confirmation is made now."""
    if not past.progress().stack:
        return "There is nothing to confirm: no edit is ahead of the incumbent. Try edits first."
    return (
        f"{_distance(past)} For a confirmation it has to be more than {search.CLOSING:+.1f}: it "
        "would hardly be proved, and each confirmation that proves nothing makes the next one "
        "stricter. Try more edits first."
    )


def false_keeps(found: Findings, since: Findings) -> int:
    """How many confirmations of an A/A test have found null edits, and nothing else, to be better.

    One that kept null edits because a file before them was simpler has claimed nothing of them.

    Args:
      found: what the branch has found, the test included.
      since: what it had found before the test.
    """
    first = len(since.experiments) + 1
    return sum(
        one.verdict == Verdict.KEEP and not one.simpler and min(one.edits, default=0) >= first
        for one in found.confirmations[len(since.confirmations) :]
    )


def last_confirmation(past: History) -> Run | None:
    """The run that has decided the last confirmation; None if none has ended."""
    decided = (Verdict.KEEP, Verdict.UNPROVED)
    beside = (run for run in reversed(past.runs) if run.role == Role.CONFIRMATION)
    return next((run for run in beside if run.verdict in decided), None)


def _of_lead(past: History) -> list[str]:
    """What it takes to prove the lead; nothing where the incumbent leads."""
    if not past.progress().stack or past.missing():
        return []
    return [
        f"{_distance(past)} From {search.CONFIRM:+.0f} on it is confirmed without being asked "
        f"for, with at most {_runs(past, sum(search.PAIRS))}; --confirm does it now, with at most "
        f"{_runs(past, sum(search.pairs(math.inf, closing=True)))}."
    ]


def _runs(past: History, pairs: int) -> str:
    """So many runs of each file, and how long they train."""
    assert past.conditions is not None
    seconds = 2 * pairs * past.conditions.budget * len(past.conditions.tasks)
    return f"{2 * pairs} runs ({seconds / 3600:.1f} hours of training)"


def _distance(past: History) -> str:
    """How far the lead is thought to be ahead."""
    count = len(past.progress().stack)
    return (
        f"The lead is {words.counted(count, 'edit')} ahead of the incumbent, thought to be worth "
        f"{past.outlook().ahead():+.1f} deviations between runs."
    )
