"""What a run on a branch decides, from what was measured before it and its own end."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from harness.judgement import confirmation, history, layout, objective, search
from harness.judgement.confirmation import Design
from harness.judgement.experiment import Part
from harness.judgement.history import History
from harness.judgement.search import File, Outlook
from harness.record.entries import ConfirmationBegun, Lots, Role, Status, Verdict
from harness.record.life import Ruling

LOSSES = 3
"""Runs of one role that are cut off in a trial or a confirmation (by Ctrl-C, a kill, a full disk, a
worker that dies), which ends it."""


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
        return _failed(past, part, status)
    if part.role == Role.TRANSFER:
        return Ruling(Status.SCORED)
    there = past.replicate(part.role, part.challenger, part.replicate, part.commit)
    returns = {**there, task: score}
    if lacking := set(tasks) - set(returns):
        return _goes_on(f"{len(lacking)} more tasks in this replicate.")
    whole = objective.score(tasks, returns)
    match part.role:
        case Role.CHALLENGER:
            return _tried(past, part.challenger, whole)
        case Role.CONFIRMATION:
            return _confirmed(past, part, whole)
    return Ruling(Status.SCORED)


def _tried(past: History, name: str, score: float) -> Ruling:
    """The ruling on an edit's complete run, by its score."""
    there, files = past.progress(), past.files()
    if not past.knows_incumbent:
        return _goes_on("The incumbent is being measured.")
    file = files.get(name) or dataclasses.replace(there.file(name), made_on=there.lead)
    files[name] = history.with_score(file, Role.CHALLENGER, score)
    outlook = Outlook(files, there.incumbent, there.stack)
    if _is_accepted(past, name):
        return Ruling(
            Status.SCORED, Verdict.NONE, f"The lead, once more: {_standing(outlook, name)}."
        )
    figures = _figures(outlook, name)
    accepted = search.is_accepted(outlook, name)
    if accepted is None and name not in there.aside:
        return _goes_on(f"{figures}: it is run again.")
    if accepted:
        reason = f"{figures}: it leads, and is not proved yet."
        return Ruling(Status.ACCEPT, Verdict.ACCEPT, reason)
    return Ruling(Status.DISCARD, Verdict.DISCARD, f"{figures}: set aside.")


def _is_accepted(past: History, name: str) -> bool:
    """Whether an edit's trial is over, and its runs are those of a lead or incumbent."""
    there = past.progress()
    return name in (*there.stack, there.incumbent)


def _standing(outlook: Outlook, name: str) -> str:
    """What a file that leads has scored and how far ahead it is thought to be, in words."""
    return (
        f"{_mean(outlook, name)} against the incumbent's {_mean(outlook, outlook.incumbent)}: it "
        f"is thought to be {outlook.ahead(name):+.2f} deviations ahead"
    )


def _figures(outlook: Outlook, name: str) -> str:
    """What an edit has scored and what that is thought to be worth, in words."""
    whom = "incumbent" if outlook.lead == outlook.incumbent else "lead"
    one = outlook.files[name].looks < search.LOOKS
    needed = (search.LOOK_AGAIN if one else search.ACCEPT) - outlook.bonus(name)
    return (
        f"{_mean(outlook, name)} against the {whom}'s {_mean(outlook, outlook.lead)}: the expected "
        f"gain is {outlook.gain(name):+.2f} deviations, and {needed:+.2f} is needed to "
        f"{'be run again' if one else 'lead'}"
        f"{', for it makes the file simpler' if outlook.bonus(name) else ''}"
    )


def _mean(outlook: Outlook, name: str) -> str:
    """What a file has scored, in words: `5,278 (4 runs)`."""
    scores = outlook.files[name].scores
    return f"{statistics.fmean(scores):,.4g} ({_runs(len(scores))})"


def _confirmed(past: History, part: Part, score: float) -> Ruling:
    """The ruling on a run of a confirmation, by its score."""
    begun = _begun(past, part)
    if begun is None:
        return Ruling(Status.SCORED)
    places = [list(block) for block in layout.scores(past, begun)]
    _put(places, layout.place_of(part.replicate), score)
    files = past.files()
    file = files.get(part.commit) or File(part.commit)
    files[part.commit] = history.with_score(file, part.role, score)
    return _looked_at(past, begun, places, files)


def _begun(past: History, part: Part) -> ConfirmationBegun | None:
    """The confirmation that a run is of; None where that is over."""
    begun = past.progress().begun
    if begun is None or begun.lots is None or begun.harness != past.instrument:
        return None
    return begun if layout.confirmation_of(part.replicate) == begun.lots.number else None


def _put(places: list[list[float | None]], place: int, score: float) -> None:
    """A score in its place, counted from 1 over all blocks."""
    for block in places:
        if place <= len(block):
            block[place - 1] = score
            return
        place -= len(block)


def _looked_at(
    past: History,
    begun: ConfirmationBegun,
    places: Sequence[Sequence[float | None]],
    files: Mapping[str, File],
) -> Ruling:
    """What a confirmation decides with these scores: something only where a block is complete."""
    blocks, design = layout.blocks(begun, places), layout.design(past, begun)
    partly = any(score is not None for block in places[len(blocks) :] for score in block)
    if partly or not blocks:
        return _goes_on(_so_far(places))
    lots = begun.lots
    assert lots is not None
    said = confirmation.look(design, confirmation.raised(blocks, lots.margin))
    lead, incumbent = _sides(confirmation.raised(blocks))
    whom = "incumbent" if lots.incumbent == past.incumbent else "last file that was better"
    figures = (
        f"The lead has {statistics.fmean(lead):,.4g} and the {whom} "
        f"{statistics.fmean(incumbent):,.4g} in {_runs(len(lead))} each, side by side; "
        f"{_null(lots)} that with probability {said.chance:.2g}, where {said.allowed:.2g} is "
        f"allowed{_divided(design)}"
    )
    if said.kept:
        return Ruling(Status.KEEP, Verdict.KEEP, f"{figures}: {_proved(lots)}.")
    if len(blocks) == len(design.pairs):
        return Ruling(Status.UNPROVED, Verdict.UNPROVED, f"{figures}: not proved.")
    there = past.progress()
    if not _keeps_on(Outlook(files, there.incumbent, there.stack), lots):
        reason = f"{figures}: more runs would hardly prove it."
        return Ruling(Status.UNPROVED, Verdict.UNPROVED, reason)
    return _goes_on(f"{figures}: it goes on.")


def _so_far(places: Sequence[Sequence[float | None]]) -> str:
    """How far the first incomplete block is, in words."""
    for number, block in enumerate(places, start=1):
        done = sum(score is not None for score in block)
        if done < len(block):
            return f"Block {number}: {done} of {len(block)} runs."
    return ""


def _keeps_on(outlook: Outlook, lots: Lots) -> bool:
    """Whether more runs of a confirmation may prove what it asks for."""
    if lots.simpler:
        return search.keeps_on_simpler(outlook, lots.incumbent)
    return search.keeps_on(outlook)


def _divided(design: Design) -> str:
    """What runs that were cut off have cost, in words; nothing where there was none."""
    if design.picks == 1:
        return ""
    return f" (divided by {design.picks:,}, for runs were cut off)"


def _null(lots: Lots) -> str:
    """Who else would score so, in words."""
    if lots.simpler:
        return f"one that is worse by {_margin(lots)} does"
    return "lots alone do"


def _proved(lots: Lots) -> str:
    """What a confirmation has proved, in words."""
    if lots.simpler:
        lead, incumbent = lots.lines
        return (
            f"worse by less than {_margin(lots)}, and {lead} lines of code instead of {incumbent}"
        )
    return "proved"


def _margin(lots: Lots) -> str:
    return f"{lots.margin:,.4g} ({confirmation.TOLERANCE:g} deviations)"


def _sides(blocks: Sequence[confirmation.Block]) -> tuple[list[float], list[float]]:
    """The scores of the lead and those of the incumbent."""
    sides: dict[bool, list[float]] = {True: [], False: []}
    for block in blocks:
        for score, is_lead in zip(block.scores, block.lead, strict=True):
            sides[is_lead].append(score)
    return sides[True], sides[False]


def _goes_on(reason: str) -> Ruling:
    return Ruling(Status.SCORED, Verdict.GO_ON, reason)


def _failed(past: History, part: Part, status: Status) -> Ruling:
    """The ruling on a run without a score."""
    if status == Status.STOPPED:
        discarded = part.role == Role.CHALLENGER
        return Ruling(status, Verdict.DISCARD if discarded else Verdict.NONE)
    if part.role == Role.CHALLENGER and _is_accepted(past, part.challenger):
        return Ruling(status, reason=f"The lead, once more: it ended as {status}.")
    if not status.at_fault:
        return _cut_off(past, part, status)
    if part.role == Role.CHALLENGER:
        reason = f"Replicate {part.replicate} ended as {status}."
        return Ruling(status, Verdict.DISCARD, reason)
    if part.role == Role.CONFIRMATION:
        return _failed_beside(past, part, status)
    return Ruling(status)


def _failed_beside(past: History, part: Part, status: Status) -> Ruling:
    """The ruling on a file that failed in a confirmation."""
    begun = _begun(past, part)
    if begun is None:
        return Ruling(status)
    if part.commit == part.challenger:
        return Ruling(status, Verdict.UNPROVED, f"The lead ended as {status}.")
    places = [list(block) for block in layout.scores(past, begun)]
    _put(places, layout.place_of(part.replicate), float("inf"))
    said = _looked_at(past, begun, places, past.files())
    why = "The incumbent failed: its run counts as the highest of its block."
    return dataclasses.replace(said, status=status, reason=f"{why} {said.reason}")


def _cut_off(past: History, part: Part, status: Status) -> Ruling:
    """The ruling on a run that something else than its file has ended."""
    beside = part.role == Role.CONFIRMATION
    if beside:
        ended = layout.cut_off(past, layout.confirmation_of(part.replicate))
    else:
        ended = past.cut_off(part.role, part.challenger)
    if len(ended) + 1 >= LOSSES:
        return _too_often(part, status)
    begun = _begun(past, part) if beside else None
    if begun is None:
        return Ruling(status)
    design = layout.design(past, begun, more=1)
    if confirmation.can_keep(design.pairs, design.level, design.picks):
        return Ruling(status)
    reason = f"With a run that ended as {status} no order of its runs is rare enough to prove it."
    return Ruling(status, Verdict.UNPROVED, reason)


def _too_often(part: Part, status: Status) -> Ruling:
    """The ruling on a run that is the last one to be cut off."""
    often = f"cut off too often: {LOSSES} times, the last one as {status}."
    if part.role == Role.CHALLENGER:
        return Ruling(status, Verdict.DISCARD, f"Its runs were {often}")
    if part.role == Role.CONFIRMATION:
        return Ruling(status, Verdict.UNPROVED, f"The confirmation's runs were {often}")
    return Ruling(status)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
