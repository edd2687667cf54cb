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
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from harness.checkout import git
from harness.contract.schema import SchemaError
from harness.errors import LedgerError, StorageError
from harness.places import RUNS, state_folder
from harness.record import entries
from harness.record.entries import ALONE, Entry, Renewed, Run
from harness.system import words

NAME_LENGTH = 16
"""Characters of a head's file name, which is a hash of the ledger's path."""

VERSIONS = (
    "commit avg_return status description task run_id seed challenger replicate std_return budget "
    "backend comparable verdict",
    "sandbox",
    "branch role objective episodes harness reason",
    "startup",
)
"""The columns of the first version of the record, and what each further one has added to them. A
ledger keeps the columns that it was begun with."""

PREVIOUS = "previous"
"""The last column: the SHA-256 of the line before, the header's for the first row."""

HEADERS = tuple(
    [*" ".join(VERSIONS[:version]).split(), PREVIOUS] for version in range(1, len(VERSIONS) + 1)
)
"""The columns of a ledger by its version, from 1."""

COLUMNS = tuple(HEADERS[-1])
"""Of a ledger that is begun here."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a ledger held when it was read, its chain checked.

    Attributes:
      content: its complete lines, the header first; empty where there is no file yet.
      columns: of its rows.
      digests: of its lines, the header's first.
      entries: its rows, in their order.
    """

    content: bytes
    columns: tuple[str, ...]
    digests: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def version(self) -> int:
        """Of the record."""
        return HEADERS.index([*self.columns]) + 1

    def ended(self) -> list[Entry]:
        """All but the first rows of runs."""
        return [entry for entry in self.entries if not (isinstance(entry, Run) and entry.begun)]

    def runs(self) -> list[Run]:
        """The runs that have ended."""
        return [entry for entry in self.ended() if isinstance(entry, Run)]

    def open(self) -> list[Run]:
        """The first rows of runs that have no end: they go on, or their harness was killed."""
        found: dict[str, Run] = {}
        for entry in self.entries:
            if isinstance(entry, Run) and entry.begun:
                found[entry.run_id] = entry
            else:
                found.pop(entry.run_id, None)
        return list(found.values())


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

    def heads(self) -> list[Head]:
        """Where its end is kept: for the user and, where there is one, in the repository."""
        try:
            folder = git.directory(self.path.parent.resolve())
        except git.GitError:
            return [self.head]
        return [self.head, Head(self.path, folder)]

    def read(self) -> Snapshot:
        """What it holds.

        Raises:
          LedgerError: the file is damaged; the message names the line.
        """
        try:
            return _verified(self.path.read_bytes(), self.path)
        except FileNotFoundError:
            return EMPTY

    def rows(self) -> list[Entry]:
        """All but the first rows of runs, as of now; raises as `read`."""
        return self.read().ended()

    def runs(self) -> list[Run]:
        """The runs that have ended, as of now; raises as `read`."""
        return self.read().runs()

    def check(self) -> None:
        """Make sure that the rows are those that were written.

        Raises:
          LedgerError: the file is damaged, or is not the one that was written last.
          OSError: it cannot be read.
        """
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # a row and the head that names it are written as one
            self._compare(_verified(file.read(), self.path))

    def prepare(self) -> None:
        """Make sure that the rows are those that were written and that one could be appended.

        Raises:
          LedgerError: as `check`.
          OSError: ledger or head cannot be opened for writing.
        """
        for head in self.heads():
            head.prepare()
        with self._locked() as fd:
            self._compare(_verified(_content(fd), self.path))

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
        known = [head for head in self.heads() if head.read()]
        if not known or self.read().entries or (runs.is_dir() and any(runs.iterdir())):
            return ""
        self.head.prepare()
        digest = [head.retire() for head in known][-1]
        self.append(Renewed(reason=f"A ledger that ended with {digest} was here before."))
        return (
            f"note: a ledger that was here before is gone, with all its runs: {self.path} begins "
            "anew, and says so in its first row. If you did not remove it, somebody else did."
        )

    def append(self, entry: Entry) -> Snapshot:
        """Add one row at the end; raises and returns as `conclude`."""
        return self.conclude(lambda there: entry)

    def conclude(self, decide: Callable[[Snapshot], Entry]) -> Snapshot:
        """Add one row at the end, flushed to the disk; all of it or nothing.

        Args:
          decide: gives the row from what is there; nobody else appends meanwhile.

        Returns:
          What the ledger holds with it.

        Raises:
          LedgerError: the file is damaged, or was begun before there were branches.
          OSError: it cannot be written; it is as it was.
        """
        with self._locked() as fd:
            there = _verified(_content(fd), self.path)
            self._compare(there)
            entry = decide(there)
            if entry.branch != ALONE and "branch" not in there.columns:
                raise LedgerError(
                    f"{self.path} was begun by a harness that knew no branches, and cannot hold "
                    f"this one's rows. Move it away and delete {self.head.path}, and the next run "
                    "begins a new one."
                )
            line = _line(entry, there.columns, there.digests[-1])
            size = len(there.content)
            data = line if size else _HEADER + line
            longer = _verified(there.content + data, self.path)
            try:
                os.ftruncate(fd, size)
                if os.pwrite(fd, data, size) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(fd)
                staged = [(head.stage(longer.digests[-1]), head.path) for head in self.heads()]
                for new_head, path in staged:  # none of them, where one cannot be written
                    new_head.replace(path)
            except OSError:
                os.ftruncate(fd, size)
                raise
        return longer

    def _compare(self, there: Snapshot) -> None:
        """Compare with the heads; one row more than they know is what a crash leaves."""
        hashes = there.digests
        wrong = [head for head in self.heads() if head.read() not in ["", *hashes[-2:]]]
        if not wrong:
            return
        paths = " and ".join(str(head.path) for head in wrong)
        if all(head.read() in hashes for head in wrong):
            last = max(hashes.index(head.read()) for head in wrong)
            raise LedgerError(
                f"{self.path} has {len(hashes) - last - 1} rows more than were written "
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


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


_HEADER = ("\t".join(COLUMNS) + "\n").encode()

EMPTY = Snapshot(b"", COLUMNS, (_hash(_HEADER),), ())
"""Of a ledger without a file."""

_KNOWN: dict[Path, Snapshot] = {}
"""The last one of each ledger that this process has checked."""


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _line(entry: Entry, columns: Sequence[str], previous: str) -> bytes:
    """A row as a line after another one."""
    texts = {**entries.cells(entry), PREVIOUS: previous}
    row = (texts.get(name, "") for name in columns)
    return ("\t".join(row) + "\n").encode()


def written(rows: Iterable[Entry]) -> bytes:
    """A whole ledger with these rows."""
    lines = [_HEADER]
    for row in rows:
        lines.append(_line(row, COLUMNS, _hash(lines[-1])))
    return b"".join(lines)


def _verified(content: bytes, path: Path) -> Snapshot:
    """What complete lines say, their chain checked; lines that were checked before are compared.

    Raises:
      LedgerError: header, number of columns, chain or a cell are not as they should be.
    """
    content = content[: content.rfind(b"\n") + 1]
    known = _KNOWN.get(path)
    if known is None or not content.startswith(known.content):
        known = EMPTY
    if len(content) > len(known.content):
        known = _KNOWN[path] = _longer(known, content, path)
    return known if content else EMPTY


def _longer(known: Snapshot, content: bytes, path: Path) -> Snapshot:
    """A snapshot of more lines than are known.

    Raises:
      LedgerError: as `_verified`.
    """
    advice = (
        f"Restore it from a copy; or move it away and delete {Head(path).path}, and the next run "
        "begins a new one."
    )
    lines = content[len(known.content) :].splitlines(keepends=True)
    columns, digests, rows = known.columns, [*known.digests], [*known.entries]
    if not known.content:
        header = lines.pop(0)
        columns, digests = tuple(words.decoded(header).rstrip("\n").split("\t")), [_hash(header)]
        if [*columns] not in HEADERS:
            raise LedgerError(f"{path} is damaged: line 1 is not the header of a ledger. {advice}")
    for number, line in enumerate(lines, start=len(digests) + 1):
        where = f"{path} is damaged: line {number}"
        cells = line[:-1].split(b"\t")
        if len(cells) != len(columns):
            raise LedgerError(f"{where} has {len(cells)} columns, not {len(columns)}. {advice}")
        if cells[-1] != digests[-1].encode():
            raise LedgerError(
                f"{where} does not follow from the line before it: one of them was changed, or a "
                f"line between them removed. {advice}"
            )
        digests.append(_hash(line))
        texts = (words.plain(cell.decode(errors="replace")) for cell in cells[:-1])
        try:
            rows.append(entries.parse(dict(zip(columns, texts, strict=False))))
        except SchemaError as error:
            raise LedgerError(f"{where} is a row {error}: none is written so. {advice}") from error
    return Snapshot(content, columns, tuple(digests), tuple(rows))
