"""A night: an agent's edits, one after the other, until the hours or the runs are used up.

The ledger is the only memory. A night begins with a row of its own; every turn of the agent leaves
one, whatever came of it; and what a kill has left half done is finished before anything new begins.
"""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

from harness.checkout import integrity
from harness.errors import (
    InputError,
    IntegrityError,
    LedgerError,
    PolicyError,
    StorageError,
    TrainingError,
)
from harness.judgement import contest
from harness.judgement.contest import LOST_RUNS, Contest
from harness.judgement.history import CHALLENGER, INCUMBENT, NAME_LENGTH
from harness.night import agents, brief, tuners
from harness.night.agents import Turn
from harness.night.brief import Situation
from harness.places import ERROR, LEDGER, RUNS, TRAIN_FILE, TURN, run_folder
from harness.record.ledger import Ledger, Row
from harness.system import words

AGENT, NIGHT = "agent", "night"
"""Roles of rows that are no runs: a turn of the agent; the beginning of a night."""

REPAIRS = 2
"""Turns in a row that an agent gets to repair a file that failed."""

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
"""Seconds after a first bad turn of the same kind in a row, doubled with each further one: a rate
limit, or a command that only fails."""

LISTED = 10
"""Paths in a row or a brief: an agent may have made thousands."""

PATIENCE = 20
"""Bad turns in a row after which the night ends: the agent is not there."""

ATTEMPTS = contest.LOSSES - 1
"""To go on with a trial that something else than its file has stopped: one more would end it."""

UNLIMITED = 1_000_000
"""Runs of a night whose hours alone end it."""


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


@dataclasses.dataclass(frozen=True)
class _Trial:
    """A turn's number, the challenger that it has made (None if none), and its description."""

    number: int
    challenger: str | None
    description: str


@dataclasses.dataclass(frozen=True)
class _Failure:
    """A turn whose edit failed: its number, its file, and the error."""

    number: int
    edit: bytes
    error: str


class Night:
    """One night on an experiment branch.

    Args:
      ongoing: the branch's contest.
      plan: of the night; None goes on with the one that the ledger has.
      say: called with one line for each event.
      pause: waits so many seconds, or does not.
    """

    def __init__(
        self,
        ongoing: Contest,
        plan: Plan | None,
        say: Callable[[str], None] = lambda line: None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._contest = ongoing
        self._root = ongoing.branch.root
        self._ledger = Ledger(self._root / LEDGER)
        self._say = say
        self._plan = plan
        self._unfinished: list[_Trial] = []
        self._earlier = 0  # turns that were there when we began, or went on
        self._asking = threading.Lock()  # one agent at a time, and one event after the other
        self._ending = threading.Event()
        self._pause = pause or self._ending.wait

    def run(self) -> None:
        """Go on until the night is over.

        Raises:
          InputError: there is no night to go on with.
          HarnessError: the incumbent cannot be measured.
        """
        plan = self._plan or self._recorded()  # told before hours of runs, where there is none
        self._contest.settle()
        before = {row.harness for row in self._contest.history.rows[-1:]}
        if before - {self._contest.site.instrument}:
            self._say("harness or hardware are not those of the last run: measuring anew")
        self._contest.measure()
        self._unfinished = self._cut_off()
        self._earlier = len(self._turns())
        if self._plan is not None:
            self._record(NIGHT, "night", reason=words.packed(dataclasses.asdict(plan)), turn=0)
        self._serve(plan) if self._contest.site.slots == 1 else self._serve_together(plan)
        self._say(f"the night is over: {self._over(plan)}")

    def _serve_together(self, plan: Plan) -> None:
        """As many trials at a time as there are slots, and one agent."""
        with ThreadPoolExecutor(self._contest.site.slots) as pool:
            servers = [pool.submit(self._serve, plan) for _ in range(self._contest.site.slots)]
            try:
                for server in wait(servers, return_when=FIRST_EXCEPTION).done:
                    server.result()
            except BaseException:
                self._ending.set()
                self._contest.site.stop()
                raise

    def _serve(self, plan: Plan) -> None:
        """One trial after the other, until no new one may begin."""
        while not self._ending.is_set():
            with self._asking:
                trial = self._next(plan)
            if trial is None:
                return
            if trial.challenger is not None:
                self._try(trial)

    def _next(self, plan: Plan) -> "_Trial | None":
        """The next trial: one that was cut off, or what the agent comes up with."""
        if self._unfinished:
            return self._unfinished.pop(0)
        if self._over(plan) is not None:
            return None
        number = len(self._turns()) + 1
        turn = self._ask(plan, number)
        turn = dataclasses.replace(turn, forbidden=(*turn.forbidden, *self._put_back()))
        challenger = None
        if turn.status == agents.EDITED and turn.edit is not None:
            challenger = self._contest.enter(turn.edit, turn.description)
        self._record(AGENT, turn.status, turn=number, made=turn, challenger=challenger or "-")
        self._say(f"turn {number}: {turn.status}: {turn.description}")
        if turn.status in (agents.WAITING, agents.FAILED):
            self._back_off(plan, turn.status)
        return _Trial(number, challenger, turn.description)

    def _ask(self, plan: Plan, number: int) -> Turn:
        self._contest.measure()  # another trial may just have made a new incumbent
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
            repair=failed.error if failed else "",
            note=self._note(),
        )
        text = brief.write(self._root, past, situation)
        start = failed.edit if failed else tip
        made = agents.call(
            plan.agent,
            self._root,
            branch.tip,
            start,
            text,
            number,
            plan.agent_seconds,
            self._ending,
        )
        if made.edit == tip:
            made = dataclasses.replace(made, status=agents.NO_EDIT, edit=None)
        return dataclasses.replace(made, repairs=failed.number if failed else None)

    def _try(self, trial: "_Trial") -> None:
        """Take a trial to its verdict; one that fails has its rows, and may be repaired.

        Raises:
          HarnessError: something else than its file has stopped it, again and again.
        """
        assert trial.challenger is not None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                outcome = self._contest.pursue(trial.challenger, trial.description)
            except (TrainingError, PolicyError, *LOST_RUNS) as error:
                self._say(f"turn {trial.number}: failed: {str(error).splitlines()[0]}")
            except (IntegrityError, StorageError) as error:
                if attempt == ATTEMPTS:
                    raise
                self._say(f"turn {trial.number}: once more: {str(error).splitlines()[0]}")
                with self._asking:  # while no agent works, whose changes the next turn is told of
                    self._put_back()
                continue
            else:
                self._say(f"turn {trial.number}: {outcome.verdict}: {outcome.reason}")
            return

    def _cut_off(self) -> list["_Trial"]:
        """The trials that a kill has cut off; one that belongs to no turn is withdrawn."""
        past = self._contest.history
        turns = {row.challenger: row for row in self._turns()}
        found = []
        for challenger in self._contest.branch.trials:
            turn = turns.get(challenger[:NAME_LENGTH])
            if turn is None:
                self._contest.withdraw(challenger)
            elif past.verdict(challenger) is None:
                found.append(_Trial(int(turn.replicate), challenger, turn.description))
        return sorted(found, key=lambda trial: trial.number)

    def _failed(self) -> "_Failure | None":
        """What failed last, is not repaired yet, and may be."""
        turns = self._turns()
        repairs = {int(turn.replicate): self._made(turn).get("repairs") for turn in turns}
        for turn in reversed(turns[-self._contest.site.slots :]):
            number = int(turn.replicate)
            error = self._error(turn)
            if error is None or number in repairs.values():
                continue
            chain = [number]
            while (earlier := repairs.get(chain[-1])) is not None:
                chain.append(earlier)
            file = self._folder(turn) / TRAIN_FILE
            if len(chain) <= REPAIRS and file.exists():
                return _Failure(number, file.read_bytes(), error)
        return None

    def _error(self, turn: Row) -> str | None:
        """What the edit of a turn failed with; None where it did not, or there was none."""
        if turn.status == agents.BROKEN:
            return self._made(turn).get("detail", turn.reason)
        trial = self._trial(turn)
        if turn.status == agents.EDITED and trial and trial[-1].status in ("crash", "timeout"):
            file = self._folder(trial[-1]) / ERROR
            return words.decoded(file.read_bytes()) if file.exists() else trial[-1].reason
        return None

    def _trial(self, turn: Row) -> list[Row]:
        """The runs of the challenger that a turn has made."""
        rows = self._contest.history.rows
        return [r for r in rows if r.role == CHALLENGER and r.challenger == turn.challenger]

    def _folder(self, row: Row) -> Path:
        return run_folder(self._root, row.run_id)

    def _made(self, turn: Row) -> dict:
        """What a turn left; nothing where its folder was deleted, as a user may."""
        try:
            return json.loads((self._folder(turn) / TURN).read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def _note(self) -> str:
        """What the next brief says of the last turn."""
        turns = self._turns()
        return _note(turns[-1].status, self._made(turns[-1])) if turns else ""

    def _put_back(self) -> list[str]:
        """Undo what was changed in the checkout itself, keeping a copy; the paths."""
        copies = self._root / RUNS / "tampered" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        paths = integrity.put_back(self._root, copies)
        if paths:
            self._say(f"put back what was changed in the checkout: {_listed(paths)}. Copies are in "
                      f"{copies}; what is yours, commit.")  # fmt: skip
        return paths

    def _turns(self) -> list[Row]:
        """All turns on the branch, those of earlier nights included."""
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
        self,
        role: str,
        status: str,
        turn: int,
        reason: str = "",
        made: Turn | None = None,
        challenger: str = "-",
    ) -> None:
        """A row for an event, and what belongs to it in `runs/`."""
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{role}{turn}"
        if made is not None:
            reason = _summary(made)
            folder = run_folder(self._root, run_id)
            folder.mkdir(parents=True)
            details = {k: v for k, v in dataclasses.asdict(made).items() if k != "edit"}
            (folder / TURN).write_text(json.dumps(details, indent=1))
            if made.edit is not None:
                (folder / TRAIN_FILE).write_bytes(made.edit)
        row = dataclasses.replace(
            self._contest.history.rows[0],  # the branch's conditions
            commit=self._contest.branch.tip[:NAME_LENGTH],
            avg_return="",
            status=status,
            description=made.description if made else "",
            run_id=run_id,
            seed="",
            challenger=challenger[:NAME_LENGTH],
            replicate=str(turn),
            std_return="",
            verdict="none",
            role=role,
            harness=self._contest.site.instrument,
            reason=reason,
        )
        self._ledger.append(row)

    def _recorded(self) -> Plan:
        """The plan of the night that the ledger knows last.

        Raises:
          InputError: it knows none.
          LedgerError: what it knows is none.
        """
        rows = [row for row in self._contest.history.rows if row.role == NIGHT]
        if not rows:
            raise InputError(
                "There is no night on this branch to go on with; begin one with --agent."
            )
        plan = plan_of(rows[-1])
        if plan is None:
            raise LedgerError(
                f"The row {rows[-1].run_id} of {LEDGER} holds no plan of a night: begin one with "
                "--agent."
            )
        return plan

    def _over(self, plan: Plan) -> str | None:
        """Why no new turn begins; None while one may."""
        hours, runs = self._used()
        if hours >= plan.hours:
            return f"{plan.hours:g} hours have passed"
        if runs >= plan.runs:
            return f"{runs} runs were made"
        turns = self._turns()[self._earlier :][-PATIENCE:]
        if turns and turns[-1].status == agents.ABSENT:
            return f"its agent's command cannot be run here ({turns[-1].reason})"
        if len(turns) == PATIENCE and not any(row.status == agents.EDITED for row in turns):
            return (
                f"{PATIENCE} turns in a row brought no edit; the last ended as {turns[-1].status} "
                f"({turns[-1].reason})"
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
        left = f"{max(plan.hours - hours, 0):.1f} hours"
        return left if plan.runs >= UNLIMITED else f"{left}, {max(plan.runs - runs, 0)} runs"

    def _back_off(self, plan: Plan, status: str) -> None:
        """Wait, twice as long after each further turn of the kind, but not beyond the hours."""
        turns = self._turns()[self._earlier :]
        again = 0
        while again < len(turns) and turns[-1 - again].status == status:
            again += 1
        left = max(plan.hours - self._used()[0], 0.0) * 3600
        seconds = min(FIRST_WAIT * 2 ** (again - 1), LONGEST_WAIT, left)
        self._say(f"waiting {seconds:.0f} s")
        self._pause(seconds)


def plan_of(row: Row) -> Plan | None:
    """What the row of a night was asked for; None where it does not say."""
    try:
        return Plan(**json.loads(row.reason))
    except (ValueError, TypeError):
        return None


def _summary(turn: Turn) -> str:
    """Time, tokens and cost of a turn, and what was wrong with it, in one line."""
    parts = [f"{turn.seconds:.1f} s"]
    if turn.tokens is not None:
        parts.append(f"{turn.tokens} tokens")
    if turn.cost is not None:
        parts.append(f"${turn.cost:.2f}")
    if turn.forbidden:
        parts.append(f"not taken: {_listed(turn.forbidden)}")
    if turn.status not in (agents.EDITED, agents.NO_EDIT):
        parts.append(words.line(turn.detail)[-200:])
    return "; ".join(parts)


def _listed(paths: Sequence[str]) -> str:
    """Some paths, and how many more there are."""
    more = f" and {len(paths) - LISTED} more" if len(paths) > LISTED else ""
    return ", ".join(paths[:LISTED]) + more


def _note(status: str, made: dict) -> str:
    """What an agent is told of its last turn."""
    notes = {
        agents.NO_EDIT: "You left agent_space/train.py as it was.",
        agents.HUNG: "You were ended: the time for a turn was used up before the file was changed.",
        agents.FAILED: "Your command failed before the file was changed.",
        agents.BROKEN: f"Your edit is no Python: {made.get('detail', '')}",
    }
    taken = ""
    if forbidden := made.get("forbidden"):
        taken = f" You changed {_listed(forbidden)}; that was not taken."
    return (notes.get(status, "") + taken).strip()
