"""Where modules come from: the harness from its sources, all else from what is installed.

The folder that a command is started in may hold a user's own tasks (`my_package:MyEnv-v0`). Of what
is in it only the package that a task names is found, for libraries look for many modules that are
not installed. It is asked last, so that nothing in it stands in the way of an installed package; it
announces no plugins to anybody; and of the modules that it does give, as of the harness, the source
is read, never bytecode that lies beside it.
"""

import importlib.machinery
import os
import site
import sys
from collections.abc import Sequence
from importlib.abc import PathEntryFinder
from importlib.machinery import ExtensionFileLoader, FileFinder, ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType

FOLDER_VARIABLE = "AUTORL_FOLDER"
"""Variable of a child process: the folder that the command was started in."""

HARNESS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The package; settled here, before anything else of it is imported."""

_NAMED: set[str] = set()
"""Packages that tasks of this process have named."""


def package(task_id: str) -> str:
    """The top-level package that a task's id names, as in `package.module:Env-v0`; or nothing."""
    return task_id.rpartition(":")[0].partition(".")[0]


def allow(task_id: str) -> None:
    """Let this process find the package that a task's id names in the folder of the command."""
    _NAMED.add(package(task_id))


def own() -> tuple[Path, Path]:
    """Folders that no child imports from: the current one, and the one that the harness is in."""
    return Path.cwd().resolve(), Path(HARNESS).resolve().parent


def paths() -> list[str]:
    """What the user's PYTHONPATH has a child import from, wherever the child is started."""
    named = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return [os.path.abspath(place) for place in named if Path(place).resolve() not in own()]


def variables() -> dict[str, str]:
    """`PYTHONPATH` with these; without it where there are none."""
    return {"PYTHONPATH": os.pathsep.join(paths())} if paths() else {}


class _Source(importlib.machinery.SourceFileLoader):
    """Compiles a module anew at every import."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _Last:
    """Finds the packages that tasks name in a folder, for who has asked everywhere else.

    It is no path entry: packages' metadata, and with it plugins, are looked for on `sys.path`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module of the folder; modules of its packages are found by the package's own path."""
        asked = path is None and name in _NAMED
        return PathFinder.find_spec(name, [self._folder], target) if asked else None


def settle(first: str) -> None:
    """Arrange where this process imports from; called once, before any module of the harness.

    Args:
      first: the folder that `python -m` had put first on the path, and that was taken off it; empty
        in a child, which has it in `FOLDER_VARIABLE`, and where the path is its owner's.
    """
    folder = os.environ.get(FOLDER_VARIABLE, "") or first
    _read_sources(HARNESS)
    if folder:
        _read_sources(folder)
        sys.meta_path.append(_Last(folder))


def _read_sources(folder: str) -> None:
    """Have modules below a folder compiled from their sources, but those that are installed."""
    make = FileFinder.path_hook(
        (ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
        (_Source, importlib.machinery.SOURCE_SUFFIXES),
    )
    places = (sys.prefix, sys.base_prefix, *site.getsitepackages(), site.getusersitepackages())
    installed = [place for place in places if place != folder and _is_below(place, folder)]

    def hook(path: str) -> PathEntryFinder:
        if not _is_below(path, folder) or any(_is_below(path, place) for place in installed):
            raise ImportError
        return make(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()


def _is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder, or in it."""
    return os.path.abspath(path) == folder or os.path.abspath(path).startswith(
        folder.rstrip(os.sep) + os.sep
    )
