"""A night: an agent's edits, one after the other, until the hours or the runs are used up.

The ledger is the only memory. A night begins with a row of its own; every turn of the agent leaves
one, whatever came of it; and what a kill has left half done is finished before anything new begins.
"""

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime

from harness.checkout import integrity
from harness.errors import IntegrityError, PolicyError, StorageError, TrainingError
from harness.judgement import ablation, estimate, prospects, search
from harness.judgement.batches import LOST_RUNS
from harness.judgement.contest import Contest
from harness.judgement.history import History
from harness.judgement.progress import NAME_LENGTH
from harness.judgement.rulings import LOSSES
from harness.night import agents, brief, memory, tuners
from harness.night.agents import Answer
from harness.night.brief import Situation
from harness.night.memory import Memory
from harness.places import LEDGER, NOTES, RUNS, TRAIN_FILE, TURN, run_folder
from harness.record.entries import Ending, NightBegun, Plan, Turn
from harness.record.ledger import Ledger
from harness.system import words

SAID = 100
"""Characters of a description in the line on a turn."""

ATTEMPTS = LOSSES - 1
"""To go on with a trial that something else than its file has stopped: one more would end it."""


@dataclasses.dataclass(frozen=True)
class _Trial:
    """A turn's number, the challenger that it has made (None if none), and its description.

    Where the turn was just made, what the ledger says with it; else None. A trial that belongs to
    no turn has the number 0.
    """

    number: int
    challenger: str | None
    description: str
    past: History | None = None

    @property
    def name(self) -> str:
        """What it is called for whoever watches."""
        return f"turn {self.number}" if self.number else self.description


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
          InputError: there is no night to continue.
          HarnessError: the incumbent cannot be measured.
        """
        plan = self._plan or memory.recorded(self._contest.read())  # told before hours of runs
        self._contest.settle()
        past = self._contest.read()
        if any(run.harness != self._contest.site.instrument for run in past.runs[-1:]):
            self._say("harness or hardware are not those of the last run: measuring anew")
        past = self._contest.measured(past)
        for doubt in prospects.doubts(self._root, past):
            self._say(doubt)
        self._unfinished = self._cut_off(past)
        self._earlier = len(past.turns)
        if self._plan is not None:
            self._begin(self._plan)
            now = self._now(plan)
            if doubt := prospects.too_short(now.runs_left(), now.past.progress().level()):
                self._say(doubt)
        self._serve(plan) if self._contest.site.slots == 1 else self._serve_together(plan)
        over = self._over(self._now(plan)) or "too few runs are left for an edit and its proof"
        self._close(plan)
        self._say(f"the night is over: {over}")

    def _now(self, plan: Plan, past: History | None = None) -> Memory:
        """What the night knows; the ledger is read if nothing is handed in."""
        past = past or self._contest.read()
        return Memory(self._root, past, plan, self._earlier, self._contest.site.slots)

    def _close(self, plan: Plan) -> None:
        """Spend what is left: second looks at edits that were set aside, and a confirmation.

        What carries the gain is asked with time that is of no other use then. A passenger that is
        taken out makes a lead that is simpler; it is confirmed if there is time for that, too.
        """
        for _ in range(search.SECOND_LOOKS):
            now = self._now(plan)
            if now.runs_left() <= search.reserve(now.past.progress().level()):
                break
            if (said := self._contest.look_again()) is None:
                break
            self._say(said)
        self._prove(plan)
        while self._take_apart(plan):
            self._prove(plan)
        past = self._contest.read()
        if count := len(past.progress().stack):
            self._say(
                f"{words.counted(count, 'edit')} of the lead not proved: it is thought to be "
                f"{past.outlook().ahead():+.2f} deviations ahead of the incumbent. The next night "
                "goes on from there; harness.run --confirm has it proved before, or not"
            )

    def _prove(self, plan: Plan) -> None:
        """The confirmation that closes the night, where one is due."""
        for line in self._contest.advance(self._now(plan).runs_left(), closing=True):
            self._say(line)

    def _take_apart(self, plan: Plan) -> bool:
        """A step of what carries the gain; whether there was one to take, and time for it."""
        try:
            said = ablation.step(self._contest, self._now(plan).runs_left())
        except (TrainingError, PolicyError, *LOST_RUNS) as error:
            said = f"an edit that takes out a passenger failed: {str(error).splitlines()[0]}"
        if said is not None:
            self._say(said)
        return said is not None

    def _over(self, now: Memory) -> str | None:
        """Why no new turn begins; None while one may."""
        return now.over()

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
        refs, now = self._contest.branch.read(), self._now(plan)
        if said := self._contest.advance(now.runs_left(), past=now.past):
            for line in said:
                self._say(line)
            refs, now = self._contest.branch.read(), self._now(plan)
        if self._over(now) is not None or now.closes():
            return None
        refs, past = self._contest.ready(refs, now.past)
        number = len(past.turns) + 1
        made = self._ask(dataclasses.replace(now, past=past), refs.lead, number)
        made = dataclasses.replace(made, forbidden=(*made.forbidden, *self._put_back()))
        challenger = None
        if made.status == Ending.EDITED and made.edit is not None:
            challenger = self._contest.enter(made.edit, made.description, refs, past)
        past = self._record(made, number, challenger, refs.tip)
        self._say(f"turn {number}: {made.status}: {words.shortened(made.description, SAID)}")
        if made.status in (Ending.WAITING, Ending.FAILED):
            seconds = self._now(plan, past).wait()
            self._say(f"waiting {seconds:.0f} s")
            self._pause(seconds)
        return _Trial(number, challenger, made.description, past)

    def _ask(self, now: Memory, tip: str, number: int) -> Answer:
        """Have the agent make an edit of the lead."""
        branch, plan, past = self._contest.branch, now.plan, now.past
        there = branch.edit_of(tip)
        if plan.agent in tuners.TUNERS:
            begin = time.monotonic()
            known = [
                (branch.edit_of(commit), sum(scores) / len(scores))
                for commit, scores in now.tried().items()
                if scores
            ]
            ended = [(branch.edit_of(commit), at) for commit, at in now.stopped().items()]
            edit, line = tuners.suggest(plan.agent, there, known, number, ended)
            status = Ending.NO_EDIT if edit == there else Ending.EDITED
            return Answer(status, edit, line, seconds=time.monotonic() - begin)
        failed = now.failed(self._contest.site.slots)
        situation = Situation(
            estimate=estimate.told(past.fresh()),
            left=now.left(),
            repair=failed.error if failed else "",
            note=now.note(),
            notes=now.notes(),
        )
        text = brief.write(self._root, past, situation)
        start = failed.edit if failed else there
        made = agents.call(
            plan.agent, self._root, tip, start, text, number, plan.agent_seconds, self._ending
        )
        if made.edit == there:
            made = dataclasses.replace(made, status=Ending.NO_EDIT, edit=None)
        return dataclasses.replace(made, repairs=failed.number if failed else None)

    def _try(self, trial: "_Trial") -> None:
        """Take a trial to its verdict; one that fails has its rows, and may be repaired.

        Raises:
          HarnessError: something else than its file has stopped it, again and again.
        """
        assert trial.challenger is not None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                outcome = self._contest.pursue(
                    trial.challenger, trial.description, trial.past if attempt == 1 else None
                )
            except (TrainingError, PolicyError, *LOST_RUNS) as error:
                self._say(f"{trial.name}: failed: {str(error).splitlines()[0]}")
            except (IntegrityError, StorageError) as error:
                if attempt == ATTEMPTS:
                    raise
                self._say(f"{trial.name}: once more: {str(error).splitlines()[0]}")
                with self._asking:  # while no agent works, whose changes the next turn is told of
                    self._put_back()
                continue
            else:
                self._say(f"{trial.name}: {outcome.verdict}: {outcome.reason}")
            return

    def _cut_off(self, past: History) -> list["_Trial"]:
        """The trials that a kill has cut off.

        One that belongs to no turn is withdrawn, if it never ran. Else a person has begun it, or
        it takes out a passenger.
        """
        turns = {turn.challenger: turn for turn in past.turns}
        found = []
        for challenger in self._contest.branch.trials():
            turn, runs = turns.get(challenger[:NAME_LENGTH]), past.trial(challenger)
            if turn is None and not runs:
                self._contest.withdraw(challenger, past)
            elif past.verdict(challenger) is None:
                number = turn.number if turn else 0
                description = turn.description if turn else runs[0].description
                found.append(_Trial(number, challenger, description))
        return sorted(found, key=lambda trial: trial.number)

    def _put_back(self) -> list[str]:
        """Undo what was changed in the checkout itself, keeping a copy; the paths."""
        copies = self._root / RUNS / "tampered" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        paths = integrity.put_back(self._root, copies)
        if paths:
            self._say(
                f"restored what was changed in the checkout: {memory.listed(paths)}. Copies are "
                f"in {copies}; what is yours, commit."
            )
        return paths

    def _begin(self, plan: Plan) -> None:
        """The row of a night that begins."""
        tip = self._contest.branch.tip()
        self._ledger.append(NightBegun(**self._circumstances("night0", tip), plan=plan))

    def _record(self, made: Answer, number: int, challenger: str | None, tip: str) -> History:
        """The row of a turn, and what belongs to it in `runs/`; what the ledger says with it."""
        circumstances = self._circumstances(f"agent{number}", tip)
        folder = run_folder(self._root, circumstances["run_id"])
        folder.mkdir(parents=True)
        files = ("edit", "notes")
        details = {k: v for k, v in dataclasses.asdict(made).items() if k not in files}
        (folder / TURN).write_text(json.dumps(details, indent=1))
        if made.edit is not None:
            (folder / TRAIN_FILE).write_bytes(made.edit)
        if made.notes is not None:
            (folder / NOTES).write_text(made.notes, encoding="utf-8")
        turn = Turn(
            **circumstances,
            description=made.description,
            number=number,
            status=made.status,
            challenger=challenger and challenger[:NAME_LENGTH],
            reason=_summary(made),
        )
        return self._contest.replicates.of(self._ledger.append(turn))

    def _circumstances(self, name: str, tip: str) -> dict[str, str]:
        """What rows of turns and nights have, by their fields."""
        return {
            "run_id": f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}",
            "commit": tip[:NAME_LENGTH],
            "branch": self._contest.branch.name,
            "harness": self._contest.site.instrument,
        }


def _summary(made: Answer) -> str:
    """Time, tokens and cost of a turn, and what was wrong with it, in one line."""
    parts = [f"{made.seconds:.1f} s"]
    if made.tokens is not None:
        parts.append(f"{made.tokens} tokens")
    if made.cost is not None:
        parts.append(f"${made.cost:.2f}")
    if made.forbidden:
        parts.append(f"not taken: {memory.listed(made.forbidden)}")
    if made.status not in (Ending.EDITED, Ending.NO_EDIT):
        parts.append(words.line(made.detail)[-200:])
    return "; ".join(parts)
