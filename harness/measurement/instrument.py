"""The instrument: what measures, in words. Scores of two instruments are not comparable.

It is the part of the harness that can change a score or a time, and the machine: the hardware as a
confined process sees it, what is installed, and the variables of the shell that change these.
"""

import contextlib
import functools
import hashlib
import platform
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

from harness.checkout import integrity
from harness.confinement import sandbox, view
from harness.contract import wire
from harness.contract.messages import AskDevices, Devices
from harness.errors import InputError
from harness.measurement.exchange import Exchange
from harness.places import PACKAGE
from harness.system import machine, words

ROOMS = ("checkout", "confinement", "contract", "engines", "measurement", "system", "tasks")
"""Rooms of which the instrument is: measurement, and all that it may import."""

MODULES = (
    "__init__.py", "envs.py", "errors.py", "evaluate.py", "places.py", "trial.py",
    "terminal/display.py",
)  # fmt: skip
"""Likewise beside the rooms, what a training file imports, and what is drawn while the clock runs.
"""

PROBE = "harness.measurement.probe"
"""The module that says which devices JAX has."""

PROBE_SECONDS = 60.0
"""In which it must: ten times what it takes on a GPU, whose driver may have to wake up."""

END_SECONDS = 10.0
"""In which it must have ended: some devices are one process's at a time."""

MOST_DEVICES, MAX_NAME = 4096, 200
"""Of an answer: devices of one machine, and characters of a name."""

UNSEEN = (
    "note: the driver lists {}, and a confined JAX has no such device: trainings compute on "
    "processors. `make cuda` installs JAX for it; if JAX has it outside the confinement, see "
    "docs/trouble.md."
)
"""Said once, with the models, where JAX has less than there is."""

UNSAID = " (JAX did not say which devices it has: these are the driver's)"
"""Of hardware that no process could be asked for."""

PROCESSOR = "cpu"
"""What JAX calls a platform, and a device, that is no accelerator."""


def described() -> str:
    """All of it on one line, as the ledger keeps it: the fingerprint, a blank, and `equipment`."""
    return f"{fingerprint()} {equipment()}"


def fingerprint() -> str:
    """Twelve characters that change with any file of the harness that can change a score or a time.

    These are `ROOMS` and `MODULES`. What stands above them asks for measurements and reads them:
    it rules, edits, reports and shows, and what it asks for stands in each row. So a change of the
    report costs nobody a measurement. (The guard of `integrity` lets nothing of the harness change
    during a run, whatever it is for.)
    """
    named = sorted((Path(path), name) for path, name in integrity.harness_files().items())
    text = "".join(f"{path}:{name}\n" for path, name in _measuring(named))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _measuring(files: list[tuple[Path, str]]) -> list[tuple[str, str]]:
    """Of files of the harness those that measure, by their paths in it."""
    inside = [(path.relative_to(PACKAGE), name) for path, name in files]
    return [
        (path.as_posix(), name)
        for path, name in inside
        if path.parts[0] in ROOMS or path.as_posix() in MODULES
    ]


def equipment() -> str:
    """The machine in words: hardware, versions, variables.

    Variables that choose devices are left out where it was asked what they choose: workers that
    have a GPU of one kind each are alike, whatever its number. (summary.json has all of them.)
    """
    installed = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
    known = bool(view.accelerators()) and _devices() is not None
    left_out = machine.CHOOSING if known else ()
    told = [one for one in machine.variables() if not one.startswith(left_out)]
    parts = [hardware(), installed, ", ".join(told)]
    return " ".join("; ".join(filter(None, parts)).split())  # a ledger has no other blanks


def where() -> str:
    """As in `x86_64, 2x AMD EPYC 7763, Linux-6.1.0`: the machine, without what is installed."""
    return f"{platform.machine()}, {hardware()}, {platform.platform()}"


def hardware() -> str:
    """As in `2x AMD EPYC 7763, 1x NVIDIA H200`: what a training here may use."""
    counted = Counter(accelerators()).items()
    told = ", ".join([machine.processors(), *(f"{count}x {kind}" for kind, count in counted)])
    return told + (UNSAID if view.accelerators() and _devices() is None else "")


def accelerators() -> list[str]:
    """Models of the accelerators that JAX has in a confined process.

    Where the machine has none nobody is asked, and where nobody answers it is the driver's list.
    """
    if not view.accelerators():
        return machine.accelerators()
    found = _devices()
    if found is None:
        return machine.accelerators()
    return [] if found.platform == PROCESSOR else found.kinds


def doubt(device: str) -> str:
    """A note where a training names another kind of device than the instrument; else nothing.

    Args:
      device: as the training told it, who may say anything: it is not quoted.
    """
    known = accelerators() or [PROCESSOR]
    if device.partition(" × ")[2] in known:
        return ""
    return (
        "The training says that it had another device than the instrument names "
        f"({', '.join(dict.fromkeys(known))}): see device in summary.json."
    )


def _devices() -> Devices | None:
    """What JAX has in a confined process; None where that could not be found out.

    A process is asked once, and once more where something has changed that may change its answer.
    """
    nodes = tuple(map(str, view.accelerators()))
    return _asked(nodes, tuple(machine.accelerators()), tuple(machine.variables()))


@functools.cache
def _asked(*_: tuple[str, ...]) -> Devices | None:
    """What a process says that was started for the question."""
    try:
        found = _checked(_ask())
        listed = machine.accelerators() if found.platform == PROCESSOR else []
        if listed:
            print(UNSEEN.format(", ".join(listed)), file=sys.stderr)
        return found
    except (InputError, OSError, EOFError, wire.WireError) as error:
        reason = words.line(str(error) or type(error).__name__)
        print(f"note: which devices JAX has could not be found out ({reason}). The rows name "
              "those that the driver lists.", file=sys.stderr)  # fmt: skip
        return None


def _ask() -> dict:
    """The answer of a confined process, of which nothing is checked."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = sandbox.start(
                sandbox.available(), [sys.executable, "-m", PROBE], sandbox.system(),
                {
                    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # a run may be on the device
                    wire.CHANNEL_VARIABLE: str(theirs.fileno()),
                },
                cwd=Path("/"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
            )  # fmt: skip
        try:
            question = wire.encode(wire.header(AskDevices()))
            answer, _ = Exchange(process, ours, question).answer(PROBE_SECONDS)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            return answer
        finally:
            process.kill()
            process.wait()


def _checked(answer: dict) -> Devices:
    """An answer that can be one.

    Raises:
      WireError: it is none.
    """
    found = wire.read(answer, Devices)
    names = [found.platform, *found.kinds]
    if not 0 < len(found.kinds) <= MOST_DEVICES:
        raise wire.WireError(f"an answer with {len(found.kinds):,} devices")
    if not all(name.isprintable() and 0 < len(name) <= MAX_NAME for name in names):
        raise wire.WireError("an answer with names that are none")
    return found
