"""What the rows of the ledger say, each kind with its types.

A row is a run, a turn of an agent, the beginning of a night or of a confirmation, or says that a
lead fell back, that an edit makes the file simpler, or that the ledger was renewed.
It is parsed once, when the ledger is read, and formatted once, when it is appended: between the two
nobody handles texts. Which kind it is, its cells `role` and `status` say.
"""

import dataclasses
import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.contract import schema
from harness.contract.schema import SchemaError
from harness.system import words

ALONE = "-"
"""In the place of a branch, a role or a commit: there is none."""


class Status(enum.StrEnum):
    """How a run stands: begun, with a score, or without one.

    `stopped` is a run that the rule has ended because it looked hopeless. That is a decision: the
    file is at no fault, nothing has cut the run off, and it is not made again.
    """

    BEGUN = "begun"
    SCORED = "scored"
    ACCEPT = "accept"
    KEEP = "keep"
    UNPROVED = "unproved"
    DISCARD = "discard"
    CRASH = "crash"
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    TAMPERED = "tampered"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    INCONCLUSIVE = "inconclusive"

    @property
    def at_fault(self) -> bool:
        """Whether the file itself has ended the run."""
        return self in (Status.CRASH, Status.TIMEOUT)

    @property
    def cut_off(self) -> bool:
        """Whether neither the file nor a decision has ended the run: it is made again."""
        others = Status.TAMPERED, Status.INTERRUPTED, Status.LOST, Status.INCONCLUSIVE
        return self in others

    @property
    def decided(self) -> bool:
        """Whether it says what the run has decided, and not how it ended."""
        return self.value in {verdict.value for verdict in Verdict}


class Verdict(enum.StrEnum):
    """What a run has decided.

    Of an edit: `accept` makes it the lead, `discard` sets it aside. Of a confirmation: `keep` makes
    the lead the incumbent, `unproved` does not. In a branch that was begun before there were leads,
    `keep` is an edit's.
    """

    NONE = "none"
    GO_ON = "go on"
    ACCEPT = "accept"
    KEEP = "keep"
    UNPROVED = "unproved"
    DISCARD = "discard"
    INCONCLUSIVE = "inconclusive"

    @property
    def final(self) -> bool:
        """Whether it ends what the run was made for: an edit's trial, or a confirmation."""
        return self not in (Verdict.NONE, Verdict.GO_ON)


class Role(enum.StrEnum):
    """What a run on a branch is made for.

    `challenger`: an edit, on trial or looked at again; `incumbent`: the proved file;
    `confirmation`: the lead or the incumbent, side by side; `estimate`: the incumbent, for no
    decision; `ablation`: a file with and without one of its edits, which decides nothing;
    `transfer`: a file on any task, likewise.
    """

    NONE = ALONE
    CHALLENGER = "challenger"
    INCUMBENT = "incumbent"
    CONFIRMATION = "confirmation"
    ESTIMATE = "estimate"
    ABLATION = "ablation"
    TRANSFER = "transfer"


class Ending(enum.StrEnum):
    """How a turn of an agent ends."""

    EDITED = "edit"
    NO_EDIT = "no-edit"
    HUNG = "hung"
    FAILED = "agent-crash"
    WAITING = "rate-limited"
    BROKEN = "broken"  # an edit that is no Python
    ABSENT = "no-agent"  # there is no such program


class Fate(enum.StrEnum):
    """What became of an experiment.

    `keep`: it is proved; `simpler`: it is in a file that was kept because it is as good as the one
    before it, and simpler; `accept`: it leads, or is under what leads, and is not proved yet;
    `set back`: it led, and the lead fell back behind it; `crash`: it failed, and was reverted;
    `stopped`: it was, because its run looked hopeless.
    """

    KEEP = "keep"
    SIMPLER = "simpler"
    ACCEPT = "accept"
    SET_BACK = "set back"
    DISCARD = "discard"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"
    CRASH = "crash"
    ON_TRIAL = "on trial"


AGENT, NIGHT, LOTS, LEAD, SIMPLER = "agent", "night", "lots", "lead", "simpler"
RENEWED = "renewed"
"""Cells of rows that are no runs: the roles of a turn, a night, the beginning of a confirmation, a
lead that was set back and an edit that makes the file simpler; a renewal's status."""

FORMATS = {"avg_return": ".4f", "std_return": ".4f", "startup": ".2f"}
"""Of figures that are measured; others are written as they were given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """What all rows have.

    Attributes:
      run_id: the folder in `runs/`; begins with the time.
      commit: short hash of the checkout, `+` after it where files were changed; `-` without git.
        On a branch it is that of the file which ran, or of the incumbent.
      description: one line of text, from the user or an agent.
      branch: the experiment branch; `-` for what belongs to none.
      harness: what measured: the fingerprint of the harness, and the hardware.
    """

    run_id: str
    commit: str
    description: str = ""
    branch: str = ALONE
    harness: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Entry):
    """A run, begun or ended.

    Attributes:
      task: its Gymnasium id.
      status: `begun` in its first row.
      avg_return: mean over the episodes; None where there is no score.
      std_return: over the episodes; likewise.
      seed: of the training; None where the run was refused before it began.
      challenger: which edit the run was made for.
      replicate: which of the runs of its role that were made for this edit, from 1.
      budget: seconds.
      backend: that trained it.
      comparable: not where seed, budget, episodes or file were given by hand.
      verdict: `none` for a run that is not judged.
      sandbox: how training and evaluation were confined; `none` if they were not.
      role: on its branch.
      objective: all tasks of the branch, with commas.
      episodes: of the evaluation; 0 where the ledger was begun without this column.
      reason: of the verdict, in words.
      startup: seconds from the start of the training process to that of the clock; None where
        nothing is known of it, or the ledger was begun without this column.
      stopping: whether hopeless runs of the branch are stopped; not where the ledger was begun
        without this column.
    """

    task: str
    status: Status
    avg_return: float | None = None
    std_return: float | None = None
    seed: int | None = None
    challenger: str = ""
    replicate: int = 1
    budget: float
    backend: str
    comparable: bool
    verdict: Verdict = Verdict.NONE
    sandbox: str = ""
    role: Role = Role.NONE
    objective: str = ""
    episodes: int = 0
    reason: str = ""
    startup: float | None = None
    stopping: bool = False

    @property
    def scored(self) -> bool:
        """Whether the run has a score."""
        return self.avg_return is not None

    @property
    def begun(self) -> bool:
        """Whether this is the first of its two rows."""
        return self.status == Status.BEGUN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn(Entry):
    """A turn of an agent.

    Attributes:
      number: of the branch's turns, from 1.
      status: how it ended.
      challenger: the edit that it has brought; None if none.
      reason: time, tokens and cost, and what was wrong with it, in words.
    """

    number: int
    status: Ending
    challenger: str | None = None
    reason: str = ""


UNLIMITED = 1_000_000
"""Runs of a night whose hours alone end it."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a night was asked for.

    Attributes:
      agent: a preset, a shell command, or the name of a tuner.
      hours: after which no new turn begins.
      runs: after which no new turn begins.
      agent_seconds: that a turn of the agent may take.
    """

    agent: str
    hours: float
    runs: int
    agent_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class NightBegun(Entry):
    """The beginning of a night.

    Attributes:
      plan: of it; None where the row holds none.
    """

    plan: Plan | None


@dataclasses.dataclass(frozen=True)
class Lots:
    """What is fixed before the first run of a confirmation.

    Attributes:
      number: which confirmation of the branch's life it is, from 1.
      incumbent: its commit.
      level: how often what changes nothing may be kept.
      jump: by how much the lead is thought to be better, in scores.
      blocks: for each block and each of its places, in order, 1 if the lead runs there, else 0.
      ways: the seed of the random ways to hand out the places, where there are too many for all.
      margin: by less than how much, in scores, the lead is to be worse; 0 where it is to be better.
      lines: of code, of the lead and of the incumbent; none where it is to be better.
    """

    number: int
    incumbent: str
    level: float
    jump: float
    blocks: list[list[int]]
    ways: int = 0
    margin: float = 0.0
    lines: list[int] = dataclasses.field(default_factory=list)

    @property
    def simpler(self) -> bool:
        """Whether it asks if the lead is as good and simpler, and not if it is better."""
        return self.margin > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfirmationBegun(Entry):
    """The beginning of a confirmation; its runs follow.

    Attributes:
      challenger: the lead that it is about.
      lots: None where the row holds none.
    """

    challenger: str
    lots: Lots | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetBack(Entry):
    """A lead that fell back.

    Attributes:
      challenger: the lead from here on; the incumbent if none is left.
      reason: in words.
    """

    challenger: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simpler(Entry):
    """An edit after which the file is simpler, before its first run.

    Attributes:
      challenger: the edit.
      reason: lines of code after and before it, in words.
    """

    challenger: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Renewed(Entry):
    """The first row of a ledger in the place of another one.

    Attributes:
      reason: names the end of that one.
    """

    run_id: str = ""
    commit: str = ALONE
    reason: str


def stamp(entry: Entry) -> datetime:
    """When it began.

    Raises:
      ValueError: its id does not say.
    """
    return datetime.strptime(entry.run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)


def parse(cells: Mapping[str, str]) -> Entry:
    """What the cells of a row say, by their columns; a column that was added later may lack.

    Raises:
      SchemaError: a cell makes no sense; the message names it.
    """
    if cells.get("role") == AGENT:
        challenger = cells["challenger"].replace(ALONE, "")
        own = {"number": cells["replicate"], "challenger": challenger}
        return _parsed(Turn, {**cells, **own})
    if cells.get("role") == NIGHT:
        shared = _parsed(Entry, cells)
        return NightBegun(**vars(shared), plan=_packed(Plan, cells.get("reason", "")))
    if cells.get("role") == LOTS:
        shared = _parsed(Entry, cells)
        lots = _packed(Lots, cells.get("reason", ""))
        return ConfirmationBegun(**vars(shared), challenger=cells["challenger"], lots=lots)
    if cells.get("role") == LEAD:
        return _parsed(SetBack, cells)
    if cells.get("role") == SIMPLER:
        return _parsed(Simpler, cells)
    return _parsed(Renewed if cells["status"] == RENEWED else Run, cells)


def cells(entry: Entry) -> dict[str, str]:
    """The cells of a row, by their columns; what its kind does not have is left out."""
    match entry:
        case Turn():
            renamed: dict[str, Any] = {"role": AGENT, "replicate": entry.number}
            renamed["challenger"] = entry.challenger or ALONE
        case NightBegun():
            renamed = {"role": NIGHT, "status": NIGHT, "reason": _text_of(entry.plan)}
        case ConfirmationBegun():
            renamed = {"role": LOTS, "status": LOTS, "reason": _text_of(entry.lots)}
        case SetBack():
            renamed = {"role": LEAD, "status": LEAD}
        case Simpler():
            renamed = {"role": SIMPLER, "status": SIMPLER}
        case Renewed():
            renamed = {"role": ALONE, "status": RENEWED}
        case _:
            renamed = {}
    return {name: _text(name, value) for name, value in {**vars(entry), **renamed}.items()}


def _parsed(kind: Any, cells: Mapping[str, str]) -> Any:
    names = _names(kind)
    return schema.parsed(kind, {name: text for name, text in cells.items() if name in names})


def _names(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def _packed(kind: Any, text: str) -> Any:
    """What a cell holds of a kind; None where it holds none."""
    try:
        given = json.loads(text)
        return schema.decoded(kind, given) if isinstance(given, dict) else None
    except (SchemaError, ValueError, RecursionError):
        return None


def _text_of(there: Any) -> str:
    """A cell that holds a dataclass; empty for None."""
    return words.packed(dataclasses.asdict(there)) if there else ""


def _text(name: str, value: Any) -> str:
    """One cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:{FORMATS.get(name, 'g')}}"
    return words.line(str(value))
