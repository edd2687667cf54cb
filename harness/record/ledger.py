"""results.tsv: append-only, each row carrying the hash of the one before.

A run has two rows. The first is written before its training starts, so that no end of it, not even
a kill of the harness, leaves nothing; the second says how it ended.

A row is complete when its line ends. What a crash in the middle of a write leaves behind is a line
without an end; the next append takes its place. Any other damage is reported, never mended.
"""

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.checkout import git
from harness.errors import LedgerError, StorageError
from harness.places import RUNS, state_folder
from harness.system import words

BEGUN, LOST, INTERRUPTED = "begun", "lost", "interrupted"
"""Statuses of a run's first row, of a run whose worker died, and of one that ended with us."""

RENEWED = "renewed"
"""Status of a row that is no run: the first one of a ledger in the place of another one."""

NAME_LENGTH = 16
"""Characters of a head's file name, which is a hash of the ledger's path."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A run, begun or ended; all fields are text, as they stand in the file.

    Attributes:
      commit: short hash of the checkout, `+` after it where files were changed; `-` without git.
      avg_return: mean over the episodes; empty where there is no score.
      status: `scored`, or what the run decided (`keep`, `discard`); of runs without a score
        `crash`, `timeout`, `tampered`, `interrupted`, `lost` (its worker died), `inconclusive`
        (something else went wrong). `begun` in its first row; `renewed` is no run, see
        `Ledger.renew`.
      description: one line of text from the user.
      task: its Gymnasium id.
      run_id: the folder in `runs/`.
      seed: of the training; empty where the run was refused before it began.
      challenger: which edit the run was made for.
      replicate: which of the runs of its role that were made for this edit.
      std_return: over the episodes.
      budget: seconds.
      backend: that trained it.
      comparable: `yes`; `no` where seed, budget, episodes or file were given by hand.
      verdict: `none` for a run that is not judged; `go on`, `keep`, `discard`, `inconclusive`.
      sandbox: how training and evaluation were confined; `none` if they were not.
      branch: the experiment branch; `-` for a run that belongs to none.
      role: `challenger`, or `incumbent` measured beside it or for its own sake; `-` likewise.
      objective: all tasks of the branch, with commas.
      episodes: of the evaluation.
      harness: what measured: the fingerprint of the harness, and the hardware.
      reason: of the verdict, in words.
      startup: seconds from the start of the training process to that of the clock; empty where
        there is no score, or the ledger was begun without this column.
      previous: SHA-256 of the line before, the header's for the first row.
    """

    commit: str
    avg_return: str
    status: str
    description: str
    task: str
    run_id: str
    seed: str
    challenger: str
    replicate: str
    std_return: str
    budget: str
    backend: str
    comparable: str
    verdict: str
    sandbox: str
    branch: str
    role: str
    objective: str
    episodes: str
    harness: str
    reason: str
    startup: str = ""
    previous: str = ""

    @property
    def scored(self) -> bool:
        """Whether the run has a score."""
        return self.avg_return != ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))

ADDED = ("startup",)
"""Columns that a ledger may lack which was begun before they were there; it goes on without them.
"""


class Head:
    """The hash of the last line of a ledger, kept outside the checkout or in its repository.

    A chain of hashes shows that a line was changed; whoever rewrites all of them, or cuts the end
    off, is shown by this.

    Args:
      ledger: of which it is.
      repository: the git directory in which it is kept, which another home does not make forget;
        for the user if None.
    """

    def __init__(self, ledger: Path, repository: Path | None = None) -> None:
        name = hashlib.sha256(str(ledger.resolve()).encode()).hexdigest()[:NAME_LENGTH]
        self.path = (
            repository / f"autorl-{ledger.name}.head"  # a checkout may be moved with it
            if repository
            else state_folder() / f"{name}.head"
        )

    def read(self) -> str:
        """The hash; empty where none is known, as in a checkout that was copied."""
        try:
            return self.path.read_text().strip()
        except FileNotFoundError:
            return ""

    def retire(self) -> str:
        """Put it aside, for a ledger that begins anew at the same place; the hash."""
        digest = self.read()
        self.path.replace(self.path.with_suffix(f".{digest[:NAME_LENGTH]}.head"))
        return digest

    def prepare(self) -> None:
        """Make sure that it could be written.

        Raises:
          StorageError: it could not.
        """
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise StorageError(
                f"Cannot write {folder} ({error.strerror}), where the end of the ledger is kept. "
                "Make it writable, or, if it is not the repository's, name another one in the "
                "variable XDG_STATE_HOME."
            ) from error

    def write(self, digest: str) -> None:
        """Replace it, whole or not at all."""
        self.stage(digest).replace(self.path)

    def stage(self, digest: str) -> Path:
        """Write what is to replace it beside it; the path of that."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".new")
        with open(temporary, "w", encoding="ascii") as file:
            file.write(digest + "\n")
            file.flush()
            os.fsync(file.fileno())
        return temporary


class Ledger:
    """The results of a checkout, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head = Head(path)

    @functools.cached_property
    def heads(self) -> list[Head]:
        """Where its end is kept: for the user and, where there is one, in the repository."""
        try:
            folder = git.text(self.path.parent, "rev-parse", "--absolute-git-dir")
        except git.GitError:
            return [self.head]
        return [self.head, Head(self.path, Path(folder))]

    def rows(self, begun: bool = False) -> list[Row]:
        """The rows of what has ended, the chain checked.

        Args:
          begun: give the first rows of runs, too.

        Raises:
          LedgerError: the file is damaged; the message names the line.
        """
        return [row for row in self._all() if begun or row.status != BEGUN]

    def open(self) -> list[Row]:
        """The first rows of runs that have no end: they go on, or their harness was killed.

        Raises:
          LedgerError: as `rows`.
        """
        found: dict[str, Row] = {}
        for row in self._all():
            if row.status == BEGUN:
                found[row.run_id] = row
            else:
                found.pop(row.run_id, None)
        return list(found.values())

    def _all(self) -> list[Row]:
        try:
            with open(self.path, "rb") as file:
                header, *lines = _lines(file.read(), self.path)
            return [_row(line, header) for line in lines]
        except FileNotFoundError:
            return []

    def check(self) -> None:
        """Make sure that the rows are those that were written.

        Raises:
          LedgerError: the file is damaged, or is not the one that was written last.
          OSError: it cannot be read.
        """
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # a row and the head that names it are written as one
            self._compare(_lines(file.read(), self.path))

    def prepare(self) -> None:
        """Make sure that the rows are those that were written and that one could be appended.

        Raises:
          LedgerError: as `check`.
          OSError: ledger or head cannot be opened for writing.
        """
        for head in self.heads:
            head.prepare()
        with self._locked() as fd:
            self._compare(_lines(os.pread(fd, os.fstat(fd).st_size, 0), self.path))

    def renew(self) -> str:
        """Begin anew where a checkout was removed and another one stands in its place.

        That is so where there is neither a row nor a run's folder, but a head. The new ledger's
        first row names the end of the old one: whoever has removed the rows of a checkout, and all
        its runs, leaves that behind.

        Returns:
          A note for the user; empty where nothing was to be done.

        Raises:
          LedgerError: as `check`.
          OSError: ledger or head cannot be written.
        """
        runs = self.path.with_name(RUNS)
        known = [head for head in self.heads if head.read()]
        if not known or self._all() or (runs.is_dir() and any(runs.iterdir())):
            return ""
        self.head.prepare()
        digest = [head.retire() for head in known][-1]
        reason = f"A ledger that ended with {digest} was here before."
        empty = dict.fromkeys(COLUMNS, "")
        fields = {"commit": "-", "status": RENEWED, "branch": "-", "role": "-", "reason": reason}
        self.append(Row(**(empty | fields)))
        return (
            f"note: a ledger that was here before is gone, with all its runs: {self.path} begins "
            "anew, and says so in its first row. If you did not remove it, somebody else did."
        )

    def append(self, row: Row) -> None:
        """Add one row at the end, flushed to the disk; all of it or nothing.

        Args:
          row: `previous` is filled in here.

        Raises:
          LedgerError: the file is damaged.
          OSError: it cannot be written; it is as it was.
        """
        with self._locked() as fd:
            content = os.pread(fd, os.fstat(fd).st_size, 0)
            lines = _lines(content, self.path)
            self._compare(lines)
            size = sum(map(len, lines)) if content.startswith(lines[0]) else 0
            new = _line(dataclasses.replace(row, previous=_hash(lines[-1])), lines[0])
            try:
                os.ftruncate(fd, size)
                data = new if size else lines[0] + new
                if os.pwrite(fd, data, size) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(fd)
                staged = [(head.stage(_hash(new)), head.path) for head in self.heads]
                for new_head, path in staged:  # none of them, where one cannot be written
                    new_head.replace(path)
            except OSError:
                os.ftruncate(fd, size)
                raise

    def _compare(self, lines: list[bytes]) -> None:
        """Compare with the heads; one row more than they know is what a crash leaves."""
        ends = [_hash(line) for line in lines[-2:]]
        wrong = [head for head in self.heads if head.read() not in ["", *ends]]
        if not wrong:
            return
        hashes = [_hash(line) for line in lines]
        paths = " and ".join(str(head.path) for head in wrong)
        if all(head.read() in hashes for head in wrong):
            last = max(hashes.index(head.read()) for head in wrong)
            raise LedgerError(
                f"{self.path} has {len(lines) - last - 1} rows more than were written "
                f"from here, the first of them in line {last + 2}: another home or "
                "machine, as a container's, or another program has appended them. If that was you, "
                f"delete {paths}, and the next run goes on with it as it is."
            )
        raise LedgerError(
            f"{self.path} does not end with the row that was written last: rows were removed, or "
            "all of them rewritten. Restore it from a copy. If you moved it away yourself, delete "
            f"{paths}, and the next run begins a new one."
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)


_HEADER = ("\t".join(COLUMNS) + "\n").encode()


def _line(row: Row, header: bytes = _HEADER) -> bytes:
    """A row as a line under a header: its texts are words in one line each."""
    texts = (words.line(getattr(row, name)) for name in _columns(header))
    return ("\t".join(texts) + "\n").encode()


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _columns(header: bytes) -> list[str]:
    return header.decode(errors="replace").rstrip("\n").split("\t")


def _row(line: bytes, header: bytes) -> Row:
    texts = words.plain(line.decode(errors="replace")).rstrip("\n").split("\t")
    return Row(**dict(zip(_columns(header), texts, strict=True)))


def _lines(content: bytes, path: Path) -> list[bytes]:
    """The complete lines, the header first, their chain checked; a new header where there is none.

    Raises:
      LedgerError: header, number of columns or chain are not as they should be.
    """
    lines = content.splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    if not lines:
        return [_HEADER]
    advice = (
        f"Restore it from a copy; or move it away and delete {Head(path).path}, and the next run "
        "begins a new one."
    )
    names = _columns(lines[0])
    if names != [name for name in COLUMNS if name in names or name not in ADDED]:
        raise LedgerError(f"{path} is damaged: line 1 is not the header of a ledger. {advice}")
    previous = _hash(lines[0]).encode()
    for number, line in enumerate(lines[1:], start=2):
        columns = line.count(b"\t") + 1
        if columns != len(names):
            raise LedgerError(
                f"{path} is damaged: line {number} has {columns} columns, not {len(names)}. "
                + advice
            )
        if line[line.rindex(b"\t") + 1 : -1] != previous:
            raise LedgerError(
                f"{path} is damaged: line {number} does not follow from the line before it: one "
                f"of them was changed, or a line between them removed. {advice}"
            )
        previous = _hash(line).encode()
    return lines
