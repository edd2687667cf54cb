"""A night: an agent's edits, one after the other, until the hours or the runs are used up.

The ledger is the only memory. A night begins with a row of its own; every turn of the agent leaves
one, whatever came of it; and what a kill has left half done is finished before anything new begins.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness import agents, brief, contest, integrity, tuners
from harness.agents import Turn
from harness.brief import Situation
from harness.contest import Contest
from harness.errors import InputError, PolicyError, TrainingError
from harness.history import CHALLENGER, FINAL, INCUMBENT, NAME_LENGTH
from harness.ledger import FILE, Ledger, Row

AGENT, NIGHT = "agent", "night"
"""Roles of rows that are no runs: a turn of the agent; the beginning of a night."""

REPAIRS = 2
"""Turns in a row that an agent gets to repair a file that failed."""

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
"""Seconds after a first bad turn of the same kind in a row, doubled with each further one: a rate
limit, or a command that only fails."""

PATIENCE = 20
"""Bad turns in a row after which the night ends: the agent is not there."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a night was asked for; its first row holds it.

    Attributes:
      agent: a preset, a shell command, or one of `tuners.TUNERS`.
      hours: after which no new turn begins.
      runs: after which no new turn begins.
      agent_seconds: that a turn of the agent may take.
    """

    agent: str
    hours: float
    runs: int
    agent_seconds: float


class Night:
    """One night on an experiment branch.

    Args:
      ongoing: the branch's contest.
      plan: of the night; None goes on with the one that the ledger has.
      say: called with one line for each event.
      wait: `time.sleep`, or something that does not wait.
    """

    def __init__(
        self,
        ongoing: Contest,
        plan: Plan | None,
        say: Callable[[str], None] = lambda line: None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._contest = ongoing
        self._root = ongoing.branch.root
        self._ledger = Ledger(self._root / FILE)
        self._say, self._wait = say, wait
        self._plan = plan

    def run(self) -> None:
        """Go on until the night is over.

        Raises:
          InputError: there is no night to go on with.
          HarnessError: the incumbent cannot be measured.
        """
        self._contest.settle()
        self._contest.measure()
        self._finish_trial()
        plan = self._plan or self._recorded()
        if self._plan is not None:
            self._record(NIGHT, "night", reason=json.dumps(dataclasses.asdict(plan)), turn=0)
        while (why := self._over(plan)) is None:
            self._turn(plan)
        self._say(f"the night is over: {why}")

    def _turn(self, plan: Plan) -> None:
        """One edit, tried to its verdict; or a bad turn, written down."""
        number = len(self._turns()) + 1
        turn = self._ask(plan, number)
        turn = dataclasses.replace(turn, forbidden=(*turn.forbidden, *self._put_back()))
        self._record(AGENT, turn.status, turn=number, made=turn)
        self._say(f"turn {number}: {turn.status}: {turn.description}")
        if turn.status in (agents.WAITING, agents.FAILED):
            self._back_off(turn.status)
        elif turn.status == agents.EDITED and turn.edit is not None:
            self._try(turn.edit, turn.description, number)

    def _ask(self, plan: Plan, number: int) -> Turn:
        branch, past = self._contest.branch, self._contest.history
        tip = branch.edit_of("tip")
        if plan.agent in tuners.TUNERS:
            begin = time.monotonic()
            edit, line = tuners.suggest(plan.agent, tip, list(self._tried()), number)
            status = agents.NO_EDIT if edit == tip else agents.EDITED
            return Turn(status, edit, line, seconds=time.monotonic() - begin)
        failed = self._failed()
        situation = Situation(
            estimate=contest.estimate(past.fresh()),
            left=self._left(plan),
            repair=failed[1] if failed else "",
            note=self._note(),
        )
        text = brief.write(self._root, past, situation)
        start = failed[0] if failed else tip
        return agents.call(
            plan.agent, self._root, branch.tip, start, text, number, plan.agent_seconds
        )

    def _try(self, edit: bytes, description: str, number: int) -> None:
        """Try an edit to its verdict; one that fails has its rows, and its repair comes next."""
        try:
            outcome = self._contest.challenge(description, edit)
        except (TrainingError, PolicyError) as error:
            self._say(f"turn {number}: failed: {str(error).splitlines()[0]}")
        else:
            self._say(f"turn {number}: {outcome.verdict}: {outcome.reason}")

    def _failed(self) -> tuple[bytes, str] | None:
        """The file of the last turn and its error, where it failed and may be repaired."""
        errors = [self._error(row) for row in self._turns()[-REPAIRS - 1 :]]
        if not errors or errors[-1] is None or (len(errors) > REPAIRS and all(errors)):
            return None
        last = self._turns()[-1]
        return (self._folder(last) / "train.py").read_bytes(), errors[-1]

    def _error(self, turn: Row) -> str | None:
        """What the edit of a turn failed with; None where it did not, or there was none."""
        if turn.status == agents.BROKEN:
            return self._made(turn)["detail"]
        trial = self._trial(turn)
        if turn.status == agents.EDITED and trial and trial[-1].status in ("crash", "timeout"):
            return (self._folder(trial[-1]) / "error.txt").read_text()
        return None

    def _trial(self, turn: Row) -> list[Row]:
        """The runs of the challenger that a turn has made."""
        rows = self._contest.history.rows
        after = rows[rows.index(turn) + 1 :]
        found = []
        for row in after:
            if row.role == AGENT:
                break
            if row.role == CHALLENGER:
                found.append(row)
        return found

    def _folder(self, row: Row) -> Path:
        return self._root / "runs" / row.run_id

    def _made(self, turn: Row) -> dict:
        return json.loads((self._folder(turn) / "turn.json").read_text())

    def _note(self) -> str:
        """What the next brief says of the last turn."""
        turns = self._turns()
        return _note(turns[-1].status, self._made(turns[-1])) if turns else ""

    def _finish_trial(self) -> None:
        """Take up the trial that a kill has cut off, or that it has kept from beginning."""
        turns = self._turns()
        if not turns or turns[-1].status != agents.EDITED:
            return
        trial = self._trial(turns[-1])
        if not trial or trial[-1].verdict not in FINAL:
            edit = (self._folder(turns[-1]) / "train.py").read_bytes()
            self._try(edit, turns[-1].description, int(turns[-1].replicate))

    def _put_back(self) -> list[str]:
        """Undo what the agent changed in the checkout itself, keeping a copy; the paths."""
        return integrity.put_back(self._root, self._root / "runs" / "tampered")

    def _turns(self) -> list[Row]:
        return [row for row in self._contest.history.rows if row.role == AGENT]

    def _tried(self) -> Iterator[tuple[bytes, float]]:
        """Every training file that was run, and the mean of its scores."""
        past, branch = self._contest.history, self._contest.branch
        scores = {past.rows[0].commit: past.scores(INCUMBENT, past.rows[0].commit)}
        for row in past.rows:
            if row.role == CHALLENGER and row.scored:
                scores[row.challenger] = past.scores(CHALLENGER, row.challenger)
        for commit, values in scores.items():
            if values:
                yield branch.edit_of(commit), sum(values) / len(values)

    def _record(
        self, role: str, status: str, turn: int, reason: str = "", made: Turn | None = None
    ) -> None:
        """A row for an event, and what belongs to it in `runs/`."""
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{role}{turn}"
        if made is not None:
            reason = _summary(made)
            folder = self._root / "runs" / run_id
            folder.mkdir(parents=True)
            details = {k: v for k, v in dataclasses.asdict(made).items() if k != "edit"}
            (folder / "turn.json").write_text(json.dumps(details, indent=1))
            if made.edit is not None:
                (folder / "train.py").write_bytes(made.edit)
        row = dataclasses.replace(
            self._contest.history.rows[0],  # the branch's conditions
            commit=self._contest.branch.tip[:NAME_LENGTH],
            avg_return="",
            status=status,
            description=made.description if made else "",
            run_id=run_id,
            seed="",
            challenger="-",
            replicate=str(turn),
            std_return="",
            verdict="none",
            role=role,
            reason=reason,
        )
        self._ledger.append(row)

    def _recorded(self) -> Plan:
        """The plan of the night that the ledger knows last.

        Raises:
          InputError: it knows none.
        """
        rows = [row for row in self._contest.history.rows if row.role == NIGHT]
        if not rows:
            raise InputError(
                "There is no night on this branch to go on with; begin one with --agent."
            )
        return Plan(**json.loads(rows[-1].reason))

    def _over(self, plan: Plan) -> str | None:
        """Why no new turn begins; None while one may."""
        hours, runs = self._used()
        if hours >= plan.hours:
            return f"{plan.hours:g} hours have passed"
        if runs >= plan.runs:
            return f"{runs} runs were made"
        turns = self._turns()[-PATIENCE:]
        if len(turns) == PATIENCE and not any(row.status == agents.EDITED for row in turns):
            return (
                f"{PATIENCE} turns in a row brought no edit; the last ended as {turns[-1].status}"
            )
        return None

    def _used(self) -> tuple[float, int]:
        """Hours and runs since the night began."""
        rows = self._contest.history.rows
        begun = max(i for i, row in enumerate(rows) if row.role == NIGHT)
        stamp = "-".join(rows[begun].run_id.split("-")[:2])
        start = datetime.strptime(stamp, "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        runs = sum(row.role in (CHALLENGER, INCUMBENT) for row in rows[begun:])
        return (datetime.now(UTC) - start).total_seconds() / 3600, runs

    def _left(self, plan: Plan) -> str:
        hours, runs = self._used()
        return f"{max(plan.hours - hours, 0):.1f} hours, {max(plan.runs - runs, 0)} runs"

    def _back_off(self, status: str) -> None:
        """Wait, twice as long after each further turn of the kind."""
        turns = self._turns()
        again = 0
        while again < len(turns) and turns[-1 - again].status == status:
            again += 1
        seconds = min(FIRST_WAIT * 2 ** (again - 1), LONGEST_WAIT)
        self._say(f"waiting {seconds:.0f} s")
        self._wait(seconds)


def _summary(turn: Turn) -> str:
    """Time, tokens and cost of a turn, and what was wrong with it, in one line."""
    parts = [f"{turn.seconds:.1f} s"]
    if turn.tokens is not None:
        parts.append(f"{turn.tokens} tokens")
    if turn.cost is not None:
        parts.append(f"${turn.cost:.2f}")
    if turn.forbidden:
        parts.append(f"not taken: {', '.join(turn.forbidden[:10])}")
    if turn.status not in (agents.EDITED, agents.NO_EDIT):
        parts.append(" ".join(turn.detail.split())[-200:])
    return "; ".join(parts)


def _note(status: str, made: dict) -> str:
    """What an agent is told of its last turn."""
    notes = {
        agents.NO_EDIT: "You left agent_space/train.py as it was.",
        agents.HUNG: "You were ended: the time for a turn was used up before the file was changed.",
        agents.FAILED: "Your command failed before the file was changed.",
        agents.BROKEN: f"Your edit is no Python: {made['detail']}",
    }
    forbidden = ", ".join(made["forbidden"])
    taken = f" You changed {forbidden}; that was not taken." if forbidden else ""
    return (notes.get(status, "") + taken).strip()
