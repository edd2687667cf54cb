"""Which runs are hopeless: what a branch's own finished runs say of one that goes on.

From what finished runs had reported at a share of the budget, and what they scored in the end, a
line is fitted, and with it goes how far off it is. A run whose own report makes a score above a bar
too improbable is ended there: it costs the share, and nothing is taken from it.

What is reported and what is scored are two things. A training reports the returns of actions that
it samples, so mostly lower ones than its score; it does so in all runs of a branch, and the line
takes it in. The line rests on the runs that finished. Others were left out for their reports alone,
which bends no line: what is fitted is the score at a given report.

A report is a claim of the training file, and may be false, or on another scale than that of the
runs before. Too high, or none: the run goes on to its end, as without stopping, and its score is
what counts. Too low: it ends. A run with a false report that does finish is among those that the
line is fitted to. That makes the line vaguer, so that fewer runs are stopped or none; it can also
lift the line's least report above what honest runs report. So an edit is stopped only where it
also reports less than the runs of the file that it was made on, see `stops`.
"""

import dataclasses
import functools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy import special

from harness.contract import reports
from harness.contract.order import Stop
from harness.judgement import search
from harness.judgement.history import SEEN, History
from harness.measurement.training import Stopped
from harness.places import CURVE, SUMMARY, run_folder
from harness.record.entries import Run, Status

SHARES = (0.25, 0.5)
"""Of the budget, where runs are stopped: early is cheap, and later more is known."""

LEAST_PAIRS = 5
"""Finished runs from which a line is fitted."""

LEAST_CORRELATION = 0.4
"""Between what was reported and the score, below which reports are said to tell nothing."""

CURVES_KNOWN = 4096
"""Curves of finished runs, which change no more, that are not read again."""


@dataclasses.dataclass(frozen=True)
class Course:
    """A finished run.

    Attributes:
      reported: the mean return that it had reported, by the share of the budget; a share at which
        there was no report is not among them.
      score: its average return.
    """

    reported: Mapping[float, float]
    score: float


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The line of least squares through finished runs: score over report.

    Attributes:
      share: of the budget, at which the reports were made.
      runs: that it was fitted to.
      reported: the mean of their reports.
      score: the mean of their scores.
      slope: scores per report, positive.
      spread: the sum of squares of their reports around the mean.
      residual: standard deviation of scores around the line, by `runs - 2` degrees of freedom.
      correlation: Pearson's, of reports and scores.
    """

    share: float
    runs: int
    reported: float
    score: float
    slope: float
    spread: float
    residual: float
    correlation: float

    def expected(self, reported: float) -> float:
        """The score to expect after a report."""
        return self.score + self.slope * (reported - self.reported)

    def chance(self, reported: float, bar: float) -> float:
        """The probability of a score above a bar after a report, by Student's t of a new run."""
        distance = (reported - self.reported) ** 2 / self.spread
        deviation = self.residual * math.sqrt(1 + 1 / self.runs + distance)
        missing = bar - self.expected(reported)
        if deviation == 0:
            return float(missing < 0)
        return float(special.stdtr(self.runs - 2, -missing / deviation))


def course(root: Path, run: Run, shares: Sequence[float] = SHARES) -> Course | None:
    """A finished run as its folder has it; None of one without a score.

    Args:
      root: the checkout.
      run: its row.
      shares: of the budget, at which its reports are wanted.
    """
    if run.avg_return is None:
        return None
    curve = run_folder(root, run.run_id) / CURVE
    return Course(dict(_reported(curve, run.budget, tuple(shares))), run.avg_return)


def stopped(root: Path, run: Run) -> Stopped | None:
    """Where a run was stopped and what it had reported; None where its folder does not say.

    Args:
      root: the checkout.
      run: its row.
    """
    try:
        told = json.loads((run_folder(root, run.run_id) / SUMMARY).read_bytes())["stopped"]
        return Stopped(Stop(float(told["share"]), float(told["least"])), float(told["reported"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@functools.lru_cache(maxsize=CURVES_KNOWN)
def _reported(
    curve: Path, budget: float, shares: tuple[float, ...]
) -> tuple[tuple[float, float], ...]:
    """What a finished run had reported at shares of its budget, with these; see `Course`."""
    told = reports.read(curve)
    means = ((share, reports.mean(told, budget, share)) for share in shares)
    return tuple((share, mean) for share, mean in means if mean is not None)


def forecast(courses: Sequence[Course], share: float) -> Forecast | None:
    """What finished runs say of scores at a share of the budget.

    Args:
      courses: of the same task, under the same conditions.
      share: of the budget.

    Returns:
      None where they say nothing: there are fewer than `LEAST_PAIRS`, or scores rise with reports
      not at all, or too loosely (`LEAST_CORRELATION`).
    """
    there = [(one.reported[share], one.score) for one in courses if share in one.reported]
    if len(there) < LEAST_PAIRS:
        return None
    x, y = zip(*there, strict=True)
    x_mean, y_mean = statistics.fmean(x), statistics.fmean(y)
    xx = sum((value - x_mean) ** 2 for value in x)
    yy = sum((value - y_mean) ** 2 for value in y)
    xy = sum((a - x_mean) * (b - y_mean) for a, b in there)
    if xx == 0 or yy == 0 or xy <= 0:
        return None
    correlation = min(xy / math.sqrt(xx) / math.sqrt(yy), 1.0)
    if correlation < LEAST_CORRELATION:
        return None
    slope = xy / xx
    squares = sum((b - y_mean - slope * (a - x_mean)) ** 2 for a, b in there)
    residual = math.sqrt(squares / (len(there) - 2))
    return Forecast(share, len(there), x_mean, y_mean, slope, xx, residual, correlation)


def least(said: Forecast, bar: float, chance: float) -> float:
    """The report below which a score above a bar has less than a chance, see `Forecast.chance`.

    Args:
      said: what finished runs say.
      bar: the score.
      chance: in (0, 1).

    Returns:
      -inf where the line is so uncertain that no report can be low enough: far from all reports
      that are known, its uncertainty grows faster than the line falls.
    """
    # From `bar - expected(x) = t * residual * sqrt(1 + 1/n + (x - mean)² / spread)`, squared.
    wide = float(special.stdtrit(said.runs - 2, 1 - chance)) * said.residual
    falls = said.slope**2 - wide**2 / said.spread
    if falls <= 0:
        return -math.inf
    missing = bar - said.score
    root = math.sqrt(falls * (1 + 1 / said.runs) + missing**2 / said.spread)
    return said.reported + (said.slope * missing - wide * root) / falls


def stops(
    runs: Sequence[Course],
    bar: float,
    chance: float,
    shares: Sequence[float] = SHARES,
    own: Sequence[Course] = (),
) -> tuple[Stop, ...]:
    """Where a new run of the branch is stopped.

    Args:
      runs: that have finished on the branch.
      bar: the score that it has to reach.
      chance: of that, below which it is stopped, in (0, 1). It holds at each share.
      shares: of the budget, at which it may be.
      own: those of `runs` that are of the file which was edited. A run that reports no less than
        their median goes on, whatever the line says: else a file that reports, say, a constant
        would have every edit of it stopped where the chance of any of them is low.
    """
    found = []
    for share in shares:
        said = forecast(runs, share)
        if said is None:
            continue
        asked = least(said, bar, chance)
        known = [one.reported[share] for one in own if share in one.reported]
        asked = min(asked, statistics.median(known)) if known else asked
        if math.isfinite(asked):
            found.append(Stop(share, asked))
    return tuple(found)


def stops_of_edit(root: Path, past: History, name: str) -> tuple[Stop, ...]:
    """Where the first run of an edit is stopped, by what the search asks of it.

    Args:
      root: the checkout.
      past: what was measured.
      name: of the edit.
    """
    finished = _finished(root, past)
    own = [one for run, one in finished if run.commit == past.lead]
    known = [one for _, one in finished]
    bar = past.outlook().bar(simpler=name in past.progress().simplified)
    return stops(known, bar, search.CHANCE, own=own)


def hopes(root: Path, past: History) -> dict[str, float]:
    """The scores to be expected of edits that were stopped, from what they had reported.

    Args:
      root: the checkout.
      past: what was measured.

    Returns:
      By the edits' names; one whose report says nothing is not among them.
    """
    known = [one for _, one in _finished(root, past)]
    found = {}
    for run in past.runs:
        if run.status == Status.STOPPED and run.challenger in past.progress().aside:
            told = stopped(root, run)
            said = told and forecast(known, told.stop.share)
            if told and said:
                found[run.challenger] = said.expected(told.reported)
    return found


def _finished(root: Path, past: History) -> list[tuple[Run, Course]]:
    """The runs that the search may see, as far as they have finished."""
    return [
        (run, one)
        for run in past.runs
        if run.harness == past.instrument
        and run.role in SEEN
        and (one := course(root, run)) is not None
    ]
