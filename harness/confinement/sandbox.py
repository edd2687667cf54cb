"""How a process is confined, and what it may use.

The training file is written by somebody who is rewarded for a number, and a policy is a program
that came out of it. Both run in a file system that shows what `view` says and no more, with
no network, no processes but their own, and a home and a `/tmp` that are empty at the start and gone
at the end. bubblewrap does it where it is installed; elsewhere `launcher` does the same by
the kernel's own means; where the system has neither, the run is not confined, and its row says so.
"""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.checkout import sources
from harness.confinement import launcher
from harness.confinement.launcher import Limits, Mount
from harness.confinement.view import arranged, checkout, forget, system
from harness.errors import CONFINED_VARIABLE, InputError
from harness.system import machine, processes, programs

__all__ = ["Mount", "checkout", "forget", "system"]

NONE, BUBBLEWRAP, NAMESPACES = "none", "bubblewrap", "namespaces"

PROBE_SECONDS = 60.0
"""Several hundred times what a process that does nothing takes: beyond, the machine is too busy."""

FOLDERS = (
    str(Path(sys.executable).parent), "/usr/local/cuda/bin", "/usr/local/bin", "/usr/bin", "/bin",
    "/usr/local/sbin", "/usr/sbin", "/sbin",
)  # fmt: skip
"""Where a confined process finds programs."""

FIXED = {
    "PATH": os.pathsep.join(FOLDERS), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC",
    "TERM": "dumb", "HOME": "/tmp", "TMPDIR": "/tmp", CONFINED_VARIABLE: "yes",
}  # fmt: skip
"""Variables of a confined process that are the same whoever starts it."""

PICTURES = {
    "MUJOCO_GL": ("egl", "glfw", "osmesa", "glx", "off", "disabled", "disable", "0", "false"),
    "MUJOCO_EGL_DEVICE_ID": tuple(map(str, range(16))),
}
"""Variables that are not of the instrument, with the values that are passed."""


def available() -> str:
    """The best confinement that works here: `BUBBLEWRAP`, `NAMESPACES` or `NONE`.

    Raises:
      InputError: a probe did not end.
    """
    return next(kind for kind in (BUBBLEWRAP, NAMESPACES, NONE) if works(kind))


def works(kind: str) -> bool:
    """Whether this system can confine a process so.

    Raises:
      InputError: a probe did not end.
    """
    return not refusal(kind)


def demand(kind: str) -> str:
    """A confinement that something was begun with, and so goes on with.

    Raises:
      InputError: it does not work here.
    """
    if reason := refusal(kind):
        raise InputError(
            f"What was begun confined by {kind} continues so or not at all, and here {reason}. "
            "Nothing was run. Repair that, or begin a new branch with what works here."
        )
    return kind


def as_safe_as(recorded: str) -> str:
    """The best confinement here for what was recorded under one; none only if that was none.

    Raises:
      InputError: nothing confines here what was confined then.
    """
    kind = available()
    return demand(recorded) if kind == NONE else kind


@functools.cache
def refusal(kind: str) -> str:
    """Why this system cannot confine a process so; empty if it can: a real one is confined.

    Raises:
      InputError: the probe did not end, which says nothing, and is not remembered.
    """
    if kind == NONE:
        return ""
    if sys.platform != "linux":
        return f"{kind} is Linux's"
    if kind == BUBBLEWRAP and programs.find("bwrap") is None:
        return "bubblewrap is not installed"
    with tempfile.TemporaryDirectory(prefix="autorl-probe-") as name:
        mounts = [*system(), *checkout(Path.cwd()), Mount("write", name)]
        probe = start(kind, [sys.executable, "-c", ""], mounts, {},
                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
        try:
            _, said = probe.communicate(timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            probe.kill()
            raise InputError(
                f"Whether {kind} works could not be found out within {PROBE_SECONDS:.0f} s. "
                "Nothing was run. Try again when the machine is less busy."
            ) from None
    if probe.returncode == 0:
        return ""
    last = (said.decode(errors="replace").strip().splitlines() or [f"exit {probe.returncode}"])[-1]
    return f"confining by {kind} fails ({last})"


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
    if kind == NONE:
        return [*launcher.command(Limits(), cwd=start), *inner]
    seen = arranged([*mounts, Mount("folder", start)])
    if kind == NAMESPACES:
        return [*launcher.command(Limits(), seen, start), *inner]
    limited = launcher.command(Limits(), bubblewrap=True)
    return [*limited, *_bubblewrap(seen), "--chdir", start, "--", *inner]


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
    env = {**usual, **sources.python_path(), **variables}
    return processes.start(command(kind, inner, mounts, cwd), env=env, **options)


def environment() -> dict[str, str]:
    """The usual variables of a confined process: what programs need, and what is recorded.

    In any other a word could reach it that no record holds; tokens and keys are none of its
    business; and what one run compiled is not for the next (`JAX_COMPILATION_CACHE_DIR`).
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if machine.is_recorded(name) or value in PICTURES.get(name, ())
    }
    return {**kept, **FIXED}


def _bubblewrap(mounts: Sequence[Mount]) -> list[str]:
    """Arguments of bubblewrap for these mounts."""
    arguments = [str(programs.find("bwrap")), "--unshare-all", "--die-with-parent"]
    arguments += ["--cap-drop", "ALL"]
    sealed = ["/"]
    for mount in mounts:
        sealed += [mount.path] if mount.action in launcher.SEALED else []
        match mount.action:
            case "fresh" | "empty":
                arguments += ["--size", str(mount.size), "--tmpfs", mount.path]
            case "proc" | "proc-write":
                arguments += ["--proc", mount.path]
            case "show" if mount.path.startswith("/dev/"):
                arguments += [launcher.DEVICE, mount.path, mount.path]
            case "show":
                arguments += ["--ro-bind", mount.path, mount.path]
            case "write":
                arguments += ["--bind", mount.path, mount.path]
            case "blank":
                arguments += ["--ro-bind", os.devnull, mount.path]
            case "link":
                arguments += ["--symlink", os.readlink(mount.path), mount.path]
            case "folder":
                arguments += ["--dir", mount.path]
    return arguments + [word for path in sealed for word in ("--remount-ro", path)]
