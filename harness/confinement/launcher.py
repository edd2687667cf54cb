"""Runs one program under limits and, if asked, in namespaces of its own; started as a script.

    python -I -S launcher.py '{"limits": {...}, "mounts": [...]}' PROGRAM ARGUMENT ...

Standard library only: it is the first thing that runs in a confined process, and replaces itself by
the program. Linux; elsewhere the limits that the system knows are set and the rest is left out.

Sources: user_namespaces(7), mount_namespaces(7), mount_setattr(2), pivot_root(2), seccomp(2),
keyrings(7), netdevice(7), and each refused call's own page.
"""

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import itertools
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
from pathlib import Path

# Constants of the kernel's interface.
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
SYS_MOUNT_SETATTR, MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 442, 1, 2
SIOCSIFFLAGS, IFF_UP, INTERFACE_REQUEST = 0x8914, 1, "16sH22x"
SECCOMP_MODE_FILTER, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 2, 0x7FFF0000, 0x50000
CAPABILITY_VERSION_3, LAST_CAPABILITY = 0x20080522, 63

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""By machine: its audit architecture, and which of the numbers of a call below is its."""

X32_CALLS = 0x40000000
"""From here on x86-64 has its calls a second time, under the same architecture."""

KEYS = {"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)}
"""A key outlives its process. Refused to agents and unconfined runs, too."""

REFUSED = KEYS | {
    # Which pages of a file are in memory is seen by all who read it, and outlives them.
    "mincore": (27, 232), "cachestat": (451, 451), "fadvise64": (221, 223),
    "readahead": (187, 213), "process_madvise": (440, 440),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # News of a file reaches all who have it open.
    "inotify_init": (253, None), "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    # Namespaces of one's own, with all capabilities in them.
    "unshare": (272, 97), "setns": (308, 268),
    # Memory that counts as nobody's where no process has it attached.
    "shmget": (29, 194),
    # What the whole kernel has in common.
    "syslog": (103, 116), "perf_event_open": (298, 241), "bpf": (321, 280),
    "userfaultfd": (323, 282),
    # The cores are given.
    "sched_setaffinity": (203, 122),
}  # fmt: skip
"""Calls that a confined process is refused (EPERM), by their numbers on x86-64 and aarch64."""

ABSENT = {
    "clone3": (435, 435),  # its flags lie in memory, where no filter can look: libraries take clone
    "preadv2": (327, 286),  # with a flag that says whether a page is in memory; they take preadv
    "memfd_create": (319, 279), "memfd_secret": (447, 447),  # memory that counts as nobody's
}  # fmt: skip
"""Calls that are answered as by a kernel that has them not, so that libraries do without."""

PRETENDED = {"flock": (73, 32)}
"""Calls that are answered as done, and are not: a lock on a file reaches all who have it open. What
links kernels for a GPU takes one on a file of its own, and ends where it cannot."""

LOCKING, NOTIFYING = (5, 6, 7, 36, 37, 38), (1024, 1025, 1026)
PAGING_OUT = (20, 21)
REFUSED_IF = {
    "fcntl": ((72, 25), 1, (*LOCKING, *NOTIFYING)),
    "madvise": ((28, 233), 2, PAGING_OUT),
}
"""Calls refused for some values of an argument: numbers, argument, values."""

REFUSED_WITH = {"clone": ((56, 220), 0, CLONE_NEWUSER)}
"""Calls refused with a bit in an argument: numbers, argument, bit."""

SIGNALLED = 128
"""Plus the number of a signal: the exit code of what a signal has ended, as of shells."""

STAGE = "/tmp"
"""Where the new root is put together. Any folder: nobody sees the old root meanwhile."""

DEVICE = "--dev-bind"
"""bubblewrap's word for what is shown with its devices."""

SEALED = ("empty", "proc")
"""Actions whose mounts are read-only as soon as all others are made."""

_libc = ctypes.CDLL(None, use_errno=True)


def most_processes(cores: int) -> int:
    """Processes and threads of a run: a worker a core, in each a thread a core by two libraries."""
    return 4096 + 2 * cores**2


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
    processes: int = most_processes(os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class Mount:
    """One thing that a confined process sees, in a root that is empty otherwise.

    Attributes:
      action: `show` (what is there now, read-only), `write` (what is there now), `link` (the
        symbolic link that is there now), `folder` (that there is one), `fresh` (an empty folder in
        memory), `empty` (the same, read-only), `blank` (a file without content), `proc` (the
        processes in sight, read-only), `proc-write` (the same, writable).
      path: absolute. A mount lies over those of the folders that it is in.
      size: bytes of a fresh folder.
    """

    action: str
    path: str
    size: int = 2**20


def command(
    limits: Limits, mounts: list[Mount] | None = None, cwd: str = "", bubblewrap: bool = False
) -> list[str]:
    """The beginning of a command line that runs the rest of it through this file.

    Args:
      limits: of the process.
      mounts: in namespaces with these mounts, from the outside in; None for no namespaces.
      cwd: where the program starts; where the launcher does if empty.
      bubblewrap: whether the rest is a command line of bubblewrap, which is given the filter of
        calls to set when it has confined the process.
    """
    settings = {
        "limits": dataclasses.asdict(limits),
        "mounts": None if mounts is None else [dataclasses.asdict(mount) for mount in mounts],
        "cwd": cwd,
        "bubblewrap": bubblewrap,
    }
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), json.dumps(settings)]


def main() -> None:
    """Confine this process and become the program."""
    settings = json.loads(sys.argv[1])
    program = sys.argv[2:]
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):  # first in line where memory runs out
            Path("/proc/self/oom_score_adj").write_text("1000")
    _limit(Limits(**settings["limits"]))
    if settings["cwd"] and settings["mounts"] is None:
        os.chdir(settings["cwd"])
    if sys.platform == "linux":
        if settings["bubblewrap"]:
            _seal_devices([path for word, path in itertools.pairwise(program) if word == DEVICE])
            program = [program[0], *_handed_over(call_filter(confined=True)), *program[1:]]
        elif settings["mounts"] is None:
            _set_filter(call_filter(confined=False))
        else:
            _enter_namespaces([Mount(**mount) for mount in settings["mounts"]])
            os.chdir(settings["cwd"])
            _drop_capabilities()
            _set_filter(call_filter(confined=True))
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
    child = os.fork()
    if child:
        _wait(child)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _raise_loopback()
    _arrange(mounts)


def _raise_loopback() -> None:
    """127.0.0.1 of the new network namespace, where a simulator may answer its client."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack(INTERFACE_REQUEST, b"lo", IFF_UP)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


def _arrange(mounts: list[Mount]) -> None:
    """A root in memory with one mount after the other, in the place of the whole file system."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    sources = {
        mount.path: os.open(mount.path, os.O_PATH)
        for mount in mounts
        if mount.action in ("show", "write")
    }
    folders = {path for path, fd in sources.items() if os.path.isdir(f"/proc/self/fd/{fd}")}
    links = {mount.path: os.readlink(mount.path) for mount in mounts if mount.action == "link"}
    blank = os.open(os.devnull, os.O_PATH)
    _set_attributes("/", add=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID)
    _mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for mount in mounts:
        target = STAGE + mount.path
        if mount.action == "link":
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.symlink(links[mount.path], target)
            continue
        _make_target(target, folder=mount.action not in ("show", "write", "blank")
                     or mount.path in folders)  # fmt: skip
        match mount.action:
            case "fresh" | "empty":
                options = f"size={mount.size},mode=0755"
                _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options)
            case "proc" | "proc-write":
                _mount("proc", target, "proc", MS_NOSUID | MS_NODEV)
            case "show" | "write" | "blank":
                fd = sources.get(mount.path, blank)
                _mount(f"/proc/self/fd/{fd}", target, None, MS_BIND | MS_REC)
                if mount.action == "write":
                    _set_attributes(target, remove=MOUNT_ATTR_RDONLY)
    for mount in mounts:
        if mount.action in SEALED:
            _set_attributes(STAGE + mount.path, add=MOUNT_ATTR_RDONLY, recursive=False)
    for fd in (*sources.values(), blank):
        os.close(fd)
    os.chdir(STAGE)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount2")
    _set_attributes("/", add=MOUNT_ATTR_RDONLY, recursive=False)


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
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else SIGNALLED - code)


def _drop_capabilities() -> None:
    """All of them, so that no mount can be undone."""
    for capability in range(LAST_CAPABILITY + 1):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails beyond the kernel's last
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def call_filter(confined: bool) -> bytes:
    """A seccomp filter, in the kernel's form: BPF over the number and the arguments of a call.

    Args:
      confined: refuse all that a confined process is refused; else only calls that keep keys.

    Returns:
      The program; empty on a machine whose calls are not known here.
    """
    if platform.machine() not in ARCHITECTURES:
        return b""
    architecture, mine = ARCHITECTURES[platform.machine()]
    # BPF: word at an offset; compare it with; have a bit in common; answer.
    load, if_equal, if_above, if_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow = (answer, 0, 0, SECCOMP_RET_ALLOW)
    refuse, absent, pretend = (
        (answer, 0, 0, SECCOMP_RET_ERRNO | n) for n in (errno.EPERM, errno.ENOSYS, 0)
    )

    def always(numbers: tuple[int | None, ...], end: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [] if numbers[mine] is None else [(if_equal, 0, 1, numbers[mine] or 0), end]

    def where(
        numbers: tuple[int, ...], argument: int, jump: int, values: tuple[int, ...]
    ) -> list[tuple[int, ...]]:
        tests = [line for value in values for line in ((jump, 0, 1, value), refuse)]
        tests = [(load, 0, 0, 16 + 8 * argument), *tests, allow]
        return [(if_equal, 0, len(tests), numbers[mine]), *tests]

    program: list[tuple[int, ...]] = [
        (load, 0, 0, 4), (if_equal, 1, 0, architecture), refuse,
        (load, 0, 0, 0), (if_above, 0, 1, X32_CALLS), refuse,
    ]  # fmt: skip
    for numbers in (REFUSED if confined else KEYS).values():
        program += always(numbers, refuse)
    if confined:
        for numbers in ABSENT.values():
            program += always(numbers, absent)
        for numbers in PRETENDED.values():
            program += always(numbers, pretend)
        for numbers, argument, values in REFUSED_IF.values():
            program += where(numbers, argument, if_equal, values)
        for numbers, argument, bit in REFUSED_WITH.values():
            program += where(numbers, argument, if_bit, (bit,))
    return b"".join(struct.pack("HBBI", *line) for line in [*program, allow])


def _set_filter(program: bytes) -> None:
    """Let this process, and all that it starts, make no call that the filter refuses."""
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    if not program:
        return
    code = ctypes.create_string_buffer(program)
    lines = len(program) // struct.calcsize("HBBI")
    filter_program = struct.pack("HxxxxxxP", lines, ctypes.addressof(code))
    buffer = ctypes.create_string_buffer(filter_program)
    _check(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, buffer, 0, 0), "seccomp")


def _seal_devices(paths: list[str]) -> None:
    """Make devices read-only mounts, which bubblewrap cannot: they stay usable.

    Whoever owns a device could leave a message in its times otherwise. That is root, who may do it.
    """
    if os.geteuid() != 0:
        return
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    for path in paths:
        _mount(path, path, None, MS_BIND | MS_REC)
        _set_attributes(path, add=MOUNT_ATTR_RDONLY)


def _handed_over(program: bytes) -> list[str]:
    """Arguments with which bubblewrap sets a filter."""
    if not program:
        return []
    read, write = os.pipe()
    os.write(write, program)  # less than a pipe holds
    os.close(write)
    os.set_inheritable(read, True)
    return ["--seccomp", str(read)]


def _set_attributes(path: str, add: int = 0, remove: int = 0, recursive: bool = True) -> None:
    attributes = struct.pack("QQQQ", add, remove, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    _check(
        _libc.syscall(
            SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, attributes, len(attributes)
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
