"""Measurements on the workers of a Ray cluster, each with cores or a GPU of its own.

One worker is one slot: an actor that holds its cores alone, so that runs beside each other do not
take each other's time. The harness travels to it, the training file too, and what a run leaves
behind comes back. A worker that dies loses its run; another one is started where there is room.
"""

import contextlib
import dataclasses
import os
import queue
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import errors
from harness.confinement import sandbox
from harness.contract.order import Order
from harness.errors import HarnessError, InputError, StorageError, WorkerError
from harness.measurement import claims, instrument, sites
from harness.measurement.sites import Announce, Measurement, Site, Watch
from harness.places import PACKAGE, POLICIES, TRAIN_FILE
from harness.system import origin, processes, words

CORES = 2
"""Of a run on a cluster, where nothing else is asked for and there is no GPU."""

SENT = re.compile(rf"train\.log|curve\.csv|{POLICIES.pattern}/\w[\w.-]*")
"""Files of a run that a worker sends back, by their names in its folder."""

LARGEST_FILE, MOST_FILES = 2**30, 100
"""Bytes of such a file, as of any that a confined process writes, and how many there may be."""

NAME_SHOWN = 100
"""Characters of a name that is none of these."""

LOCAL = "local"
"""Ray's word for a cluster that it begins for us."""

CAUSE_SHOWN = 300
"""Characters of what Ray says of an error."""

NOT_SHIPPED = ["/runs", "/docs", "/tests", ".git", ".venv"]
"""What workers need nothing of; Ray leaves out what .gitignore names, too."""

SECRET_BYTES = 32
"""Of the secret that a cluster of our own asks for."""

GREETING_SECONDS = 300.0
"""In which a worker must have come up, the files' way to a new machine included."""


def connect(address: str, root: Path, cores: int | None = None) -> Site:
    """The workers of a running cluster: one for each GPU, or for every `cores` cores.

    Args:
      address: as `ray start --head` prints it, or `auto`.
      root: the checkout.
      cores: of a run; of a machine with GPUs each run gets an equal part if None.

    Raises:
      InputError: there is no Ray, no cluster, no room in it, or its machines differ.
    """
    if os.environ.get("RAY_AUTH_MODE") != "token":
        print("note: without RAY_AUTH_MODE=token a cluster runs programs for everybody who reaches "
              "its port, the agent too.", file=sys.stderr)  # fmt: skip
    return _site(_init(root, address=address), cores)


def local(workers: int, root: Path) -> Site:
    """So many workers on this machine, each with an equal part of its cores.

    Raises:
      InputError: there is no Ray, or there are fewer cores than workers.
    """
    there = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if workers > there:
        raise InputError(
            f"--workers {workers} needs {workers} cores, and this process may use {there}."
        )
    # Whoever reaches its port could run programs on it, an agent too: it is ours alone.
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(SECRET_BYTES))
    under_way()  # before an agent runs, from which it is hidden
    processors = workers * (there // workers)
    # Without an address Ray would join whatever cluster somebody has on this machine.
    ray = _init(root, address=LOCAL, num_cpus=processors, include_dashboard=False)
    site = _site(ray, there // workers)
    if site.slots < workers:
        raise InputError(
            f"--workers is {workers}, but there is room for {site.slots}: a run takes a GPU of its "
            "own where there are some."
        )
    return site


def _init(root: Path, **options: Any) -> Any:
    """Ray, connected; its own words only where something is wrong."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Where memory runs out the kernel ends the training; Ray would end the worker, a lost run.
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    try:
        import ray  # noqa: PLC0415  (an optional extra)
    except ImportError as error:
        raise errors.without("ray", "ray", error) from error
    shipped = {
        "working_dir": str(root),
        "py_modules": [str(PACKAGE)],
        "excludes": NOT_SHIPPED,
    }
    try:
        with _handlers_kept(), _path_of_the_user():
            ray.init(runtime_env=shipped, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = words.line(str(error), CAUSE_SHOWN)
        if options["address"] != LOCAL:
            raise InputError(
                f"No Ray cluster is reached at {options['address']}: {said}. Is it there (ray "
                "start --head), does this machine reach it, and has it the same RAY_AUTH_TOKEN?"
            ) from error
        raise InputError(
            f"Ray does not start here: {said}. Its own logs are in /tmp/ray/session_latest/logs; "
            "--workers 1 needs no Ray."
        ) from error
    return ray


@contextlib.contextmanager
def _path_of_the_user() -> Iterator[None]:
    """`PYTHONPATH` without the folder that a loop runs from: workers have the harness from Ray."""
    before = os.environ.get("PYTHONPATH")
    theirs = origin.variables()
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(theirs)
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH", None)
        os.environ.update({} if before is None else {"PYTHONPATH": before})


def _site(ray: Any, cores: int | None) -> Site:
    crew = Crew(ray, cores)
    return Site(crew.instrument, crew.size, crew.measure, crew.stop)


@dataclasses.dataclass(frozen=True)
class Room:
    """What a machine of a cluster offers.

    Attributes:
      node: its id.
      workers: that fit.
      cores: of each.
      gpus: of each, 0 or 1.
    """

    node: str
    workers: int
    cores: int
    gpus: int


def room(node: dict[str, Any], cores: int | None) -> Room:
    """The workers that fit on a machine, as Ray describes it."""
    resources = node.get("Resources", {})
    processors, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if gpus:
        each = cores or max(processors // gpus, 1)
        return Room(node["NodeID"], min(gpus, processors // each), each, 1)
    each = cores or CORES
    return Room(node["NodeID"], processors // each, each, 0)


class Crew:
    """The workers of a cluster, and who of them is free.

    Args:
      ray: the module, connected.
      cores: of a run; see `connect`.

    Attributes:
      instrument: what all of them measure with.
      size: how many there are at the beginning.
    """

    def __init__(self, ray: Any, cores: int | None) -> None:
        self._ray = ray
        self._cores = cores
        self._workers: dict[Any, str] = {}  # and their nodes
        self._greeted: set[str] = set()  # nodes that are known to measure alike
        self._free: queue.Queue[Any] = queue.Queue()
        self._stopping = False
        self._recruiting = threading.Lock()
        self._recruit()
        self.size = len(self._workers)
        if not self.size:
            raise InputError(
                f"No machine of the cluster has {cores or CORES} cores for a run: start it with "
                "more (ray start --num-cpus=…), or ask for fewer (--cores)."
            )
        self.instrument = self._greet()
        self._greeted = set(self._workers.values())

    def measure(
        self, order: Order, folder: Path, root: Path, watch: Watch, announce: Announce
    ) -> Measurement:
        """Have a free worker measure; waits until there is one. See `sites.measure`.

        Raises:
          WorkerError: it died.
          InputError: so did all.
        """
        worker = self._free.get()
        if worker is None:
            self._free.put(None)  # for the next one that waits
            raise self._nobody()
        source = (folder / TRAIN_FILE).read_bytes()
        try:
            outcome, files = _checked(
                self._ray.get(worker.measure.remote(order, self.instrument, source)),
                order.assignment.num_seeds,
            )
        except _StrangeAnswerError as error:
            self._ray.kill(worker)
            self._lost(worker)
            raise WorkerError(f"The worker's answer is none: {error}. It was let go.") from error
        except self._ray.exceptions.RayTaskError:
            raise  # a bug of ours
        except self._ray.exceptions.RayError as error:
            self._lost(worker)
            raise WorkerError("The worker died, and the run with it.") from error
        self._free.put(worker)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        if isinstance(outcome, HarnessError):
            raise outcome
        return outcome

    def stop(self) -> None:
        """End all workers and what they do, with KeyboardInterrupt for who waits for them."""
        self._stopping = True
        for worker in list(self._workers):
            self._ray.kill(worker)
        self._free.put(None)

    def _lost(self, worker: Any) -> None:
        """Strike a worker off and start others where there is room.

        Raises:
          KeyboardInterrupt: it was we who ended it.
          InputError: nobody is left.
        """
        if self._stopping:
            raise KeyboardInterrupt
        with self._recruiting:
            self._workers.pop(worker, None)
            self._recruit()
        if not self._workers:
            self._free.put(None)
            raise self._nobody()

    def _nobody(self) -> BaseException:
        """Why no worker will come."""
        if self._stopping:
            return KeyboardInterrupt()
        return InputError("All workers are gone. Start Ray again, then continue with --resume.")

    def _recruit(self) -> None:
        """Start workers where there is room for more; no machine is taken in after the greeting."""
        from ray.util.scheduling_strategies import (  # noqa: PLC0415  (an optional extra)
            NodeAffinitySchedulingStrategy,
        )

        actor = self._ray.remote(Worker)
        busy = Counter(self._workers.values())
        for node in self._ray.nodes():
            known = not self._greeted or node["NodeID"] in self._greeted
            place = room(node, self._cores) if node["Alive"] and known else None
            for _ in range(place.workers - busy[place.node] if place else 0):
                assert place is not None
                worker = actor.options(
                    num_cpus=place.cores, num_gpus=place.gpus,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(place.node, soft=False),
                ).remote(place.cores)  # fmt: skip
                self._workers[worker] = place.node
                self._free.put(worker)

    def _greet(self) -> str:
        """What the workers measure with.

        Raises:
          InputError: they do not come up, or differ in that.
        """
        try:
            greetings = self._ray.get(
                [worker.greet.remote() for worker in self._workers], timeout=GREETING_SECONDS
            )
        except self._ray.exceptions.RayError as error:
            raise InputError(f"A worker does not come up: {str(error)[-500:]}") from error
        here = (instrument.fingerprint(), sandbox.available())
        for host, tool, confinement in greetings:
            if (tool.split()[0], confinement) != here:
                raise InputError(
                    f"{host} has another harness or confinement ({tool.split()[0]}, {confinement}) "
                    f"than this machine ({here[0]}, {here[1]}): set all machines up alike."
                )
        tools = sorted({tool for _, tool, _ in greetings})
        if len(tools) > 1:
            raise InputError(
                f"The workers differ, and with them the scores: {'; '.join(tools)}. Use machines "
                "of one kind."
            )
        return tools[0]


class Worker:
    """A slot: runs one measurement at a time, on cores that are its own.

    Args:
      cores: how many.
    """

    def __init__(self, cores: int) -> None:
        self._claims = claims.claim(cores)
        if sys.platform == "linux":
            os.sched_setaffinity(0, self._claims)
        tempfile.tempdir = str(under_way())

    def greet(self) -> tuple[str, str, str]:
        """The machine's name, its instrument, and how it confines."""
        return socket.gethostname(), instrument.described(), sandbox.available()

    def measure(
        self, order: Order, tool: str, source: bytes
    ) -> tuple[Measurement | HarnessError, dict[str, bytes]]:
        """What came of an order or what it failed with, and the files that it left."""
        with tempfile.TemporaryDirectory(prefix="autorl-run-") as name:
            folder = Path(name)
            (folder / TRAIN_FILE).write_bytes(source)
            outcome: Measurement | HarnessError
            try:
                outcome = sites.measure(order, folder, Path.cwd(), tool=tool)
            except HarnessError as error:
                outcome = error
            except OSError as error:
                outcome = StorageError(f"The worker on {socket.gethostname()}: {error}.")
            paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
            return outcome, {n: p.read_bytes() for n, p in paths.items() if SENT.fullmatch(n)}


def under_way() -> Path:
    """The folder for what is measured right now on this machine; see `leash.UNDER_WAY`."""
    folder = Path(tempfile.gettempdir(), f"autorl-run-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


class _StrangeAnswerError(Exception):
    """What no worker of ours answers."""


def _checked(answer: Any, num_seeds: int) -> tuple[Measurement | HarnessError, dict[str, bytes]]:
    """A worker's answer, if it is one: what came of the order, and files that a run leaves.

    Args:
      answer: of the worker.
      num_seeds: of the order: as many scores are one, or none of a training that was stopped.

    Raises:
      _StrangeAnswerError: it is not.
    """
    match answer:
        case (Measurement() | HarnessError() as outcome, dict(files)):
            pass
        case _:
            raise _StrangeAnswerError(f"a {type(answer).__name__} that holds no measurement")
    if isinstance(outcome, Measurement):
        expected = 0 if outcome.training.stopped is not None else num_seeds
        if len(outcome.scores) != expected or len(outcome.second) not in (0, expected):
            raise _StrangeAnswerError(f"{len(outcome.scores)} scores where {expected} are expected")
    for name, content in files.items():
        if not (isinstance(name, str) and SENT.fullmatch(name)):
            raise _StrangeAnswerError(f"a file {words.line(str(name), NAME_SHOWN)!r}")
        if not isinstance(content, bytes) or len(content) > LARGEST_FILE:
            raise _StrangeAnswerError(f"the file {name} is too large, or none")
    if len(files) > MOST_FILES:
        raise _StrangeAnswerError(f"{len(files)} files")
    return outcome, files


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes signals for itself; they are ours again afterwards."""
    handlers: dict[int, Callable | int | None] = {
        number: signal.getsignal(number) for number in processes.ENDING_SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
