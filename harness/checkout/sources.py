"""The harness that child processes run: its sources, in a folder of this process, and nothing else.

Beside its sources a checkout holds what nobody has committed and Python would take first: bytecode
(`__pycache__`), a `sitecustomize`, metadata that announces plugins. So no child imports from there.
"""

import functools
import os
import tempfile
import threading
from pathlib import Path

from harness import places
from harness.checkout import integrity
from harness.errors import IntegrityError
from harness.system import origin

_MAKING = threading.Lock()


def folder() -> Path:
    """What stands first on the path of a child: only the package `harness` is in it.

    Raises:
      IntegrityError: the harness was changed since this process began.
    """
    with _MAKING:
        return Path(_copy().name).resolve()


def python_path() -> dict[str, str]:
    """Variables with which a child imports what we import, but `harness` from its sources only.

    What is in the current folder comes last, see `origin`.
    """
    return {
        "PYTHONPATH": os.pathsep.join([str(folder()), *origin.paths()]),
        "PYTHONSAFEPATH": "1",  # nothing from beside a script, or from where a module is started
        origin.FOLDER_VARIABLE: str(Path.cwd()),
        "PYTHONUNBUFFERED": "1",
    }


def check() -> None:
    """Make sure that children still find what this process has loaded.

    Raises:
      IntegrityError: they do not.
    """
    there = {path: integrity.name(copy) for path, copy in _places(folder()).items()}
    if there != integrity.AT_START or len(there) != len([*folder().rglob("*.py")]):
        raise IntegrityError(f"The copy of the harness in {folder()} was changed during a run.")


@functools.cache
def _copy() -> tempfile.TemporaryDirectory:
    """The folder; gone when this process has ended."""
    made = tempfile.TemporaryDirectory(prefix="autorl-harness-", ignore_cleanup_errors=True)
    for path, copy in _places(Path(made.name)).items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(Path(path).read_bytes())
        if integrity.name(copy) != integrity.AT_START[path]:
            raise IntegrityError(
                f"{path} was changed since this command began. Run it again; git restore "
                "reverts what is not yours."
            )
    return made


def _places(root: Path) -> dict[str, Path]:
    """Where the copy of each file is, by the file's path."""
    package = places.PACKAGE
    return {
        path: root / package.name / Path(path).relative_to(package) for path in integrity.AT_START
    }
