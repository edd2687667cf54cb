"""One experiment: train, score, record."""

import contextlib
import dataclasses
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.checkout import integrity, sources
from harness.contract.order import Order
from harness.errors import (
    EndedError,
    HarnessError,
    IntegrityError,
    LedgerError,
    OutOfTimeError,
    PolicyError,
    StandstillError,
    TrainingError,
    WorkerError,
)
from harness.judgement import notes, pace, summaries
from harness.judgement.history import History
from harness.judgement.summaries import Summary
from harness.measurement import sites, tracking
from harness.measurement.sites import Announce, Measurement, Site, Watch
from harness.places import ERROR, LEDGER, LOG, SUMMARY, TRAIN_FILE, run_folder
from harness.record import life
from harness.record.entries import ALONE, Role, Run, Status, Verdict
from harness.record.ledger import Ledger
from harness.record.life import Ruling
from harness.record.snapshot import Snapshot
from harness.system import processes, storage, words

FAILURE_SHOWN = 200
"""Characters of what a file failed with that its row has; error.txt has all."""

STATUSES: dict[type[BaseException], Status] = {
    KeyboardInterrupt: Status.INTERRUPTED,
    StandstillError: Status.INTERRUPTED,
    EndedError: Status.LOST,
    OutOfTimeError: Status.TIMEOUT,
    IntegrityError: Status.TAMPERED,
    TrainingError: Status.CRASH,
    PolicyError: Status.CRASH,
    WorkerError: Status.LOST,
}
"""Of runs without a score, by what ended them; something else, as a full disk or a bug of ours,
leaves it inconclusive."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Which part a run has on an experiment branch.

    Attributes:
      branch: its name.
      role: on it.
      commit: of the file that runs.
      challenger: for which edit it is made.
      replicate: which of the runs of its role for that edit, from 1.
      objective: all tasks of the branch, with commas.
      stopping: whether hopeless runs of the branch are stopped.
    """

    branch: str
    role: Role
    commit: str
    challenger: str
    replicate: int
    objective: str
    stopping: bool = False

    @property
    def beside(self) -> bool:
        """Whether it is the incumbent, measured for a challenger and not for its own sake."""
        return self.role == Role.INCUMBENT and self.commit != self.challenger


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
      root: the checkout: `runs/` and `results.tsv` are in it.
      source: the training file to run.
      order: what is to be measured.
      message: one line for the ledger.
      comparable: whether nothing that a verdict rests on was given by hand.
      part: on an experiment branch; None for a run by itself.
      judge: gives the ruling from what the ledger holds, a status, and the average return, where
        there is one.
      site: where it is measured.
    """

    root: Path
    source: bytes
    order: Order
    message: str
    comparable: bool
    part: Part | None = None
    judge: Callable[[Snapshot, Status, float | None], Ruling] = life.unjudged
    site: Site = dataclasses.field(default_factory=sites.here)


@dataclasses.dataclass(frozen=True)
class _Underway:
    """One run under way: what was drawn for it and where it leaves its files."""

    request: Request
    run_id: str
    folder: Path
    commit: str
    diff: str
    begun: float

    def row(self, ruling: Ruling, summary: Summary | None = None) -> Run:
        """The run's row in the ledger, with what is known of it: nothing without a summary."""
        request, part, order = self.request, self.request.part, self.request.order
        assignment = order.assignment
        return Run(
            commit=self.commit,
            avg_return=summary.avg_return if summary else None,
            status=ruling.status,
            description=request.message,
            task=assignment.task_id,
            run_id=self.run_id,
            seed=assignment.seed,
            challenger=part.challenger if part else self.commit,
            replicate=part.replicate if part else 1,
            std_return=summary.std_return if summary else None,
            budget=assignment.budget,
            backend=summary.backend if summary else assignment.backend,
            comparable=request.comparable,
            verdict=ruling.verdict,
            sandbox=order.confinement,
            branch=part.branch if part else ALONE,
            role=part.role if part else Role.NONE,
            objective=part.objective if part else assignment.task_id,
            stopping=part.stopping if part else False,
            episodes=order.episodes,
            harness=request.site.instrument,
            reason=ruling.reason,
            startup=summary.startup_seconds if summary else None,
            num_seeds=assignment.num_seeds,
        )


def run(
    request: Request,
    watch: Watch = lambda training: None,
    announce: Announce = lambda text: None,
) -> Summary:
    """Train once, score the policy unless the run is stopped, and write it all down.

    Args:
      request: what to do.
      watch: called while the training runs, for display.
      announce: called with one line where a new phase begins.

    Returns:
      The summary, which `runs/<run_id>/summary.json` and the ledger hold too.

    Raises:
      TrainingError, PolicyError: the run failed; its row is in the ledger.
      IntegrityError: likewise where something was changed during the run; else nothing was started.
      KeyboardInterrupt, StandstillError: likewise, with status `interrupted`.
      LedgerError: the ledger was damaged before the run, and nothing was started; or during it, and
        what it left is in its folder, without a row.
      BusyError: a run of another process goes on.
      StorageError: the disk is full or read-only.
    """
    request = dataclasses.replace(request, root=request.root.absolute())  # an environment may chdir
    ledger = Ledger(request.root / LEDGER)
    with storage.plainly(), contextlib.ExitStack() as held:
        ledger.prepare()  # a damaged ledger is told before the budget is spent, not after
        if request.part is None:
            life.bury(request.root)
        guard = integrity.Guard(request.root)
        guard.check()
        this = _begin(request)
        held.enter_context(life.ours(this.run_id))
        held.enter_context(life.alive(this.folder))
        with _told_where(this):
            ledger.append(this.row(Ruling(Status.BEGUN)))
        try:
            measured = _measure(this, watch, announce)
            guard.check()
            sources.check()
        except BaseException as error:
            with _told_where(this), processes.uninterrupted(), life.RULING:
                _record_failure(ledger, this, error)
            if isinstance(error, HarnessError):
                where = f"Everything that it left is in {this.folder}."
                raise type(error)(f"{error}\n{where}") from error
            raise
        with _told_where(this), processes.uninterrupted(), life.RULING:
            summary = _record(ledger, this, measured)
    shown = {k: v for k, v in dataclasses.asdict(summary).items() if v is not None}
    tracking.track(this.folder, measured.training, shown)
    if said := notes.cut_short(measured.training):
        print(f"note: {said} {this.folder / LOG} has its last output.", file=sys.stderr)
    return summary


@contextlib.contextmanager
def _told_where(this: _Underway) -> Iterator[None]:
    """Say where a run is that the ledger cannot take."""
    try:
        yield
    except LedgerError as error:
        raise LedgerError(
            f"{error}\nThis happened during the run {this.run_id}, which has no row therefore: all "
            f"that it left is in {this.folder}."
        ) from error


def _record(ledger: Ledger, this: _Underway, measured: Measurement) -> Summary:
    """Write down what was measured, rule on it, and write summary and row with the ruling."""
    order = this.request.order
    summary = summaries.summarize(order, measured, this.run_id, time.monotonic() - this.begun)
    details = _details(this, measured)
    try:
        _save(this, summary, details)  # before the ledger is asked for anything: a score is kept
    finally:

        def decide(there: Snapshot) -> Run:
            status = Status.SCORED if measured.training.stopped is None else Status.STOPPED
            ruling = this.request.judge(there, status, summary.avg_return)
            row = this.row(_noted(ruling, measured), summary)
            return _paced(row, there, this.request.root, summary.steps_per_second)

        row = ledger.conclude(decide).entries[-1]
    assert isinstance(row, Run)
    summary = dataclasses.replace(summary, verdict=row.verdict, reason=row.reason or None)
    _save(this, summary, details)
    return summary


def _noted(ruling: Ruling, measured: Measurement) -> Ruling:
    """A ruling whose reason says what else is to be known of the run."""
    training = measured.training
    said = (
        ruling.reason,
        notes.stop(training),
        notes.spread(summaries.means(measured), [score.digest for score in measured.scores]),
        notes.overtime(training),
        notes.cut_short(training),
        notes.breakdowns(training),
        measured.doubt,
    )
    return dataclasses.replace(ruling, reason=" ".join(filter(None, said)))


def _paced(row: Run, there: Snapshot, root: Path, rate: float) -> Run:
    """A row whose reason says how fast the run was, where that is not as usual."""
    if row.branch == ALONE:
        return row
    said = pace.note(root, History(there.entries, row.branch, row.harness), row, rate)
    return dataclasses.replace(row, reason=" ".join(filter(None, (row.reason, said))))


def _save(this: _Underway, summary: Summary, details: Mapping[str, Any]) -> None:
    said = dataclasses.asdict(summary)
    if summary.avg_return is None:  # nothing in it looks like a score that is missing
        said = {name: value for name, value in said.items() if value is not None}
    text = json.dumps({**said, **details}, indent=1)
    storage.replace(this.folder / SUMMARY, text)


def _record_failure(ledger: Ledger, this: _Underway, error: BaseException) -> None:
    """Write down what ended a run without a score, and its row."""
    with contextlib.suppress(OSError):
        storage.replace(this.folder / ERROR, f"{error or type(error).__name__}\n")
    statuses = (s for kind, s in STATUSES.items() if isinstance(error, kind))
    status = next(statuses, Status.INCONCLUSIVE)

    def decide(there: Snapshot) -> Run:
        ruling = this.request.judge(there, status, None)
        if ruling.verdict == Verdict.DISCARD:
            told = words.line(str(error).partition("\n")[0], FAILURE_SHOWN)
            ruling = dataclasses.replace(ruling, reason=f"{ruling.reason} {told}")
        return this.row(ruling)

    ledger.conclude(decide)


def _begin(request: Request) -> _Underway:
    """Draw what is to be drawn, and make the run's folder with the file in it."""
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
    folder = run_folder(request.root, run_id)
    folder.mkdir(parents=True)
    (folder / TRAIN_FILE).write_bytes(request.source)
    part = request.part
    commit, diff = (part.commit, "") if part else integrity.commit(request.root)
    return _Underway(request, run_id, folder, commit, diff, time.monotonic())


def _measure(this: _Underway, watch: Watch, announce: Announce) -> Measurement:
    """Have the run measured, where its request says.

    Raises:
      TrainingError, PolicyError: as `sites.measure`.
    """
    request = this.request
    return request.site.measure(request.order, this.folder, request.root, watch, announce)


def _details(this: _Underway, measured: Measurement) -> dict[str, Any]:
    """What summary.json holds beside the summary: the evaluation, and the conditions."""
    training, order = measured.training, this.request.order
    return {
        **summaries.evaluated(order, measured),
        "policies_published": training.published,
        "startup_allowance": training.allowance,
        "startup_cpu_seconds": training.startup_cpu_seconds,
        "stood_still_seconds": training.stood_still,
        "training_exit_code": training.exit_code,
        "training_protocol_error": training.protocol_error,
        "budget": order.assignment.budget,
        "num_seeds": order.assignment.num_seeds,
        "comparable": this.request.comparable,
        "description": this.request.message,
        "sandbox": order.confinement,
        "device": training.device,
        "machine": measured.machine,
        "versions": measured.versions,
        "variables": measured.variables,
        "git_commit": this.commit,
        "git_diff": this.diff,
        "harness_commit": integrity.harness_commit(),
    }
