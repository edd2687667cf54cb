"""results.tsv: one row a run, append-only, each row carrying the hash of the one before.

A row is complete when its line ends. What a crash in the middle of a write leaves behind is a
line without an end; the next append takes its place. Any other damage is reported, never mended.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import LedgerError, StorageError

FILE = "results.tsv"
LOST = "lost"
"""Status of a run whose worker died."""

RENEWED = "renewed"
"""Status of a row that is no run: the first one of a ledger in the place of another one."""

NAME_LENGTH = 16
"""Characters of a head's file name, which is a hash of the ledger's path."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One run; all fields are text, as they stand in the file.

    Attributes:
      commit: short hash of the checkout, `+` after it where files were changed; `-` without git.
      avg_return: mean over the episodes; empty where there is no score.
      status: `scored`, or what the run decided (`keep`, `discard`); of runs without a score
        `crash`, `timeout`, `tampered`, `interrupted`, `lost` (its worker died), `inconclusive`
        (something else went wrong). `renewed` is no run, see `Ledger.renew`.
      description: one line of text from the user.
      task: its Gymnasium id.
      run_id: the folder in `runs/`.
      seed: of the training.
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
    previous: str = ""

    @property
    def scored(self) -> bool:
        """Whether the run has a score."""
        return self.avg_return != ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


def state_folder() -> Path:
    """Where heads are kept: for the user, outside every checkout."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "autorl-jax"


class Head:
    """The hash of the last line of a ledger, kept outside the checkout.

    A chain of hashes shows that a line was changed; whoever rewrites all of them, or cuts the end
    off, is shown by this.
    """

    def __init__(self, ledger: Path) -> None:
        name = hashlib.sha256(str(ledger.resolve()).encode()).hexdigest()[:NAME_LENGTH]
        self.path = state_folder() / f"{name}.head"

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
                "Name a folder that you may write to in the variable XDG_STATE_HOME."
            ) from error

    def write(self, digest: str) -> None:
        """Replace it, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".new")
        with open(temporary, "w", encoding="ascii") as file:
            file.write(digest + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)


class Ledger:
    """The results of a checkout, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head = Head(path)

    def rows(self) -> list[Row]:
        """All complete rows, the chain checked.

        Raises:
          LedgerError: the file is damaged; the message names the line.
        """
        try:
            with open(self.path, "rb") as file:
                return [_row(line) for line in _lines(file.read(), self.path)]
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
        self.head.prepare()
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
        runs = self.path.with_name("runs")
        if not self.head.read() or self.rows() or (runs.is_dir() and any(runs.iterdir())):
            return ""
        self.head.prepare()
        digest = self.head.retire()
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
            size = len(_HEADER) + sum(map(len, lines)) if content.startswith(_HEADER) else 0
            last = lines[-1] if lines else _HEADER
            new = _line(dataclasses.replace(row, previous=_hash(last)))
            try:
                os.ftruncate(fd, size)
                data = new if size else _HEADER + new
                if os.pwrite(fd, data, size) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(fd)
                self.head.write(_hash(new))
            except OSError:
                os.ftruncate(fd, size)
                raise

    def _compare(self, lines: list[bytes]) -> None:
        """Compare with the head; one row more than it knows is what a crash leaves."""
        head = self.head.read()
        ends = [_hash(line) for line in (_HEADER, *lines)[-2:]]
        if not head or head in ends:
            return
        known = [_hash(line) for line in lines]
        if head in known:
            raise LedgerError(
                f"{self.path} has {len(lines) - known.index(head) - 1} rows more than were written "
                f"from here, the first of them in line {known.index(head) + 3}: another home or "
                "machine, as a container's, or another program has appended them. If that was you, "
                f"delete {self.head.path}, and the next run goes on with it as it is."
            )
        raise LedgerError(
            f"{self.path} does not end with the row that was written last: rows were removed, or "
            "all of them rewritten. Restore it from a copy. If you moved it away yourself, delete "
            f"{self.head.path}, and the next run begins a new one."
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)


def _line(row: Row) -> bytes:
    """A row as a line: tabs and line ends in its texts become spaces."""
    texts = (" ".join(text.split()) for text in dataclasses.astuple(row))
    return ("\t".join(texts) + "\n").encode(errors="replace")


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


_HEADER = ("\t".join(COLUMNS) + "\n").encode()


def _row(line: bytes) -> Row:
    return Row(*line.decode(errors="replace").rstrip("\n").split("\t"))


def _lines(content: bytes, path: Path) -> list[bytes]:
    """The complete lines after the header, their chain checked.

    Raises:
      LedgerError: header, number of columns or chain are not as they should be.
    """
    lines = content.splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    if not lines:
        return []
    advice = (
        f"Restore it from a copy; or move it away and delete {Head(path).path}, and the next run "
        "begins a new one."
    )
    if lines[0] != _HEADER:
        raise LedgerError(f"{path} is damaged: line 1 is not the header of a ledger. {advice}")
    previous = _hash(_HEADER).encode()
    for number, line in enumerate(lines[1:], start=2):
        columns = line.count(b"\t") + 1
        if columns != len(COLUMNS):
            raise LedgerError(
                f"{path} is damaged: line {number} has {columns} columns, not {len(COLUMNS)}. "
                + advice
            )
        if line[line.rindex(b"\t") + 1 : -1] != previous:
            raise LedgerError(
                f"{path} is damaged: line {number} does not follow from the line before it: one "
                f"of them was changed, or a line between them removed. {advice}"
            )
        previous = _hash(line).encode()
    return lines[1:]
