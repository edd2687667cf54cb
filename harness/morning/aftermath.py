"""What a verdict means for whoever has just made an edit, and what follows from it."""

import math
from collections.abc import Collection, Iterable, Sequence

from harness.judgement import layout, search
from harness.judgement.history import History
from harness.morning.findings import Findings
from harness.places import EDITABLE
from harness.record.entries import Entry, Role, Run, Verdict
from harness.system import words


def of_trial(past: History, run: Run, ref: str) -> list[str]:
    """After an edit's trial, a line a thing.

    Args:
      past: what was measured, the trial included.
      run: that has ended the trial.
      ref: under which the edit stays in git, if it does not lead.
    """
    if run.verdict == Verdict.ACCEPT:
        there = (
            f"The edit leads: it is expected to be better, which is not proved yet. {EDITABLE} "
            "stays as it is, and the next edits are made on it."
        )
    else:
        why = "too little speaks for it"
        if run.status.at_fault:
            why = "its file failed"
        elif run.status.cut_off:
            why = "its runs were cut off, and nothing is known of it"
        there = (
            f"The edit is set aside: {why}. {EDITABLE} is again the file that leads, unless you "
            f"have changed it meanwhile; the edit stays in git: git show {ref}:{EDITABLE}"
        )
    return [there, *_of_lead(past)]


def of_confirmation(past: History, verdict: Verdict) -> list[str]:
    """After a confirmation, a line a thing.

    Args:
      past: what was measured, the confirmation included.
      verdict: of it.
    """
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


def of_interruption(entries: Sequence[Entry], known: Collection[str]) -> list[str]:
    """What it costs that a command was interrupted, a line a thing; nothing if it costs nothing.

    Args:
      entries: of the ledger.
      known: ids of the rows that were there when the command began.
    """
    cut_off = [
        run
        for run in entries
        if isinstance(run, Run) and run.role == Role.CONFIRMATION and run.status.cut_off
    ]
    ended = {
        layout.confirmation_of(run.replicate): run for run in cut_off if run.run_id not in known
    }
    return [_of_cut_off(number, run) for number, run in ended.items()]


def _of_cut_off(number: int, run: Run) -> str:
    """What follows from a confirmation's run that was cut off."""
    if run.verdict == Verdict.UNPROVED:
        return f"confirmation {number} has ended, and proved nothing: {run.reason}"
    return (
        f"a run of confirmation {number} was cut off: the next command makes it again, and what is "
        "allowed is finer now"
    )


def undue(past: History) -> str:
    """Why no confirmation is made now."""
    if not past.progress().stack:
        return "There is nothing to confirm: no edit is ahead of the incumbent. Try edits first."
    return (
        f"{_distance(past)} For a confirmation it has to be more than "
        f"{_deviations(search.CLOSING)}: it would hardly be proved, and each confirmation that "
        "proves nothing makes the next one stricter. Try more edits first."
    )


def is_confirmable(past: History) -> bool:
    """Whether the lead is so far ahead that it is confirmed where somebody asks for that."""
    stack = past.progress().stack
    return bool(stack) and not past.missing() and past.outlook().ahead() > search.CLOSING


def prospect(past: History) -> str:
    """How far the lead is thought to be ahead, and from where on it is proved, in words.

    Empty where nothing leads, or where runs of the incumbent are lacking.
    """
    if not past.progress().stack or past.missing():
        return ""
    return (
        f"thought to be worth {_ahead(past)} deviations between runs; confirmed above "
        f"{_deviations(search.CONFIRM)}, and above {_deviations(search.CLOSING)} when a night ends "
        "or by python -m harness.run --confirm"
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
    there = past.progress()
    if not there.stack or past.missing():
        return []
    by_itself = search.pairs(math.inf, closing=False, level=there.level())
    asked = search.pairs(math.inf, closing=True)
    return [
        f"{_distance(past)} Above {_deviations(search.CONFIRM)} it is confirmed without being "
        f"asked for, with at most {_runs(past, by_itself)}. Above {_deviations(search.CLOSING)} "
        f"--confirm does it, with at most {_runs(past, asked)}. The "
        f"{search.ESTIMATE_RUNS} runs of a new incumbent's estimate are among them."
    ]


def _runs(past: History, pairs: Iterable[int]) -> str:
    """The runs of a confirmation and of the estimate after it, and how long they train."""
    assert past.conditions is not None
    runs = 2 * sum(pairs) + search.ESTIMATE_RUNS
    seconds = runs * past.conditions.budget * len(past.conditions.tasks)
    return f"{words.counted(runs, 'run')} ({words.lasting(seconds)} of training)"


def _distance(past: History) -> str:
    """How far the lead is thought to be ahead."""
    count = len(past.progress().stack)
    return (
        f"The lead is {words.counted(count, 'edit')} ahead of the incumbent, thought to be worth "
        f"{_ahead(past)} deviations between runs."
    )


def _ahead(past: History) -> str:
    """The expected lead over the incumbent, rounded down: what is not above a bound, looks it."""
    return _deviations(math.floor(100 * past.outlook().ahead()) / 100)


def _deviations(value: float) -> str:
    """A difference in deviations, as every page and reason has it."""
    return f"{value:+.2f}"
