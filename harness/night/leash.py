"""The leash of a coding agent: it is free, but what decides a score is not in its reach.

It runs as the user, with the network. With bubblewrap it can change neither the checkout nor what
measures, sees no policy of a run, and no socket of a cluster; without, only its first process is
sure to end with a harness that is killed.
"""

import os
import site
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.checkout import git, sources
from harness.confinement import launcher, sandbox
from harness.confinement.launcher import Limits
from harness.places import PACKAGE, RUNS, state_folder
from harness.system import programs

UNDER_WAY = ("autorl-run-*", "autorl-score-*", "autorl-cores-*", "ray", "tmux-*")
"""Names in a folder for temporary files: measurements, their locks, Ray, and servers that would
run a command outside of the leash."""

READ_ONLY = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
"""Programs, libraries and settings that the loop itself runs with: an agent may be root."""

SECRETS = ("RAY_",)
"""Beginnings of the names of variables that are none of an agent's: the token of a cluster."""


def command(inner: Sequence[str], root: Path, own: Path) -> list[str]:
    """The command line under which an agent runs.

    Args:
      inner: program and arguments.
      root: the checkout.
      own: the folder that is the agent's.
    """
    if not sandbox.works(sandbox.BUBBLEWRAP):
        return [*launcher.command(Limits()), *inner]
    alone = ["--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/", "--proc", "/proc"]
    alone += ["--cap-drop", "CAP_SYS_ADMIN"]  # with which root could undo the mounts that follow
    for path in _outermost(_kept(root)):
        alone += ["--ro-bind", path, path]
    for path in _outermost(_hidden(root)):
        alone += ["--tmpfs", path, "--remount-ro", path]
    alone += ["--bind", str(own), str(own)]
    return [str(programs.find("bwrap")), *alone, *inner]


def environment() -> dict[str, str]:
    """An agent's variables: ours, without the secrets; `python` is the environment's own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    if sys.prefix == sys.base_prefix:  # of a whole system, whose programs have their order
        return ours
    bin_folder = str(Path(sys.executable).parent)
    return {**ours, "PATH": os.pathsep.join([bin_folder, ours.get("PATH", os.defpath)])}


def _kept(root: Path) -> list[Path]:
    """What an agent may not change: the checkout, its git, the record, and all that measures."""
    return [
        root,
        *_repositories(root),
        state_folder(),
        PACKAGE,
        sources.folder(),
        *map(Path, (*READ_ONLY, sys.prefix, sys.base_prefix, *site.getsitepackages())),
        Path(site.getusersitepackages()),
        *(Path(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place),
    ]


def _hidden(root: Path) -> list[Path]:
    """What an agent may not even see: other runs, and what would run something for it."""
    temporary = {Path("/tmp"), Path(tempfile.gettempdir())}
    return [
        root / RUNS,
        Path.home() / ".ray",
        *(path for place in temporary for name in UNDER_WAY for path in place.glob(name)),
    ]


def _repositories(root: Path) -> list[Path]:
    """Where git keeps a checkout's commits: elsewhere, where it is a linked worktree."""
    asked = ("rev-parse", "--absolute-git-dir", "--git-common-dir")
    try:
        said = git.run(root, *asked)
    except git.GitError:
        return []
    return [root / os.fsdecode(line) for line in said.splitlines()]


def _outermost(paths: Iterable[Path]) -> list[str]:
    """Those that are folders, without those within others of them."""
    there = {path.resolve() for path in paths if path.is_dir()}
    return sorted(str(p) for p in there if not any(p.is_relative_to(o) for o in there - {p}))
