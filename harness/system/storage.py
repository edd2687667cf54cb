"""What the system refuses, in words: a full disk, a folder that is not ours."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from harness.errors import StorageError
from harness.places import RUNS

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_UNUSABLE = (
    errno.EAGAIN, errno.EBUSY, errno.EFBIG, errno.EINVAL, errno.EIO, errno.EISDIR, errno.ELOOP,
    errno.EMFILE, errno.ENAMETOOLONG, errno.ENFILE, errno.ENOEXEC, errno.ENOLCK, errno.ENOMEM,
    errno.ENOSYS, errno.ENOTCONN, errno.ENOTDIR, errno.ENOTSUP, errno.ESTALE, errno.ETIMEDOUT,
    errno.ETXTBSY,
)  # fmt: skip
REFUSALS = (*_FULL, *_FORBIDDEN, errno.EROFS, *_UNUSABLE)
"""Errors of the system that a user can do something about. That a file is missing is none of them,
nor that a descriptor is closed: there we have done something wrong."""


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Say what a read or a write means that the system refuses; bugs keep their traceback.

    Raises:
      StorageError: there was one.
    """
    try:
        yield
    except OSError as error:
        if error.errno in REFUSALS:
            raise StorageError(_meaning(error)) from error
        if (folder := _removed(error)) is not None:
            raise StorageError(
                f"The folder {folder} was removed during its run: what was measured is lost."
            ) from error
        raise


def replace(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _removed(error: OSError) -> Path | None:
    """The folder of a run, which a user may delete, if that is why a file is missing."""
    if error.errno != errno.ENOENT or error.filename is None:
        return None
    above = Path(os.fsdecode(error.filename)).parents
    folders = (folder for folder in above if folder.parent.name == RUNS)
    return next((folder for folder in folders if not folder.exists()), None)


def _meaning(error: OSError) -> str:
    """Cause and next step."""
    if error.errno in _FULL:
        return (
            f"The disk is full ({error.filename or 'of the checkout, or of /tmp'}). Free some room "
            "(old folders in runs/ can be deleted); what was in the ledger is untouched."
        )
    where = error.filename or "a file that the system does not name"
    if error.errno == errno.EROFS:
        return f"{where} is on a file system that is read-only. Run from one that is not."
    if error.errno in _FORBIDDEN:
        return (
            f"This user may not read or write {where}: {error.strerror}. Check its owner and its "
            "permissions, and those of its folder."
        )
    return (
        f"Cannot use {where}: {error.strerror}. What was recorded is in results.tsv and runs/, and "
        "harness.verify says whether it is whole."
    )
