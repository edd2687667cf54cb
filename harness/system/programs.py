"""Programs of the system, by absolute path: none that somebody may have put into the checkout."""

import functools
import os
import shutil
from pathlib import Path

from harness.places import PACKAGE


@functools.cache
def find(name: str) -> str | None:
    """Where a program is, as it was when it was first asked for; None where it is not.

    Folders of `PATH` in the current folder, and in the checkout of this harness, are left out. Of
    the others those count first that we ourselves may not write to: an agent works as we do.

    Args:
      name: of the program, such as `git`.
    """
    own = (Path.cwd().resolve(), PACKAGE.parent)
    found = []
    for folder in filter(os.path.isabs, os.environ.get("PATH", os.defpath).split(os.pathsep)):
        path = shutil.which(name, path=folder)
        if path is None or any(Path(path).resolve().is_relative_to(one) for one in own):
            continue
        if not any(Path(folder).resolve().is_relative_to(one) for one in own):
            found.append(path)
    return next((path for path in found if not _is_ours(path)), found[0] if found else None)


def _is_ours(path: str) -> bool:
    """Whether we may replace a program."""
    real = os.path.realpath(path)
    return any(os.access(p, os.W_OK) for p in (real, os.path.dirname(real), os.path.dirname(path)))
