"""How a checkout stands, from its ledger alone: its night, or its single runs."""

import contextlib
import dataclasses
from datetime import UTC, datetime
from pathlib import Path

from harness.checkout import branch, holder
from harness.errors import InputError
from harness.judgement import purpose, search
from harness.judgement.history import History
from harness.morning import aftermath, page, reader, singles
from harness.morning.charts import OUTCOMES, confirmed
from harness.morning.findings import Findings, figure
from harness.places import LEDGER
from harness.record import life
from harness.record.entries import ALONE, UNLIMITED, Fate, Run, Verdict, stamp
from harness.record.ledger import Ledger
from harness.record.snapshot import Snapshot
from harness.system import words

VERDICTS = 5
"""Of the latest experiments that are shown."""

REASON_LENGTH = 220
"""Characters of a reason that are shown."""

ASIDE = 22
"""Columns that are left free before what belongs to the line above."""

EDIT_SHOWN, RUN_SHOWN = 60, 40
"""Characters of the description of an edit, and of a run by itself."""

AGENT_LENGTH = 60
"""Characters of an agent's command that are shown."""

RUNS_LISTED = 10
"""Of the latest single runs."""


@dataclasses.dataclass(frozen=True)
class Status:
    """How a branch stands.

    Attributes:
      branch: its name.
      objective: its tasks; empty before its first run has ended.
      budget: seconds of a training; likewise.
      stopping: whether hopeless runs are stopped.
      num_seeds: policies that a training trains side by side.
      found: what its rows say; None while the baseline is measured.
      prospect: how far the lead is thought to be ahead, and what proves it, in words; empty where
        nothing leads.
      night: used and planned hours and runs, in words; empty without a night.
      unfinished: whether that night has hours and runs left.
      underway: runs that have begun and not ended: id, age in seconds, and what it is for.
    """

    branch: str
    objective: str
    budget: str
    stopping: bool
    num_seeds: int
    found: Findings | None
    prospect: str
    night: str
    unfinished: bool
    underway: list[tuple[str, float, str]]


def look(root: Path) -> list[str]:
    """How a checkout stands, in words, a line a thing, and who works there.

    Raises:
      InputError: nothing was run there.
      LedgerError: the ledger is damaged.
    """
    who = holder.at_work(root)
    at_work = f"at work: {who or 'nobody'}"
    if branch.current(root) is None and singles.are_all(root / LEDGER):
        return [*_of_singles(root), at_work]
    now = read(root)
    if now.unfinished and not who:
        at_work += "; the night has not ended, and harness.loop --resume continues it"
    if now.found and now.found.progress.begun and not who:
        at_work += (
            f"; confirmation {now.found.progress.confirmations} has not ended: the next command "
            "goes on with it, or python -m harness.run --confirm by itself"
        )
    return [*lines(now), at_work]


def read(root: Path) -> Status:
    """The status of the experiment branch that is checked out; else of the one worked on last.

    Raises:
      InputError: nothing was measured on any branch.
      LedgerError: the ledger is damaged.
    """
    ledger = Ledger(root / LEDGER)
    ledger.check()
    there = ledger.read()
    mine = [row for row in there.ended() if row.branch != ALONE]
    tag = branch.current(root)
    if not mine and tag is None:
        raise InputError(
            f"{LEDGER} has no experiment branch: harness.loop or harness.run --init begins one."
        )
    name = mine[-1].branch if tag is None else branch.PREFIX + tag
    found: Findings | None = None
    with contextlib.suppress(InputError):  # its baseline is not measured yet
        found = reader.read(root / LEDGER, name)
    past = History(there.entries, name, "")
    first = past.runs[0] if past.runs else None
    return Status(
        branch=name,
        objective=first.objective if first else "",
        budget=f"{first.budget:g}" if first else "",
        stopping=first.stopping if first else False,
        num_seeds=first.num_seeds if first else 1,
        found=found,
        prospect=aftermath.prospect(past.measured_by(found.instrument)) if found else "",
        night=_night(past),
        unfinished=_has_time(past),
        underway=_underway(root, there),
    )


def lines(now: Status) -> list[str]:
    """A status in words, a line a thing."""
    ends = "hopeless runs are stopped" if now.stopping else "no run is stopped"
    each = f" from {now.num_seeds} seeds" if now.num_seeds > 1 else ""
    said = [f"{now.branch}: {now.objective}, {now.budget} s of training a run{each}; {ends}"]
    if not now.objective:
        said = [f"{now.branch}: no run has ended yet"]
    if now.found is None:
        said.append("incumbent: the baseline is being measured")
    else:
        said += _of(now.found, now.prospect)
    if now.night:
        said.append(now.night)
    said += _running(now.underway)
    for e in reversed(now.found.experiments[-VERDICTS:] if now.found else []):
        word = OUTCOMES[e.outcome][2]
        said.append(f"  {e.number:>4} {word:<16} {words.shortened(e.description, EDIT_SHOWN)}")
        if e.reason:
            said.append(_below(e.reason))
    return said


def summary(now: Status) -> list[str]:
    """What a branch has come to by the end of a night, in words, a line a thing."""
    if now.found is None:
        return []
    made = page.proofs(now.found)
    return [
        f"{now.branch}, in all: {_tried(now.found)}{'; ' if made else ''}{made}",
        *_incumbent(now.found)[:1],
    ]


def _below(text: str) -> str:
    """What belongs to the line above."""
    return f"{'':{ASIDE}} {text[:REASON_LENGTH]}"


def _tried(found: Findings) -> str:
    """How many edits there were, and what they have come to."""
    return f"{words.counted(len(found.experiments), 'edit')}; {page.came(found, *_always(found))}"


def _incumbent(found: Findings) -> list[str]:
    """The incumbent's estimate, and from which runs it is."""
    incumbent = found.reigns[-1]
    said = f"{figure(incumbent.mean)} ({page.interval(incumbent)})"
    if incumbent.commit != found.progress.incumbent:
        return [f"incumbent: a new one is being measured; the last one was {said}"]
    lines = [f"incumbent: {said}"]
    if incumbent.commit in found.proved:
        lines.append(_below(
            "by runs after its proof; reasons have the mean of those before it, which flatter it"
        ))  # fmt: skip
    return lines


def _of(found: Findings, prospect: str = "") -> list[str]:
    """Incumbent, lead and confirmations of a branch, and what its experiments have come to."""
    said = _incumbent(found)
    if ahead := page.ahead(found):
        said.append(f"lead: {ahead}")
        tested = bool(found.confirmations) and found.confirmations[-1].verdict == Verdict.GO_ON
        said += [_below(prospect)] if prospect and not tested else []
    elif found.progress.made_on:
        said.append("lead: the incumbent; edits are made on it")
    said.append(f"tried: {_tried(found)}")
    if found.confirmations:
        last = found.confirmations[-1]
        made = f"{len(last.lead) + len(last.incumbent)} of at most {last.most} runs"
        said.append(
            f"confirmation {last.number} of the lead against the incumbent: "
            f"{confirmed(last)[1]}, {made}"
        )
        if last.reason:
            said.append(_below(last.reason))
    return said


def _always(found: Findings) -> list[Fate]:
    """What is counted even where there is none of it."""
    return [Fate.STOPPED] if found.stopping else []


def _of_singles(root: Path) -> list[str]:
    """The single runs of a checkout, in words.

    Raises:
      InputError: there is none.
      LedgerError: the ledger is damaged.
    """
    ledger = Ledger(root / LEDGER)
    ledger.check()
    there = ledger.read()
    runs, underway = singles.read(root / LEDGER), _underway(root, there)
    if not runs and not underway:
        raise InputError(
            f"There is no run in {root / LEDGER} yet: python -m harness.run makes one. Those of "
            "another checkout are shown in its root."
        )
    said = [f"single runs: {len(runs)}, and no experiment branch; score ± between episodes"]
    said += _running(underway)
    return said + [_of_single(run) for run in reversed(runs[-RUNS_LISTED:])]


def _of_single(run: Run) -> str:
    """A run in a line: when, what, and what came of it."""
    came = str(run.status)
    if run.avg_return is not None:
        came = f"{figure(run.avg_return)} ± {figure(run.std_return or 0.0)}"
    what = f"{run.task}, {run.budget:g} s"
    said = words.shortened(run.description, RUN_SHOWN)
    return f"  {stamp(run):%m-%d %H:%M} {what:<32} {came:<18} {said}"


def _running(underway: list[tuple[str, float, str]]) -> list[str]:
    """A line for each run that goes on."""
    return [
        f"running: {words.line(run_id)}, for {age:.0f} s: {what}" for run_id, age, what in underway
    ]


def _has_time(past: History) -> bool:
    """Whether the last night could go on: it has hours and runs left for an edit."""
    night = past.night()
    if night is None or night.plan is None:
        return False
    hours = (datetime.now(UTC) - stamp(night)).total_seconds() / 3600
    there, left = past.progress(), night.plan.runs - past.runs_since(night)
    return hours < night.plan.hours and not search.is_over(there.stack, left, there.level())


def _night(past: History) -> str:
    """What the last night was planned for, and what of it is used."""
    night = past.night()
    if night is None:
        return ""
    seconds = (datetime.now(UTC) - stamp(night)).total_seconds()
    runs, turns = past.runs_since(night), past.turns_since(night)
    used = f"{words.lasting(seconds)}, {words.counted(runs, 'run')}, {words.counted(turns, 'turn')}"
    if (plan := night.plan) is None:
        return f"night: {used}"
    end = f"{plan.hours:g} hours"
    end += f" or {plan.runs:,} runs" if plan.runs < UNLIMITED else ""
    return f"night: {words.line(plan.agent, AGENT_LENGTH)}: {used}; no new turn after {end}"


def _underway(root: Path, there: Snapshot) -> list[tuple[str, float, str]]:
    """Runs that go on, the youngest last."""
    now = datetime.now(UTC)
    return [
        (run.run_id, (now - stamp(run)).total_seconds(), purpose.told(run, there.entries))
        for run in there.open()
        if life.goes_on(root, run)
    ]
