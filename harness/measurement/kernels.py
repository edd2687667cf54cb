"""Warp's compiled kernels, which the harness keeps for the trainings: filled by it, read by them.

Warp compiles a kernel where it first runs, within the budget of the training that runs it: on a GPU
a minute. So a process of our own, confined, compiles them once for a task and an instrument, before
any training; it runs nothing that a training has written. Trainings see the folder read-only.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from harness import places, tasks
from harness.confinement import sandbox, view
from harness.confinement.sandbox import Mount
from harness.contract.order import Assignment
from harness.engines import backends, warp_cache
from harness.errors import InputError
from harness.measurement import instrument
from harness.system import words

WARMING = "harness.measurement.warming"
"""The module that compiles."""

MOST_SECONDS = 300.0
"""In which it must: five times what it takes on an H100, where the driver may have to wake up."""

INSTRUMENTS = 3
"""Of so many there are kernels, some 20 MB a task; those of one that was longer not in use are
removed. A checkout beside this one may have another harness, and its kernels."""

DIGITS = 16
"""Of an instrument's digest: its name."""

UNFINISHED = ".new"
"""Ending of a folder that is being filled, or was when its harness was killed."""

COLD = (
    "Warp's kernels were not there when it began: they were compiled within the budget (see the "
    "note of the command)."
)
"""What is to be known of a training without them."""

_failed: set[Path] = set()
"""What this command has tried to fill. It tries once, so that all of its runs begin alike."""

_CONFINED_FOLDER = f"{view.TEMPORARY}/autorl-kernels"
"""Of a confined training: where Warp puts kernels, in a folder that is the run's."""


def ready(assignment: Assignment, tool: str) -> Path | None:
    """The kernels of a training on Warp, which are compiled where there are none.

    Args:
      assignment: of the training.
      tool: the instrument, in words; empty for this machine's. Another one's kernels may differ.

    Returns:
      Their folder; None where the training needs none, or where a note says why there are none.
    """
    if not _on_warp(assignment):
        return None
    digest = hashlib.sha256((tool or instrument.described()).encode()).hexdigest()
    folder = places.kernels_folder() / digest[:DIGITS] / assignment.task_id
    if not folder.is_dir() and (folder in _failed or not _is_filled(folder)):
        return None
    with contextlib.suppress(OSError):  # a folder of somebody else
        os.utime(folder.parent)
    return folder


@contextlib.contextmanager
def lent(folder: Path | None, kind: str) -> Iterator[tuple[list[Mount], Mapping[str, str]]]:
    """What a training sees of them, and its variables: Warp has a folder that ends with it.

    Args:
      folder: of the kernels; None for none.
      kind: of confinement.
    """
    mounts = [] if folder is None else [Mount("show", str(folder))]
    with contextlib.ExitStack() as stack:
        own = _CONFINED_FOLDER
        if kind == sandbox.NONE:
            made = tempfile.TemporaryDirectory(prefix="autorl-kernels-", ignore_cleanup_errors=True)
            own = stack.enter_context(made)
        yield mounts, warp_cache.variables(own, folder)


def doubt(folder: Path | None, backend: str) -> str:
    """A note where a training on Warp began without kernels; else nothing.

    Args:
      folder: what it was lent.
      backend: that it trained on, as it says.
    """
    return COLD if backend == backends.WARP and folder is None else ""


def _on_warp(assignment: Assignment) -> bool:
    """Whether a training will choose Warp, as far as it can be told from outside."""
    if assignment.backend not in (backends.WARP, "auto"):
        return False
    accelerated = bool(instrument.accelerators())
    if assignment.backend == "auto" and not accelerated:
        return False
    with contextlib.suppress(InputError):  # the training says it better
        task = tasks.get(assignment.task_id)
        return backends.resolve(task, assignment.backend, accelerated) == backends.WARP
    return False


def _is_filled(folder: Path) -> bool:
    """Whether kernels are there, in the end: who finds none compiles them, or waits for who does.

    Args:
      folder: of a task's kernels, in that of their instrument.
    """
    shelf, task_id = folder.parent, folder.name
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        # One lock a task, whatever the instrument: its file stays, and so do few.
        with FileLock(shelf.parent / f"{task_id}.lock", timeout=MOST_SECONDS, mode=0o600):
            if not folder.is_dir():
                _fill(task_id, folder)
                _tidy(shelf.parent)
    except (_FailedError, Timeout, InputError, OSError, NotImplementedError) as error:
        _failed.add(folder)
        reason = words.line(str(error) or type(error).__name__)
        print(f"note: Warp's kernels for {task_id} could not be compiled beforehand ({reason}). "
              "Trainings compile them within their budget, and their rows say so.",
              file=sys.stderr)  # fmt: skip
        return False
    return True


class _FailedError(Exception):
    """Why there are no kernels."""


def _fill(task_id: str, folder: Path) -> None:
    """Have kernels compiled; the folder is there whole, or not at all.

    Raises:
      _FailedError: there are none.
    """
    print(f"note: compiling Warp's kernels for {task_id} once; no budget pays for it.",
          file=sys.stderr)  # fmt: skip
    making = folder.with_name(folder.name + UNFINISHED)
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    try:
        _compile(task_id, making)
        files = [path for path in making.rglob("*") if path.is_file()]
        if not files:
            raise _FailedError("the process that compiles left none")
        for path in files:
            with open(path, "rb") as file:  # a crash of the machine leaves no half of a kernel
                os.fsync(file.fileno())
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _compile(task_id: str, folder: Path) -> None:
    """Run `WARMING`, confined; it may write to the folder and nowhere else.

    Raises:
      _FailedError: it did not end well, or not in time.
    """
    with sandbox.start(
        sandbox.available(), [sys.executable, "-m", WARMING, task_id],
        [*sandbox.system(), Mount("write", str(folder))],
        {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # a run may be on the device
            **warp_cache.variables(folder),
        },
        cwd=Path("/"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            raise _FailedError(f"it took over {MOST_SECONDS:g} s") from None
        finally:
            process.kill()
    if process.returncode:
        last = (words.decoded(said).strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise _FailedError(last)


def _tidy(shelves: Path) -> None:
    """Remove the kernels of instruments that were longest not in use.

    A training that is about to copy from them compiles instead.
    """
    found = [path for path in shelves.iterdir() if path.is_dir()]
    for path in sorted(found, key=lambda path: path.stat().st_mtime)[:-INSTRUMENTS]:
        shutil.rmtree(path, ignore_errors=True)
