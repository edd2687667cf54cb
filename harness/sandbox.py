"""What a confined process may see and use, and how it is confined.

The training file is written by somebody who is rewarded for a number, and a policy is a program
that came out of it. Both run with the whole file system read-only, nothing of other runs in sight,
no network, no processes but their own, and a home and a `/tmp` that are empty at the start and gone
at the end. bubblewrap does it where it is installed; elsewhere `harness.launcher` does the same by
the kernel's own means; where the system has neither, the run is not confined, and its row says so.
"""

import functools
import os
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import launcher, processes, programs, sources
from harness.launcher import Limits, Mount
from harness.ledger import FILE, state_folder

NONE, BUBBLEWRAP, NAMESPACES = "none", "bubblewrap", "namespaces"

SCRATCH_BYTES = 2**30
"""Of `/tmp` and `/dev/shm`, which are fresh folders in memory."""

PROBE_SECONDS = 10.0

PRIVATE = ("/var/tmp", "/run", "/home", "/root", "/mnt", "/media")
"""Folders in which others leave files and sockets. Empty inside."""

HIDDEN = (".git", "tests/trained")
"""Of a checkout: where files that were once committed, and policies to test with, are found."""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
ACCELERATORS = ("nvidia*", "dri", "kfd", "accel*", "vfio")
"""What there is in /dev."""

KEPT_VARIABLES = ("PATH", "LANG", "TZ", "TERM", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
KEPT_PREFIXES = ("LC_", "PYTHON", "JAX_", "XLA_", "CUDA_", "NVIDIA_", "TPU_", "OMP_", "MUJOCO_")
"""Variables that a confined process gets; tokens and keys in others are none of its business."""


def available() -> str:
    """The best confinement that works here: `BUBBLEWRAP`, `NAMESPACES` or `NONE`."""
    return next(kind for kind in (BUBBLEWRAP, NAMESPACES, NONE) if works(kind))


@functools.cache
def works(kind: str) -> bool:
    """Whether this system can confine a process so: a real one is started and confined."""
    if kind == NONE:
        return True
    if sys.platform != "linux" or (kind == BUBBLEWRAP and programs.find("bwrap") is None):
        return False
    try:
        probe = start(kind, [sys.executable, "-c", ""], system(), {}, Path("/"),
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    except OSError:
        return False
    try:
        return probe.wait(PROBE_SECONDS) == 0
    except subprocess.TimeoutExpired:
        probe.kill()
        return False


def command(
    kind: str, inner: Sequence[str], mounts: Sequence[Mount], cwd: Path | None = None
) -> list[str]:
    """The command line that runs `inner` confined.

    Args:
      kind: `BUBBLEWRAP`, `NAMESPACES`, or `NONE` for `inner` under limits only.
      inner: program and arguments.
      mounts: what it sees; `system()` and what it needs besides.
      cwd: where it starts; where we are if None.
    """
    start = str(cwd or Path.cwd())
    if kind == NAMESPACES:
        return [*launcher.command(Limits(), list(mounts), start), *inner]
    limited = [*launcher.command(Limits(), cwd=start), *inner]
    return [*_bubblewrap(mounts), *limited] if kind == BUBBLEWRAP else limited


def system() -> list[Mount]:
    """What every confined process sees: the system, Python, fresh folders, and devices."""
    devices = [Path("/dev", name) for name in DEVICES]
    devices += [path for pattern in ACCELERATORS for path in sorted(Path("/dev").glob(pattern))]
    return [
        *(Mount("fresh", path) for path in PRIVATE if _is_own_folder(path)),
        Mount("fresh", "/tmp", SCRATCH_BYTES),
        Mount("fresh", "/dev"),
        Mount("fresh", "/dev/shm", SCRATCH_BYTES),
        *(Mount("show", str(path)) for path in devices if path.exists()),
        *(Mount("show", str(path)) for path in _python()),
    ]


def start(
    kind: str,
    inner: Sequence[str],
    mounts: Sequence[Mount],
    variables: Mapping[str, str],
    cwd: Path | None = None,
    **options: Any,
) -> subprocess.Popen:
    """Start `command(kind, inner, mounts, cwd)`, with these variables beside the usual ones."""
    usual = dict(os.environ) if kind == NONE else environment()
    env = {**usual, **processes.python_path(), **variables}
    return processes.start(command(kind, inner, mounts, cwd), env=env, **options)


def leash(inner: Sequence[str], root: Path) -> list[str]:
    """The command line under which an agent runs: free, but it ends with us, with all it started.

    With bubblewrap it sees the checkout, the ledgers' heads and the harness that runs read-only,
    too; without, only its first process is sure to end with a harness that is killed.
    """
    if not works(BUBBLEWRAP):
        return [*launcher.command(Limits()), *inner]
    kept = [str(root.resolve()), str(Path(__file__).resolve().parent), str(sources.folder())]
    kept += [str(state_folder())] if state_folder().is_dir() else []
    bind = [argument for path in kept for argument in ("--ro-bind", path, path)]
    alone = ["--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/", "--proc", "/proc"]
    alone += ["--cap-drop", "CAP_SYS_ADMIN"]  # with which root could undo the mounts that follow
    return [str(programs.find("bwrap")), *alone, *bind, *inner]


def environment() -> dict[str, str]:
    """The usual variables of a confined process: what programs need, and a fresh home."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    kept.pop("JAX_COMPILATION_CACHE_DIR", None)  # what one run compiled is not for the next
    return {**kept, "HOME": "/tmp", "TMPDIR": "/tmp"}


def checkout(root: Path) -> list[Mount]:
    """What is seen of a checkout: its files, but nothing of other runs, nor a trained policy.

    Args:
      root: where `runs/` and `results.tsv` are.
    """
    state, runs, ledger = state_folder(), root / "runs", root / FILE
    homes = {root.resolve(), Path(__file__).resolve().parent.parent}
    hidden = [home / name for home in sorted(homes) for name in HIDDEN]
    return [
        *([Mount("fresh", str(state))] if state.is_dir() else []),
        Mount("show", str(root)),
        *([Mount("fresh", str(runs))] if runs.is_dir() else []),
        *([Mount("blank", str(ledger))] if ledger.exists() else []),
        *(Mount("empty" if p.is_dir() else "blank", str(p)) for p in hidden if p.exists()),
    ]


def _python() -> list[Path]:
    """What Python needs: its installation, the environment, our code, PYTHONPATH.

    And packages that this process has loaded from elsewhere, as a task's that was installed with
    `pip install -e`.
    """
    harness = str(Path(__file__).resolve().parent.parent)
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    copy = str(sources.folder())
    places = (sys.prefix, sys.base_prefix, harness, copy, *site.getsitepackages(), *named)
    folders = {Path(place).resolve() for place in places if place and os.path.isdir(place)}
    files = [getattr(module, "__file__", None) for name, module in sys.modules.items()
             if "." not in name and name != "__main__"]  # fmt: skip
    found = [Path(file).resolve() for file in files if file and os.path.exists(file)]
    folders |= {path.parent if path.stem == "__init__" else path for path in found}
    return sorted(f for f in folders if not any(f.is_relative_to(o) for o in folders - {f}))


def _is_own_folder(path: str) -> bool:
    """Whether something is a folder, and not a link to one that is covered anyway."""
    return os.path.isdir(path) and not os.path.islink(path)


def _bubblewrap(mounts: Sequence[Mount]) -> list[str]:
    """Arguments of bubblewrap for these mounts."""
    arguments = [str(programs.find("bwrap")), "--unshare-all", "--die-with-parent"]
    arguments += ["--cap-drop", "ALL"]
    arguments += ["--ro-bind", "/", "/"]
    for mount in mounts:
        match mount.action:
            case "fresh":
                arguments += ["--size", str(mount.size), "--tmpfs", mount.path]
            case "empty":
                arguments += ["--tmpfs", mount.path, "--remount-ro", mount.path]
            case "show" if mount.path.startswith("/dev/"):
                arguments += ["--dev-bind", mount.path, mount.path]
            case "show":
                arguments += ["--ro-bind", mount.path, mount.path]
            case "write":
                arguments += ["--bind", mount.path, mount.path]
            case "blank":
                arguments += ["--ro-bind", os.devnull, mount.path]
    arguments += ["--proc", "/proc"]
    for path in launcher.SYSTEM_WIDE:  # bubblewrap covers them only where root needs no capability
        arguments += ["--ro-bind-try", path, path]
    return arguments
