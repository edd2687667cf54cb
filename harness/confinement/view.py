"""What a confined process sees: what a training needs, and nothing else.

The root is empty at first. Shown in it, read-only, are the system's programs and libraries, the
interpreter with all that Python imports from, the devices that compute, and of the checkout no more
than the package that the task names. What is not named here is out of sight.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import pwd
import site
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness import places
from harness.checkout import integrity, sources
from harness.confinement.launcher import Mount
from harness.places import LEDGER, RUNS, state_folder
from harness.system import origin

TEMPORARY = "/tmp"
SCRATCH_BYTES = 2**30
"""Of `/tmp` and `/dev/shm`, which are fresh folders in memory."""

SYSTEM = (
    "/bin", "/sbin", "/lib*", "/usr/bin", "/usr/sbin", "/usr/lib*", "/usr/libexec", "/usr/share",
    "/usr/include", "/usr/local/bin", "/usr/local/lib*", "/usr/local/share",
    "/usr/local/include", "/usr/local/cuda*", "/usr/local/nvidia", "/opt/rocm*", "/nix/store",
    "/gnu/store", "/run/opengl-driver*",
)  # fmt: skip
"""Programs, libraries and drivers. Not `/usr/src` and its like, where checkouts are kept."""

CONFIGURATION = (
    "alternatives", "ca-certificates", "fonts", "gai.conf", "glvnd", "group", "host.conf", "hosts",
    "ld.so.cache", "ld.so.conf*", "locale.alias", "localtime", "machine-id", "magic*", "mime.types",
    "nsswitch.conf", "nvidia", "OpenCL", "os-release", "passwd", "protocols", "python3*",
    "services", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone", "vulkan",
)  # fmt: skip
"""In /etc: what libraries read. No keys, no passwords."""

CPUS, BUSES = "/sys/devices/system/cpu", "/sys"
"""Where libraries ask for the number of cores; and where drivers look for accelerators."""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
ACCELERATORS = ("nvidia*", "dri", "kfd", "accel*", "vfio")
"""What there is in /dev."""

ABOUT_THE_MACHINE = (
    "cmdline", "cpuinfo", "devices", "driver", "filesystems", "meminfo", "misc", "modules",
    "mounts", "net", "self", "sys", "thread-self", "version",
)  # fmt: skip
"""What stays in /proc beside processes; the rest counts what all processes of the machine do."""

COUNTING = ("/proc/sys/fs", "/proc/sys/kernel/random")
"""What of these counts likewise."""

LEFT_BEHIND = (".git", RUNS, LEDGER, "matrix", "report", "run.log", "build")
"""What the harness and its scripts leave in a checkout that git does not tell of."""

HIDDEN = ("tests/trained",)
"""Of a checkout: policies to test with."""

PERSONS = 1000
"""The first user number of a person, on the usual systems; 0 is root's."""

IMPORTABLE = (".py", ".so")
"""Endings of modules that are a file."""

PARTS = ("bin", "lib", "lib64", "include", "share", "pyvenv.cfg")
"""Of an installation of Python."""

RANK = ("folder", "link", "blank", "empty", "fresh", "proc", "proc-write", "show", "write")
"""Actions, those that show least first."""

FORGET_SECONDS = 30.0
"""For a quarter of a million files, as an installation has them, it takes five on a local disk."""

MAX_LINKS = 40
"""On the way to one file: more are a circle, as the kernel has it."""


def system() -> list[Mount]:
    """What every confined process sees: the system, Python, fresh folders, and devices."""
    computing = accelerators()
    devices = [*(Path("/dev", name) for name in DEVICES), *computing]
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return [
        *_shown(_found("/", SYSTEM)),
        *_shown(_found("/etc", CONFIGURATION)),
        *_shown([Path(BUSES if computing else CPUS)]),
        Mount("fresh", TEMPORARY, SCRATCH_BYTES),
        Mount("fresh", "/dev/shm", SCRATCH_BYTES),
        *_shown(devices),
        *_processes(writable=bool(computing)),
        *(_cover(home) for home in sorted(_homes())),
        *(mount for name in libraries if name for mount in _place(Path(name).absolute())),
        *(mount for place in _python() for mount in _place(place)),
        *_shown(Path(prefix, part) for prefix in _installed() for part in PARTS),
        Mount("show", sys.executable),
        Mount("show", str(sources.folder())),
    ]


def accelerators() -> list[Path]:
    """The nodes of this machine's accelerators in /dev, whatever may compute by them."""
    return sorted(path for pattern in ACCELERATORS for path in Path("/dev").glob(pattern))


def checkout(root: Path, task_id: str = "") -> list[Mount]:
    """What is seen of a checkout: of the package that a task names what is committed.

    The rest of it may be changed while a training runs, and nothing would tell. Where there is no
    git, it is the whole package, but what the harness itself has written.

    Args:
      root: where `runs/` and `results.tsv` are.
      task_id: the task; without one nothing is seen.
    """
    root, state, package = root.resolve(), state_folder(), origin.package(task_id)
    hidden = [root / name for name in (*LEFT_BEHIND, *HIDDEN)]
    shown = [path for path in _children(root) if path not in hidden and _is_of(path, package)]
    listed = integrity.listed(root)
    if listed is not None:
        files = {root / path for path in listed}
        folders = _folders_of(files)
        shown = [path for path in shown if path in files or path in folders]
        hidden += [path for folder in shown for path in _strays(folder, files, folders)]
    hidden += [path for path in _children(root) if path not in shown]
    return [
        Mount("empty", str(root)),
        *([Mount("empty", str(state))] if os.path.isdir(state) else []),
        *(Mount("link" if path.is_symlink() else "show", str(path)) for path in shown),
        *(_cover(path) for path in hidden if os.path.exists(path) and not path.is_symlink()),
    ]


def arranged(mounts: Iterable[Mount]) -> list[Mount]:
    """Mounts from the outside in: links followed, and without those that would change nothing.

    Of two with one path the one that shows more holds, for somebody needs it.
    """
    chosen: dict[Path, Mount] = {}
    folders: set[Path] = set()
    for mount in mounts:
        whole = Path(mount.path)
        links, real = _followed(whole.parent if mount.action == "link" else whole)
        path = real / whole.name if mount.action == "link" else real
        found = [*(Mount("link", str(link)) for link in links),
                 Mount(mount.action, str(path), mount.size)]  # fmt: skip
        for one in found:
            folders |= {Path(one.path)} if one.action == "folder" else set()
            there = chosen.get(Path(one.path))
            if there is None or RANK.index(one.action) >= RANK.index(there.action):
                chosen[Path(one.path)] = one
    made: dict[Path, str] = {Path("/"): "empty"}
    for path in sorted(chosen.keys() - made.keys()):
        over = next(made[parent] for parent in path.parents if parent in made)
        if chosen[path].action == over == "empty" and path in folders:  # it has to be there
            chosen[path] = Mount("folder", str(path))
        if not _is_idle(chosen[path].action, over):
            made[path] = chosen[path].action
    return [chosen[path] for path in made if path != Path("/")]


def forget(mounts: Iterable[Mount], seconds: float = FORGET_SECONDS) -> None:
    """Drop from memory what the system has cached of the files that are shown.

    Which pages of a file are cached is a memory that outlives a run, and whoever reads them can
    tell by the time that it takes. Pages that a process has mapped stay, the same for all.

    Args:
      mounts: of a confined process.
      seconds: until the rest is left as it is: on a network a file may take milliseconds.
    """
    deadline = time.monotonic() + seconds
    shown = [mount.path for mount in arranged(mounts) if mount.action == "show"]
    folders = [path for path in shown if not path.startswith(("/dev/", "/sys"))]
    while folders and time.monotonic() < deadline:
        folder = folders.pop()
        try:
            entries = [*os.scandir(folder)]
        except NotADirectoryError:
            _forget(folder)
            continue
        except OSError:  # not ours to read, and so not the run's
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                _forget(entry.path)


def _forget(path: str) -> None:
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def _is_idle(action: str, over: str) -> bool:
    """Whether a mount would change nothing in a folder that is of another one."""
    if over == "proc-write":
        return action in ("link", "folder")
    if over in ("show", "write", "proc"):
        return action in ("show", "link", "folder")
    return over in ("empty", "folder") and action in ("empty", "blank")


def _followed(path: Path) -> tuple[list[Path], Path]:
    """The symbolic links on the way to a path, and where it really is."""
    links: list[Path] = []
    todo, at = list(path.parts[1:]), Path("/")
    while todo:
        name = todo.pop(0)
        at = at.parent if name == ".." else at / name
        if len(links) < MAX_LINKS and os.path.islink(at):
            links.append(at)
            target = at.readlink()
            todo = [*(target.parts[1:] if target.is_absolute() else target.parts), *todo]
            at = Path("/") if target.is_absolute() else at.parent
    return links, at


def _shown(paths: Iterable[Path]) -> list[Mount]:
    return [Mount("show", str(path)) for path in paths if os.path.exists(path)]


def _cover(path: Path) -> Mount:
    return Mount("empty" if os.path.isdir(path) else "blank", str(path))


def _holds(folder: Path, others: Iterable[Path]) -> bool:
    return any(other.is_relative_to(folder) for other in others)


def _found(folder: str, patterns: Iterable[str]) -> list[Path]:
    return [p for pattern in patterns for p in sorted(Path(folder).glob(pattern.lstrip("/")))]


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # none, or not ours to look into, and so not a run's
        return []


def _folders_of(files: set[Path]) -> set[Path]:
    """All folders that files are in."""
    found: set[Path] = set()
    for file in files:
        for folder in file.parents:
            if folder in found:
                break  # and all that it is in
            found.add(folder)
    return found


def _strays(folder: Path, files: set[Path], folders: set[Path]) -> list[Path]:
    """What lies in a folder beside these files; a folder without any of them as one."""
    found: list[Path] = []
    for path in _children(folder) if folder in folders else []:
        if path in folders and not path.is_symlink():
            found += _strays(path, files, folders)
        elif path not in files:
            found.append(path)
    return found


def _processes(writable: bool) -> list[Mount]:
    """The processes in sight, without what tells of all the others.

    Args:
      writable: whether a process may write what is its own there. CUDA gives its threads names and
        does without no device. All else in /proc is the machine's, and stays read-only.
    """
    entries = [p for p in _children(Path("/proc")) if not p.name.isdecimal()]
    others = [p for p in entries if p.name not in ABOUT_THE_MACHINE]
    shared = [p for p in entries if p.name in ABOUT_THE_MACHINE and not p.is_symlink()]
    return [
        Mount("proc-write" if writable else "proc", "/proc"),
        *(_shown(shared) if writable else []),
        *(_cover(p) for p in (*others, *map(Path, COUNTING))),
    ]


def _homes() -> set[Path]:
    """Where persons keep their files, as the system and the environment know them."""
    users = [user for user in pwd.getpwall() if user.pw_uid == 0 or user.pw_uid >= PERSONS]
    named = [Path(user.pw_dir) for user in users] + [Path.home()]
    return {path.resolve() for path in named if os.path.isdir(path)} - {Path("/")}


def _installed() -> list[str]:
    """Where Python and its environment are installed, if not among the system's programs."""
    return sorted({sys.prefix, sys.exec_prefix, sys.base_prefix} - {"/usr", "/usr/local"})


def _python() -> list[Path]:
    """Where Python imports from: installations, paths, and packages that are being developed."""
    paths = [*origin.paths(), *sys.path, *site.getsitepackages()]
    named = [*_installed(), *filter(None, paths), *_editable()]
    found = {Path(name).absolute() for name in named if os.path.exists(name)}
    return sorted(path for path in found if path.resolve() not in origin.own())


@functools.cache
def _editable() -> tuple[str, ...]:
    """The folders of packages that are installed in development mode (PEP 610)."""
    found = []
    for distribution in importlib.metadata.distributions():
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            found.append(unquote(urlsplit(origin["url"]).path))
    return tuple(found)


def _place(place: Path) -> list[Mount]:
    """What is seen of a folder that Python imports from.

    Of a checkout of this product nothing; of one that holds a home, the working folder or what is
    fresh, only what can be imported.
    """
    real = place.resolve()
    if os.path.exists(real / places.EDITABLE):
        return [Mount("folder", str(place)), *checkout(real)]
    if _holds(real, (*_homes(), Path.cwd(), Path(TEMPORARY))):
        importable = [path for path in _children(real) if _is_importable(path)]
        return _shown(path for path in importable if not _holds(path.resolve(), [Path.cwd()]))
    return [*_shown([place]), *(_cover(path) for path in [real / ".git"] if os.path.exists(path))]


def _is_of(path: Path, package: str) -> bool:
    """Whether a child of a folder is a package, or a module, of this name."""
    module = path.suffix in IMPORTABLE and path.name.partition(".")[0] == package
    return bool(package) and (path.name == package or module)


def _is_importable(path: Path) -> bool:
    return path.suffix in IMPORTABLE or os.path.exists(path / "__init__.py")
