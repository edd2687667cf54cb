"""Runs one program under limits and, if asked, in namespaces of its own; started as a script.

    python -I -S launcher.py '{"limits": {...}, "mounts": [...]}' PROGRAM ARGUMENT ...

Standard library only: it is the first thing that runs in a confined process, and replaces itself by
the program. Linux; elsewhere the limits that the system knows are set and the rest is left out.

Sources: user_namespaces(7), mount_namespaces(7), mount_setattr(2), seccomp(2), keyrings(7).
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path

# Constants of the kernel's interface.
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
SYS_MOUNT_SETATTR, MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 442, 1, 2
SECCOMP_MODE_FILTER, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 2, 0x7FFF0000, 0x50000
CAPABILITY_VERSION_3, LAST_CAPABILITY = 0x20080522, 63
EPERM = 1

KEYRING_CALLS = {"x86_64": (0xC000003E, (248, 249, 250)), "aarch64": (0xC00000B7, (217, 218, 219))}
"""By machine: its audit architecture; add_key, request_key, keyctl. A key outlives its process."""

X32_CALLS = 0x40000000
"""From here on x86-64 has its calls a second time, under the same architecture."""

SYSTEM_WIDE = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
"""Files of /proc that are not about processes."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a confined process may use.

    Attributes:
      memory: bytes of data of a process; by default what the machine has.
      file: bytes of one file.
      processes: and threads, of its user.
    """

    memory: int = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    file: int = 2**30
    processes: int = 4096


@dataclasses.dataclass(frozen=True)
class Mount:
    """One change to what a confined process sees; later ones lie over earlier ones.

    Attributes:
      action: `fresh` (an empty folder in memory), `empty` (the same, read-only), `show` (what is
        there now, read-only), `write` (what is there now), `blank` (a file without content).
      path: absolute.
      size: bytes of a fresh folder.
    """

    action: str
    path: str
    size: int = 2**20


def command(limits: Limits, mounts: list[Mount] | None = None, cwd: str = "") -> list[str]:
    """The beginning of a command line that runs the rest of it through this file.

    Args:
      limits: of the process.
      mounts: in namespaces with these mounts; None for no namespaces.
      cwd: where the program starts; where the launcher does if empty.
    """
    settings = {
        "limits": dataclasses.asdict(limits),
        "mounts": None if mounts is None else [dataclasses.asdict(mount) for mount in mounts],
        "cwd": cwd,
    }
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), json.dumps(settings)]


def main() -> None:
    """Confine this process and become the program."""
    settings = json.loads(sys.argv[1])
    program = sys.argv[2:]
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if settings["mounts"] is not None:
            _enter_namespaces([Mount(**mount) for mount in settings["mounts"]])
            _drop_capabilities()
        _refuse_keyrings()
        with contextlib.suppress(OSError):  # first in line where memory runs out
            Path("/proc/self/oom_score_adj").write_text("1000")
    _limit(Limits(**settings["limits"]))
    if settings["cwd"]:
        os.chdir(settings["cwd"])
    os.execvp(program[0], program)


def _limit(limits: Limits) -> None:
    wanted = {"RLIMIT_DATA": limits.memory, "RLIMIT_FSIZE": limits.file, "RLIMIT_CORE": 0}
    if sys.platform == "linux":
        wanted["RLIMIT_NPROC"] = limits.processes
    for name, limit in wanted.items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(number, (most, most))


def _enter_namespaces(mounts: list[Mount]) -> None:
    """Leave this process as the parent that waits; go on as process 1 of a new PID namespace."""
    uid, gid = os.getuid(), os.getgid()
    kinds = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC
    _check(_libc.unshare(kinds | CLONE_NEWUTS | CLONE_NEWCGROUP), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _arrange(mounts)
    child = os.fork()
    if child:
        _wait(child)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV)
    for path in filter(os.path.exists, SYSTEM_WIDE):  # root may write there without capabilities
        _mount(path, path, None, MS_BIND | MS_REC)
        _set_attributes(path, add=MOUNT_ATTR_RDONLY)


def _arrange(mounts: list[Mount]) -> None:
    """The whole file system read-only, then one mount after the other."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    sources = {
        mount.path: os.open(mount.path, os.O_PATH)
        for mount in mounts
        if mount.action in ("show", "write")
    }
    folders = {path for path, fd in sources.items() if os.path.isdir(f"/proc/self/fd/{fd}")}
    blank = os.open(os.devnull, os.O_PATH)
    _set_attributes("/", add=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID)
    for mount in mounts:
        target = mount.path
        if mount.action in ("fresh", "empty"):
            _make_target(target, folder=True)
            _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"size={mount.size},mode=0755")
            if mount.action == "empty":
                _set_attributes(target, add=MOUNT_ATTR_RDONLY)
            continue
        _make_target(target, folder=target in folders)
        fd = blank if mount.action == "blank" else sources[target]
        _mount(f"/proc/self/fd/{fd}", target, None, MS_BIND | MS_REC)
        if mount.action == "write":
            _set_attributes(target, remove=MOUNT_ATTR_RDONLY)
    for fd in (*sources.values(), blank):
        os.close(fd)


def _make_target(path: str, folder: bool) -> None:
    """Something to mount on, where an earlier mount has left nothing."""
    if os.path.lexists(path):
        return
    if folder:
        os.makedirs(path)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def _wait(child: int) -> None:
    """End as the child ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, signal.SIGKILL))
    while True:
        with contextlib.suppress(InterruptedError):
            _, status = os.waitpid(child, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _drop_capabilities() -> None:
    """All of them, so that no mount can be undone."""
    for capability in range(LAST_CAPABILITY + 1):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails beyond the kernel's last
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def _refuse_keyrings() -> None:
    """A seccomp filter: calls that keep keys fail, and so do those of another architecture."""
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    if platform.machine() not in KEYRING_CALLS:
        return
    architecture, calls = KEYRING_CALLS[platform.machine()]
    # BPF: word at offset k; compare with it; return.
    load, jump_if_equal, jump_if_above, answer = 0x20, 0x15, 0x35, 0x06
    refused = [(jump_if_above, X32_CALLS), *((jump_if_equal, call) for call in calls)]
    last = len(refused)  # instructions from the first comparison of a call to the refusal
    program = [
        (load, 0, 0, 4),
        (jump_if_equal, 0, last + 2, architecture),
        (load, 0, 0, 0),
        *((jump, last - i, 0, number) for i, (jump, number) in enumerate(refused)),
        (answer, 0, 0, SECCOMP_RET_ALLOW),
        (answer, 0, 0, SECCOMP_RET_ERRNO | EPERM),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filter_program = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    buffer = ctypes.create_string_buffer(filter_program)
    _check(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, buffer, 0, 0), "seccomp")


def _set_attributes(path: str, add: int = 0, remove: int = 0) -> None:
    attributes = struct.pack("QQQQ", add, remove, 0, 0)
    _check(
        _libc.syscall(
            SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, attributes, len(attributes)
        ),
        f"mount_setattr {path}",
    )


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = (None if text is None else text.encode() for text in (source, target, kind))
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
