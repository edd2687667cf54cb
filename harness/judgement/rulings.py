"""What a run on a branch decides, from what was measured before it and its own end."""

from harness.judgement import objective, verdict
from harness.judgement.experiment import Part
from harness.judgement.history import History
from harness.judgement.verdict import Judgement
from harness.record.entries import Role, Status, Verdict
from harness.record.life import Ruling

LOSSES = 3
"""Runs of one role that are cut off in a trial (by Ctrl-C, a kill, a full disk, a worker that
dies), which ends it."""


def judge(past: History, challenger: str, scores: list[float]) -> Judgement:
    """What comes next for a challenger that has these scores."""
    return verdict.judge(
        scores, past.before(challenger), past.beside(challenger), past.number(challenger),
        past.looks(challenger), past.picks(challenger, len(scores)),
    )  # fmt: skip


def rule(
    past: History, tasks: tuple[str, ...], part: Part, task: str, status: Status,
    score: float | None,
) -> Ruling:  # fmt: skip
    """The ruling on a run.

    Args:
      past: what was measured before it.
      tasks: of the branch.
      part: of the run.
      task: of the run.
      status: as which it has ended.
      score: its average return, where it has one.
    """
    if score is None:
        return _failed(part, status, len(past.cut_off(part.role, part.challenger)))
    if part.role == Role.TRANSFER:
        return Ruling(Status.SCORED)
    there = past.replicate(part.role, part.challenger, part.replicate, part.commit)
    returns = {**there, task: score}
    if lacking := set(tasks) - set(returns):
        return _goes_on(f"{len(lacking)} more tasks in this replicate.")
    if part.role == Role.INCUMBENT:
        return Ruling(Status.SCORED, Verdict.GO_ON if part.beside else Verdict.NONE)
    return _compared(past, part.challenger, objective.score(tasks, returns))


def _compared(past: History, challenger: str, score: float) -> Ruling:
    """The ruling on a challenger's replicate that is complete, by its score."""
    scores = [*past.scores(Role.CHALLENGER, challenger), score]
    if past.missing() and len(scores) < verdict.MAX_REPLICATES:
        return _goes_on("A new incumbent is being measured.")
    said = judge(past, challenger, scores)
    if isinstance(said.step, Verdict):
        return Ruling(Status(said.step), said.step, said.reason)
    return _goes_on(said.reason)


def _goes_on(reason: str) -> Ruling:
    return Ruling(Status.SCORED, Verdict.GO_ON, reason)


def _failed(part: Part, status: Status, ends: int) -> Ruling:
    """The ruling on a run without a score.

    Args:
      part: of the run.
      status: what it ended as.
      ends: how many earlier runs of its role in this trial were cut off.
    """
    if status == Status.STOPPED:
        return Ruling(status, Verdict.DISCARD if part.role == Role.CHALLENGER else Verdict.NONE)
    if not status.at_fault:
        return _cut_off(part, status) if ends + 1 >= LOSSES else Ruling(status)
    if part.role == Role.CHALLENGER:
        reason = f"Replicate {part.replicate} ended as {status}."
        return Ruling(status, Verdict.DISCARD, reason)
    if part.beside:
        return Ruling(status, Verdict.GO_ON, "The incumbent failed, not the challenger.")
    return Ruling(status)


def _cut_off(part: Part, status: Status) -> Ruling:
    """The ruling on a run that is the last one to be cut off."""
    often = f"cut off too often: {LOSSES} times, the last one as {status}."
    if part.role == Role.CHALLENGER:
        return Ruling(status, Verdict.DISCARD, f"Its runs were {often}")
    if part.beside:
        reason = f"The incumbent's runs during this trial were {often}"
        return Ruling(Status.INCONCLUSIVE, Verdict.INCONCLUSIVE, reason)
    return Ruling(status)
