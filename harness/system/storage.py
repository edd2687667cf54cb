"""What the system refuses, in words: a full disk, a folder that is not ours, a git that fails."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness.errors import StorageError


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Say what a failed read, write or git command means.

    Raises:
      StorageError: there was one.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError):
            raise
        raise StorageError(_meaning(error)) from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace").strip()
        words = " ".join(map(str, error.cmd[:3]))
        raise StorageError(
            f"{words} failed with exit code {error.returncode}: {said or 'it says nothing'}. "
            "Repair that and run again; harness.loop --resume continues a night."
        ) from error


def replace(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _meaning(error: OSError) -> str:
    """Cause and next step."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full ({error.filename or 'of the checkout, or of /tmp'}). Free some room "
            "(old folders in runs/ can be deleted); what was in the ledger is untouched."
        )
    where = error.filename or "a file that the system does not name"
    if error.errno == errno.EROFS:
        return f"{where} is on a file system that is read-only. Run from one that is not."
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"This user may not read or write {where}: {error.strerror}. Check its owner and its "
            "permissions, and those of its folder."
        )
    return (
        f"Cannot use {where}: {error.strerror}. What was recorded is in results.tsv and runs/, and "
        "harness.verify says whether it is whole."
    )
