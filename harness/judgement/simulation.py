"""Simulated nights: what a keep rule does where the truth is known.

Scores are a true value plus noise (`chance`). The night of the shipped rule calls `search` and
`confirmation` themselves and counts every run that it would make, the incumbent's own included.
"""

import dataclasses
import itertools
import math
import random
import statistics
from collections.abc import Iterable, Sequence

from harness.judgement import confirmation, search, stopping
from harness.judgement.chance import UNDISTURBED, Conditions, Draw, Whose
from harness.judgement.confirmation import Block, Design
from harness.judgement.history import RUNS_PER_END
from harness.judgement.search import File, Outlook
from harness.judgement.stopping import Course

LEAST_RUNS = search.BASELINE_RUNS + 1 + search.ESTIMATE_RUNS
"""Of a night: its baseline, one edit, and the estimate."""


@dataclasses.dataclass
class Night:
    """What happened.

    Attributes:
      runs: made, of challengers and incumbents, in full runs of machine time.
      challengers: judged.
      kept: the true effect of every challenger that was kept.
      errors: estimate minus truth of every incumbent, in the order of their reigns.
      last_kept: whether the last challenger was kept.
      replicates: of the last challenger.
      stopped: runs that were ended as hopeless.
      morning: error of the incumbent's estimate at the end.
    """

    runs: float = 0
    challengers: int = 0
    kept: list[float] = dataclasses.field(default_factory=list)
    errors: list[float] = dataclasses.field(default_factory=list)
    last_kept: bool = False
    replicates: int = 1
    stopped: int = 0
    morning: float = 0.0

    @property
    def gain(self) -> float:
        """The incumbent's true value at the end, above the baseline's."""
        return math.fsum(self.kept)

    @property
    def false_keeps(self) -> int:
        """Keeps of what is no better."""
        return sum(effect <= 0 for effect in self.kept)


class _Runs:
    """The runs of a night: noise, conditions, and what was ended of them."""

    def __init__(self, draw: Draw, generator: random.Random, conditions: Conditions) -> None:
        self.night = Night()
        self._draw = draw
        self._generator = generator
        self._conditions = conditions
        self._lowest = math.inf  # of an incumbent's runs
        self._done = dict.fromkeys(("challenger", "fresh", "beside"), 0)
        self.again = 0  # of the challenger's runs, made again
        self.cut_off = 0  # of the incumbent's runs

    def challenger(self) -> None:
        """A new one is on trial."""
        self._done |= {"challenger": 0, "beside": 0}
        self.again = 0

    def incumbent(self) -> None:
        """A new one reigns."""
        self._done["fresh"] = 0
        self.cut_off = 0

    def run(self, value: float, role: Whose) -> float | None:
        """A score around a value; None where it failed beside a challenger."""
        hand = self._conditions.hand
        while True:
            self.night.runs += 1
            noise = self._draw(self._generator)
            score = value + noise + self._shift(role)
            mine = hand is not None and hand.role == role and self._done[role] < hand.most
            if hand is None or not (mine and hand.ends(noise, self._generator)):
                break
            self._done[role] += 1
            if hand.fails and not self._conditions.free:
                if role == "beside":
                    return None
                if self._lowest < math.inf:
                    return self._lowest
            if not hand.fails and not self._conditions.free:
                self.again += role == "challenger"
                self.cut_off += role != "challenger"
        if role != "challenger":
            self._lowest = min(self._lowest, score)
        return score

    def fresh(self, value: float, there: list[float], needed: int) -> None:
        """Add to an incumbent's fresh runs those that it lacks."""
        while len(there) < max(needed, RUNS_PER_END * self.cut_off):
            score = self.run(value, "fresh")
            assert score is not None
            there.append(score)

    def _shift(self, role: Whose) -> float:
        conditions = self._conditions
        return conditions.drift(self.night.runs - 1) - conditions.load * (role == "beside")


Signal = Sequence[tuple[float, float]]
"""Shares of the budget, and how a run's own report there correlates with its score (Pearson)."""


class _Searcher:
    """A night of the shipped rule, by the functions that the harness calls."""

    def __init__(self, runs: _Runs, generator: random.Random, most: float, signal: Signal) -> None:
        self.night = runs.night
        self.closed = False
        self._runs = runs
        self._generator = generator
        self._most = most
        self._signal = signal
        self._files: dict[str, File] = {}
        self._truth: dict[str, float] = {}
        self._courses: list[tuple[str, Course]] = []
        self._incumbent, self._stack = "0", list[str]()
        self._aside: dict[str, list[str]] = {}
        self._hopes: dict[str, float] = {}
        self._confirmations, self._keeps = 0, list[int]()
        self._in_a_row = 0
        self._asked_in_vain: tuple[str, str, int] | None = None
        self._known: tuple[object, Outlook] | None = None
        self._add("0", None, 0.0)
        scores: list[float] = []
        self._runs.fresh(0.0, scores, search.BASELINE_RUNS)
        for score in scores:
            self._put("0", score)
        self._own = scores
        self.night.errors.append(statistics.fmean(scores))

    @property
    def left(self) -> float:
        """Runs that the night still has."""
        return self._most - self.night.runs

    def is_over(self) -> bool:
        """Whether no new edit is begun."""
        return search.is_over(self._stack, self.left, self._level())

    def challenge(self, effect: float) -> None:
        """An edit, to its verdict, and what follows from it."""
        lead = self._lead()
        name = str(len(self._files))
        self._add(name, lead, self._truth[lead] + effect)
        self.night.challengers += 1
        self._runs.challenger()
        self._look(name, lead, first=True)
        self._go_on()

    def close(self) -> None:
        """Second looks, while there is something to gain; then the last confirmation."""
        for _ in range(search.SECOND_LOOKS):
            lead = self._lead()
            name = search.second_look(self._outlook(), self._aside.get(lead, []), self._hopes)
            if name is None or self.left <= search.reserve(self._level()):
                break
            self._aside[lead].remove(name)
            self._look(name, lead, first=False)
        self._confirm_if_due(closing=True)
        first = statistics.fmean(self._own)  # of value zero
        self.night.morning = self.night.errors[-1] if self._keeps else first

    def _lead(self) -> str:
        return self._stack[-1] if self._stack else self._incumbent

    def _add(self, name: str, made_on: str | None, value: float) -> None:
        self._files[name] = File(name, made_on)
        self._truth[name] = value

    def _outlook(self) -> Outlook:
        """What is believed; computed anew where more is known of the noise."""
        told = [file for file in self._files.values() if len(file.scores) > 1]
        key = (self._incumbent, tuple(self._stack), tuple(len(f.scores) for f in told), len(told))
        if self._known is None or self._known[0] != key:
            self._known = key, Outlook(dict(self._files), self._incumbent, self._stack)
        self._known[1].files = self._files
        return self._known[1]

    def _see(self, name: str, looks: int = 0) -> float:
        """A whole run whose score the search sees."""
        score = self._runs.run(self._truth[name], "challenger")
        assert score is not None
        self._put(name, score, looks)
        return score

    def _put(self, name: str, score: float, looks: int = 0, course: Course | None = None) -> None:
        file = self._files[name]
        scores = (*file.scores, score)
        self._files[name] = dataclasses.replace(file, scores=scores, looks=file.looks + looks)
        self._courses.append((name, course or self._course(score)))

    def _course(self, score: float) -> Course:
        """What a run that will score so reports on its way."""
        reported = {
            share: score + self._generator.gauss(0.0, math.sqrt(1 / correlation**2 - 1))
            for share, correlation in self._signal
        }
        return Course(reported, score)

    def _first_run(self, name: str, lead: str) -> bool:
        """The first run of an edit, ended where it is hopeless; whether it has a score."""
        stops = stopping.stops(
            [course for _, course in self._courses], self._outlook().bar(), search.CHANCE,
            [share for share, _ in self._signal],
            [course for whose, course in self._courses if whose == lead],
        )  # fmt: skip
        before = self.night.runs
        score = self._runs.run(self._truth[name], "challenger")
        assert score is not None
        course = self._course(score)
        for stop in stops:
            if course.reported[stop.share] < stop.least:
                said = stopping.forecast([course for _, course in self._courses], stop.share)
                assert said is not None
                self._hopes[name] = said.expected(course.reported[stop.share])
                self.night.runs = before + stop.share
                self.night.stopped += 1
                return False
        self._put(name, score, 1, course)
        return True

    def _look(self, name: str, lead: str, first: bool) -> None:
        """Runs of an edit, until it is accepted or set aside."""
        accepted: bool | None = None
        if first and not self._first_run(name, lead):
            accepted = False
        elif not first:
            self._see(name, 1)
        while accepted is None:
            accepted = search.is_accepted(self._outlook(), name)
            if accepted is None:
                if self.left < 1:
                    accepted = False
                else:
                    self._see(name, 1)
        if accepted:
            self._stack.append(name)
            self._in_a_row = 0
        else:
            self._aside.setdefault(lead, []).append(name)
            self._in_a_row += 1

    def _go_on(self) -> None:
        """What is due between two edits."""
        if self._in_a_row >= search.LONG_ASIDE and self.left > search.reserve(self._level()):
            score = self._see(self._lead())
            if not self._stack and not self._keeps:
                self._own.append(score)
            self._in_a_row = 0
            self._fall()
        self._confirm_if_due(closing=False)

    def _confirm_if_due(self, closing: bool) -> None:
        """A confirmation, where one is due that was not just spent in vain."""
        asked = self._lead(), self._incumbent, len(self._courses)
        due = search.is_due(self._outlook(), self.left, closing, self._level())
        if due and asked != self._asked_in_vain:
            self._confirm(closing)

    def _level(self) -> float:
        """Of the next confirmation."""
        return confirmation.level(self._confirmations + 1, self._keeps)

    def _fall(self) -> None:
        for _ in range(search.falls(self._outlook())):
            self._stack.pop()

    def _confirm(self, closing: bool) -> None:
        """Fresh runs of both files, block by block."""
        outlook, lead, level = self._outlook(), self._lead(), self._level()
        design = Design(
            level,
            search.pairs(self.left, closing, level),
            search.jump(outlook),
            outlook.noise,
            seed=self._generator.randrange(confirmation.WAYS),
        )
        self._confirmations += 1
        self._runs.challenger()
        cut_off = self._runs.cut_off
        blocks: list[Block] = []
        for count in design.pairs:
            places = [True] * count + [False] * count
            self._generator.shuffle(places)
            scores = []
            for is_lead in places:
                value = self._truth[lead if is_lead else self._incumbent]
                score = self._runs.run(value, "challenger" if is_lead else "beside")
                scores.append(math.inf if score is None else score)
            highest = max(score for score in scores if score < math.inf)
            scores = [min(score, highest) for score in scores]  # of an incumbent that failed
            blocks.append(Block(tuple(scores), tuple(places)))
            ended = self._runs.again + self._runs.cut_off - cut_off
            picks = confirmation.picks(2 * sum(design.pairs), ended)
            said = confirmation.look(dataclasses.replace(design, picks=picks), blocks)
            for is_lead, score in zip(places, scores, strict=True):
                self._put(lead if is_lead else self._incumbent, score)
            if said.kept:
                self._keep(lead)
                return
            if not search.keeps_on(self._outlook()):
                break
        self._asked_in_vain = lead, self._incumbent, len(self._courses)
        self._fall()

    def _keep(self, lead: str) -> None:
        self.night.kept.append(self._truth[lead] - self._truth[self._incumbent])
        self._keeps.append(self._confirmations)
        self._incumbent, self._stack = lead, []
        self._in_a_row = 0
        self._runs.incumbent()
        self.night.errors.append(self._estimate())

    def _estimate(self) -> float:
        """Error of an estimate, from runs that no decision sees."""
        scores: list[float] = []
        self._runs.fresh(self._truth[self._incumbent], scores, search.ESTIMATE_RUNS)
        return statistics.fmean(scores) - self._truth[self._incumbent]


def ahead(
    draw: Draw,
    effects: Iterable[float],
    generator: random.Random,
    most_runs: float = math.inf,
    conditions: Conditions = UNDISTURBED,
    signal: Signal = (),
) -> Night:
    """A night under the shipped rule, with a lead, confirmations and stopped runs.

    Args:
      draw: the noise.
      effects: of each edit on the true value of the file that it is made on.
      generator: of random numbers.
      most_runs: full runs of machine time.
      conditions: what else works on the runs.
      signal: what runs report on their way; nothing is stopped without.
    """
    searcher = _Searcher(_Runs(draw, generator, conditions), generator, most_runs, signal)
    for effect in effects:
        if searcher.is_over():
            break
        searcher.challenge(effect)
    searcher.close()
    return searcher.night


def greedy(
    draw: Draw,
    effects: Iterable[float],
    generator: random.Random,
    most_runs: float = math.inf,
    conditions: Conditions = UNDISTURBED,
) -> Night:
    """A night under autoRL's rule: one run each, and what is higher than the last kept is kept."""
    best = draw(generator)
    night = Night(runs=1, errors=[best])
    for effect in itertools.takewhile(lambda _: night.runs < most_runs, effects):
        score = night.gain + effect + draw(generator) + conditions.drift(night.runs)
        night.runs += 1
        night.challengers += 1
        night.last_kept = score > best
        if night.last_kept:
            best = score
            night.kept.append(effect)
            night.errors.append(best - night.gain)
    return night
