"""How a night stands, from its ledger alone, wherever it runs."""

import contextlib
import dataclasses
from datetime import UTC, datetime
from pathlib import Path

from harness.checkout import branch
from harness.errors import InputError
from harness.judgement.history import CHALLENGER, INCUMBENT
from harness.morning import findings, page
from harness.morning.charts import OUTCOMES
from harness.morning.findings import Experiment, Findings, Reign, stamp
from harness.night.turns import AGENT, NIGHT, UNLIMITED, plan_of
from harness.places import LEDGER
from harness.record import life
from harness.record.ledger import Ledger
from harness.system import words

VERDICTS = 5
"""Of the latest experiments that are shown."""

AGENT_LENGTH = 60
"""Characters of an agent's command that are shown."""


@dataclasses.dataclass(frozen=True)
class Status:
    """How a branch stands.

    Attributes:
      branch: its name.
      objective: its tasks; empty before its first run has ended.
      budget: seconds of a training; likewise.
      incumbent: its estimate; None while the baseline is measured.
      experiments: all so far.
      night: used and planned hours and runs, in words; empty without a night.
      underway: runs that have begun and not ended: id and age in seconds.
    """

    branch: str
    objective: str
    budget: str
    incumbent: Reign | None
    experiments: list[Experiment]
    night: str
    underway: list[tuple[str, float]]


def read(root: Path) -> Status:
    """The status of the experiment branch that is checked out; else of the one worked on last.

    Raises:
      InputError: nothing was measured on any branch.
      LedgerError: the ledger is damaged.
    """
    ledger = Ledger(root / LEDGER)
    ledger.check()
    mine = [row for row in ledger.rows() if row.branch != "-"]
    tag = branch.current(root)
    if not mine and tag is None:
        raise InputError(
            f"{LEDGER} has no experiment branch: harness.loop or harness.run --init begins one."
        )
    name = mine[-1].branch if tag is None else branch.PREFIX + tag
    found: Findings | None = None
    with contextlib.suppress(InputError):  # its baseline is not measured yet
        found = findings.read(root / LEDGER, name)
    rows = [row for row in mine if row.branch == name]
    return Status(
        branch=name,
        objective=rows[0].objective if rows else "",
        budget=rows[0].budget if rows else "",
        incumbent=found.reigns[-1] if found else None,
        experiments=found.experiments if found else [],
        night=_night(rows),
        underway=_underway(root, ledger),
    )


def lines(now: Status) -> list[str]:
    """A status in words, a line a thing."""
    said = [f"{now.branch}: {now.objective}, {now.budget} s of training a run"]
    if not now.objective:
        said = [f"{now.branch}: no run has ended yet"]
    if now.incumbent is None:
        said.append("incumbent: the baseline is being measured")
    else:
        estimate = f"{page.figure(now.incumbent.mean)} ({page.interval(now.incumbent)})"
        kept = sum(e.outcome == "keep" for e in now.experiments)
        said += [f"incumbent: {estimate}", f"tried: {len(now.experiments)}, kept: {kept}"]
    if now.night:
        said.append(now.night)
    for run_id, age in now.underway:
        said.append(f"running: {words.line(run_id)}, for {age:.0f} s")
    for e in reversed(now.experiments[-VERDICTS:]):
        word = OUTCOMES[e.outcome][2]
        said.append(f"  {e.number:>4} {word:<12} {e.description[:60]}")
        if e.reason:
            said.append(f"{'':18} {e.reason[:110]}")
    return said


def _night(rows: list) -> str:
    """What the last night was planned for, and what of it is used."""
    begun = [i for i, row in enumerate(rows) if row.role == NIGHT]
    if not begun:
        return ""
    plan = plan_of(rows[begun[-1]])
    after = rows[begun[-1] :]
    hours = (datetime.now(UTC) - stamp(after[0])).total_seconds() / 3600
    runs = sum(row.role in (CHALLENGER, INCUMBENT) for row in after)
    turns = sum(row.role == AGENT for row in after)
    used = f"{hours:.1f} hours, {runs} runs, {turns} turns"
    if plan is None:
        return f"night: {used}"
    end = f"{plan.hours:g} hours"
    end += f" or {plan.runs:,} runs" if plan.runs < UNLIMITED else ""
    return f"night: {words.line(plan.agent, AGENT_LENGTH)}: {used}; no new turn after {end}"


def _underway(root: Path, ledger: Ledger) -> list[tuple[str, float]]:
    """Runs that go on, the youngest last."""
    now = datetime.now(UTC)
    return [
        (row.run_id, (now - stamp(row)).total_seconds())
        for row in ledger.open()
        if life.goes_on(root, row)
    ]
