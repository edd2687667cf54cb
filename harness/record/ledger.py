"""results.tsv: append-only, each row carrying the hash of the one before.

A run has two rows. The first is written before its training starts, so that no end of it, not even
a kill of the harness, leaves nothing; the second says how it ended.

A row is complete when its line ends. What a crash in the middle of a write leaves behind is a line
without an end; the next append takes its place. Any other damage is reported, never repaired.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.checkout import git
from harness.errors import LedgerError
from harness.places import RUNS
from harness.record.entries import ALONE, Entry, Renewed, Run
from harness.record.head import Head
from harness.record.snapshot import EMPTY, HEADER, Snapshot, line_of, verified


class Ledger:
    """The results of a checkout, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head = Head(path)
        self._heads: list[Head] = []

    def heads(self) -> list[Head]:
        """Where its end is kept: for the user and, where there is one, in the repository."""
        if not self._heads:
            heads = [self.head]
            with contextlib.suppress(git.GitError):
                heads.append(Head(self.path, git.directory(self.path.parent.resolve())))
            self._heads = heads
        return self._heads

    def read(self) -> Snapshot:
        """What it holds.

        Raises:
          LedgerError: the file is damaged; the message names the line.
        """
        try:
            return verified(self.path.read_bytes(), self.path)
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
            self._compare(verified(file.read(), self.path))

    def prepare(self) -> None:
        """Make sure that the rows are those that were written and that one could be appended.

        Raises:
          LedgerError: as `check`.
          OSError: ledger or head cannot be opened for writing.
        """
        for head in self.heads():
            head.prepare()
        with self._locked() as fd:
            self._compare(verified(_content(fd), self.path))

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
          LedgerError: the file is damaged, or was begun without what the row has to say.
          OSError: it cannot be written; it is as it was.
        """
        with self._locked() as fd:
            there = verified(_content(fd), self.path)
            self._compare(there)
            entry = decide(there)
            self._check_version(entry, there)
            for head in self.heads():  # a crash may have left one a row behind: never two
                if head.read() not in ("", there.digests[-1]):
                    head.write(there.digests[-1])
            line = line_of(entry, there.columns, there.digests[-1])
            size = len(there.content)
            data = line if size else HEADER + line
            longer = verified(there.content + data, self.path)
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

    def _check_version(self, entry: Entry, there: Snapshot) -> None:
        """Make sure that a ledger has the columns that a row must not lack.

        Raises:
          LedgerError: it was begun without them.
        """
        needed = ["sandbox"]
        needed += ["branch"] if entry.branch != ALONE else []
        needed += ["num_seeds"] if isinstance(entry, Run) and entry.num_seeds > 1 else []
        lacking = [name for name in needed if name not in there.columns]
        if lacking:
            raise LedgerError(
                f"{self.path} was begun by a harness that did not record {lacking[0]}, and cannot "
                f"hold this row. Move it away and delete {self.head.path}, and the next run begins "
                "a new one."
            )

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
                f"delete {paths}, and the next run continues it as it is."
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


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
