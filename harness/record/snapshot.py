"""What a ledger holds, from its bytes: its version, its chain of hashes checked, its rows parsed.

A row is complete when its line ends. What a crash in the middle of a write leaves behind is a line
without an end, and no row.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.contract.schema import SchemaError
from harness.errors import LedgerError
from harness.record import entries
from harness.record.entries import Entry, Run
from harness.record.head import Head
from harness.system import words

VERSIONS = (
    "commit avg_return status description task run_id seed challenger replicate std_return budget "
    "backend comparable verdict",
    "sandbox",
    "branch role objective episodes harness reason",
    "startup",
    "stopping",
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


def digest(line: bytes) -> str:
    """The SHA-256 of a line."""
    return hashlib.sha256(line).hexdigest()


HEADER = ("\t".join(COLUMNS) + "\n").encode()
"""The first line of a ledger that is begun here."""

EMPTY = Snapshot(b"", COLUMNS, (digest(HEADER),), ())
"""Of a ledger without a file."""

_KNOWN: dict[Path, Snapshot] = {}
"""The last one of each ledger that this process has checked."""


def line_of(entry: Entry, columns: Sequence[str], previous: str) -> bytes:
    """A row as a line after another one."""
    texts = {**entries.cells(entry), PREVIOUS: previous}
    row = (texts.get(name, "") for name in columns)
    return ("\t".join(row) + "\n").encode()


def written(rows: Iterable[Entry]) -> bytes:
    """A whole ledger with these rows."""
    lines = [HEADER]
    for row in rows:
        lines.append(line_of(row, COLUMNS, digest(lines[-1])))
    return b"".join(lines)


def verified(content: bytes, path: Path) -> Snapshot:
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
      LedgerError: as `verified`.
    """
    advice = (
        f"Restore it from a copy; or move it away and delete {Head(path).path}, and the next run "
        "begins a new one."
    )
    lines = content[len(known.content) :].splitlines(keepends=True)
    columns, digests, rows = known.columns, [*known.digests], [*known.entries]
    if not known.content:
        header = lines.pop(0)
        columns = tuple(header.decode(errors="replace").rstrip("\n").split("\t"))
        digests = [digest(header)]
        if [*columns] not in HEADERS:
            raise LedgerError(f"{path} is damaged: line 1 is not the header of a ledger. {advice}")
    for number, line in enumerate(lines, start=len(digests) + 1):
        try:
            rows.append(_parsed(line, columns, digests[-1]))
        except SchemaError as error:
            raise LedgerError(f"{path} is damaged: line {number} {error}. {advice}") from error
        digests.append(digest(line))
    return Snapshot(content, columns, tuple(digests), tuple(rows))


def _parsed(line: bytes, columns: Sequence[str], previous: str) -> Entry:
    """What a line says, as the one after that with the hash `previous`.

    Raises:
      SchemaError: it is no row, or not that one.
    """
    cells = line[:-1].split(b"\t")
    if len(cells) != len(columns):
        raise SchemaError(f"has {len(cells)} columns, not {len(columns)}")
    if cells[-1] != previous.encode():
        raise SchemaError(
            "does not follow from the line before it: one of them was changed, or a line between "
            "them removed"
        )
    texts = (words.plain(cell.decode(errors="replace")) for cell in cells[:-1])
    try:
        return entries.parse(dict(zip(columns, texts, strict=False)))
    except SchemaError as error:
        raise SchemaError(f"is a row {error}: none is written so") from error
