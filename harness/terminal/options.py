"""What commands share that measure: their options checked, one at work, a run with a display."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from harness import tasks
from harness.checkout import branch, holder, integrity, syntax
from harness.checkout.branch import Branch
from harness.checkout.integrity import plain
from harness.confinement import sandbox
from harness.contract.order import Order
from harness.engines import backends
from harness.errors import InputError, LedgerError
from harness.evaluate import TIME_BUDGET
from harness.judgement import contest, experiment, objective, prospects, purpose
from harness.judgement.contest import Contest
from harness.judgement.experiment import Request
from harness.judgement.history import History
from harness.judgement.summaries import Summary
from harness.measurement import instrument
from harness.measurement.sites import Announce, Measurement, Site, Watch
from harness.morning import aftermath
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Entry, Role
from harness.record.ledger import Ledger
from harness.system import words
from harness.terminal.display import Display

From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help=f"For a new branch: the file that it begins with, in place of {EDITABLE}.",
        show_default=False,
    ),
]
"""The option that commands share which begin a branch."""

EARLY = 2
"""The fresh run of an incumbent after which what it looks like is told: others take hours."""

MESSAGE_SHOWN = 60
"""Characters of an edit's message that a line of a log has: it stays one line."""


@contextlib.contextmanager
def at_work(root: Path) -> Iterator[None]:
    """Be the one command that measures in a checkout, and say what its rows will not be worth.

    Raises:
      BusyError: another command does.
    """
    with holder.hold(root):
        for note in (Ledger(root / LEDGER).renew(), integrity.unguarded(root)):
            if note:
                print(note, file=sys.stderr)
        known = {entry.run_id for entry in _rows(root)}
        try:
            yield
        except KeyboardInterrupt:
            for line in aftermath.of_interruption(_rows(root), known):
                print(line, file=sys.stderr)
            raise


def _rows(root: Path) -> Sequence[Entry]:
    """What the ledger holds; nothing where it is damaged, which whoever needs it tells."""
    with contextlib.suppress(LedgerError):
        return Ledger(root / LEDGER).read().entries
    return ()


def shown(request: Request) -> Summary:
    """One run, with a display where somebody looks; elsewhere with a line before and after it."""
    part, task_id = request.part, request.order.assignment.task_id
    entries = Ledger(request.root / LEDGER).read().entries if part else []
    title = f"{task_id}, {purpose.told(part, entries)}" if part else task_id
    logged = part is not None and not sys.stderr.isatty()  # hours are not silent
    if logged:
        message = words.shortened(request.message, MESSAGE_SHOWN)
        line = f"{title}: {message}, {request.order.assignment.budget:g} s of training"
        request = dataclasses.replace(request, site=_telling(request.site, lambda: _say(line)))
    with Display(title, _standing(request)) as display:
        summary = experiment.run(request, display.watch, display.announce)
    if logged:
        score = "stopped" if summary.avg_return is None else f"{summary.avg_return:,.2f}"
        _say(f"{title}: {score}{_way_on(summary)}")
    if part and part.role == Role.INCUMBENT and not part.beside and part.replicate == EARLY:
        there = Branch(request.root, part.branch.removeprefix(branch.PREFIX))
        tell_doubts(request.root, contest.known(there, request.site.instrument))
    return summary


def _telling(site: Site, tell: Callable[[], None]) -> Site:
    """The same place, which tells that a measurement begins: what may refuse it is behind it."""

    def measure(
        order: Order, folder: Path, root: Path, watch: Watch, announce: Announce
    ) -> Measurement:
        tell()
        return site.measure(order, folder, root, watch, announce)

    return Site(site.instrument, site.slots, measure, site.stop)


def _way_on(summary: Summary) -> str:
    """Why there will be more runs; a verdict is told by who has asked for it."""
    return f". {summary.reason}" if summary.reason and not summary.verdict.final else ""


def tell_doubts(root: Path, past: History) -> None:
    """Say why no edit may be found to be better, where that can be seen."""
    for doubt in prospects.doubts(root, past):
        print(f"note: {doubt}", file=sys.stderr)


def _say(line: str) -> None:
    """One line of a log that somebody follows."""
    print(f"{datetime.now():%H:%M:%S} {words.line(line)}", file=sys.stderr, flush=True)


def _standing(request: Request) -> list[str]:
    """How the branch stands, for somebody who looks at a terminal; nothing where nobody does."""
    if request.part is None or not sys.stderr.isatty():
        return []
    from harness.morning import standing  # noqa: PLC0415  (charts: only where somebody looks)

    with contextlib.suppress(InputError):
        return ["", *standing.lines(standing.read(request.root))]
    return []


def training_file(path: Path, option: str = "--train") -> bytes:
    """The content of a file that exists and is Python.

    Args:
      path: of the file.
      option: by which one is named.

    Raises:
      InputError: it is none.
    """
    if not path.is_file():
        raise InputError(
            f"There is no training file {path}. Run from the root of the checkout, or name a "
            f"file with {option}."
        )
    try:
        source = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    if fault := syntax.fault(source):
        raise InputError(f"Syntax error in {path}: {fault}. Nothing was run.")
    return source


def first_file(start: Path | None) -> bytes | None:
    """The content of a file that a branch is to begin with, as git keeps it; None if none is named.

    Raises:
      InputError: it is no training file.
    """
    return None if start is None else plain(training_file(start, "--from"))


def put_first_file(made: Branch, start: Path | None) -> None:
    """Have a branch begin with another training file, if one is named, or make sure that it did.

    Args:
      made: the branch, checked out.
      start: the file.

    Raises:
      InputError: it is none, would take the place of what nobody has committed, or the branch has
        begun with another one.
    """
    first = first_file(start)
    if first is None or start is None:
        return
    begun = [row for row in _rows(made.root) if row.branch == made.name]
    if not begun:
        made.begin_with(first, f"Begin from {start.name}")
    elif made.edit_of(begun[0].commit) != first:
        raise InputError(
            f"{made.name} is checked out, and began with another file than --from names. Leave "
            "that out to go on with it, or switch to where a new branch is to begin "
            "(git switch main)."
        )


def confinement(wanted: str | None) -> str:
    """What is wanted or was begun with; the best there is if None, or else a word to the user.

    Raises:
      InputError: what was begun with does not work here.
    """
    if wanted is not None:
        return sandbox.demand(wanted)
    kind = sandbox.available()
    if kind == sandbox.NONE:
        reasons = [sandbox.refusal(one) for one in (sandbox.BUBBLEWRAP, sandbox.NAMESPACES)]
        print(
            "note: this system can confine neither training nor evaluation: "
            f"{', and '.join(reasons)}. Do not run files that you do not trust.",
            file=sys.stderr,
        )
    return kind


def check_task(task_id: str, backend: str) -> None:
    """Complain about a task that is none or an engine that cannot run it, before anything starts.

    Raises:
      InputError: that is so.
    """
    backends.resolve(tasks.get(task_id), backend)


def check_budget(budget: float | None) -> float:
    """The seconds of a training.

    Raises:
      InputError: that is no positive number.
    """
    if budget is None:
        return TIME_BUDGET
    if not 0 < budget < float("inf"):
        raise InputError(f"--budget is {budget:g}; a positive number of seconds is needed.")
    return budget


def stopping(root: Path, task_ids: tuple[str, ...], unwanted: bool) -> bool:
    """Whether hopeless runs of a new branch are stopped; where they cannot be, a word on that.

    Args:
      root: the checkout.
      task_ids: of the branch.
      unwanted: whether the user wants none stopped.
    """
    if unwanted:
        return False
    reason = ""
    if len(task_ids) > 1:
        reason = "the objective is of several tasks, and a run is of one of them"
    elif "stopping" not in Ledger(root / LEDGER).read().columns:
        reason = f"{LEDGER} was begun by a harness that did not record whether they are"
    if reason:
        print(f"note: no run of this branch is stopped before its end: {reason}.", file=sys.stderr)
    return not reason


def check_seeds(count: int | None) -> int:
    """The policies that a training trains side by side.

    Raises:
      InputError: there are several, and nothing but processors to train them, or a ledger that has
        no place for their number.
    """
    if count is None or count == 1:
        return 1
    if "num_seeds" not in Ledger(Path.cwd() / LEDGER).read().columns:
        raise InputError(
            f"--seeds {count} needs a {LEDGER} that records it, and this one was begun by an "
            "earlier harness. Move it away, with runs/, and begin a new one."
        )
    if not instrument.accelerators():
        raise InputError(
            f"--seeds {count} needs an accelerator, which one training does not fill: on "
            "processors as many policies take as many times as long. Leave it out."
        )
    return count


def check_conditions(
    ongoing: Contest,
    tag: str,
    task: str | None,
    budget: float | None,
    backend: str | None,
    episodes: int | None = None,
    no_stopping: bool = False,
    seeds: int | None = None,
) -> None:
    """Make sure that nothing else is asked for than the conditions of the branch.

    Args:
      ongoing: the contest of the branch that is checked out.
      tag: as given on the command line, empty if not; None for those that follow.
      task: likewise.
      budget: likewise.
      backend: likewise; `auto` is what the branch has.
      episodes: likewise.
      no_stopping: whether it was given.
      seeds: as given on the command line; None if not.

    Raises:
      InputError: something else is.
    """
    laid = ongoing.conditions
    asked: dict[str, tuple[object, object]] = {
        "--tag": (tag or None, ongoing.branch.tag),
        "--task": (objective.parse(task) if task else None, laid.tasks),
        "--budget": (budget, laid.budget),
        "--backend": (None if backend in (None, "auto") else {backend}, set(laid.backends)),
        "--episodes": (episodes, laid.episodes),
        "--no-stopping": (False if no_stopping else None, laid.stopping),
        "--seeds": (seeds, laid.num_seeds),
    }
    names = [name for name, (want, has) in asked.items() if want is not None and want != has]
    if names:
        raise InputError(
            f"{ongoing.branch.name} is checked out, and its conditions are fixed: another "
            f"{', '.join(names)} has no effect. Leave that out, or switch to where a new "
            "branch is to begin (git switch main)."
        )
