"""The end of a ledger, kept apart from it."""

import hashlib
import os
import tempfile
from pathlib import Path

from harness.errors import StorageError
from harness.places import state_folder

HEAD_LENGTH = 16
"""Characters of a head's file name, which is a hash of the ledger's path."""


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
        name = hashlib.sha256(str(ledger.resolve()).encode()).hexdigest()[:HEAD_LENGTH]
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
        self.path.replace(self.path.with_suffix(f".{digest[:HEAD_LENGTH]}.head"))
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
