"""What an NVIDIA GPU gives, in the minutes that there are: one command, most valuable first.

    python scripts/bench_accelerator.py --minutes 9 --out FOLDER [--cells mjx:Ant-v5:4096 ...]

First confined runs, scored: BACKEND:TASK:SECONDS each, of the shipped file, or of another one where
its path follows, as in `--run mjx:Ant-v5:60:algorithms/sac.py`. Then rates of training and of the
engine alone. A cell is BACKEND:TASK:ENVIRONMENTS, and may end in

- `:x16`: so many seeds in one program, by vmap;
- `:caches`: the time to the first update alone, with empty caches of kernels and programs (`cold`)
  and in a second process with what the first one left there (`warm`);
- `:` and XLA flags.

Every cell is a process of its own. All compile side by side, on the host's cores; they are measured
one after the other, when the run has ended. Each result is a line of FOLDER/results.jsonl as soon
as it is there. What no time is left for is named at the end. Where there is no such GPU, the cells
are small ones that show whether the script works.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, ClassVar

from harness.system import machine

ROOT = Path(__file__).resolve().parent.parent
LOOPS_AS_GRAPHS = "--xla_gpu_enable_command_buffer=" + ",".join(
    ("FUSION", "CUBLAS", "CUBLASLT", "CUSTOM_CALL", "CUDNN", "DYNAMIC_SLICE_FUSION", "CONDITIONAL",
     "WHILE")
)  # fmt: skip
CELLS = (
    "warp:HalfCheetah-v5:4096", "native:HalfCheetah-v5:4096", "mjx:HalfCheetah-v5:4096",
    "native:HalfCheetah-v5:1024", "warp:HalfCheetah-v5:4096:caches",
    "warp:Ant-v5:4096", "native:Ant-v5:1024", "mjx:Ant-v5:4096",
    f"mjx:HalfCheetah-v5:4096:{LOOPS_AS_GRAPHS}",
    "mjx:HalfCheetah-v5:4096:--xla_gpu_triton_gemm_any=true", "mjx:HalfCheetah-v5:4096:caches",
    "warp:Hopper-v5:4096", "native:Hopper-v5:1024", "warp:Humanoid-v5:4096",
    "native:Humanoid-v5:1024", "mjx:HalfCheetah-v5:2048:x1", "mjx:HalfCheetah-v5:2048:x16",
    "warp:HalfCheetah-v5:1024", "warp:HalfCheetah-v5:16384", "warp:Ant-v5:16384",
    "mjx:Hopper-v5:4096", "mjx:Humanoid-v5:4096", "native:HalfCheetah-v5:256",
)  # fmt: skip
RUN = "mjx:HalfCheetah-v5:30"
SMALL_CELLS = (
    "native:InvertedPendulum-v5:8", "native:InvertedPendulum-v5:8:caches",
    "mjx:InvertedPendulum-v5:8:x2",
)  # fmt: skip
"""Where there is no GPU: all kinds of cells, each as quick as can be."""
STATE = "state"  # of the confined runs, in the folder of the results; removed in the end
SMALL_RUN = "native:InvertedPendulum-v5:3"
FIDELITY = ("HalfCheetah-v5", "Ant-v5")
SECONDS = 4.0  # of each rate
SMALL_SECONDS = 1.0  # likewise, where JAX has none
BARE_STEPS = 16  # in one call of the bare engine
LIMIT = 45.0  # seconds that the measurement of one cell may take
CACHES_LIMIT = 240.0  # seconds, of a cell that compiles twice
EXPECTED = 20.0  # seconds that it mostly takes
LEAST = 10.0  # seconds that must be left to begin a measurement
NO_TIME = "no time was left"
NICE = 5  # of what compiles beside the run, whose start-up is bounded


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one process measures."""

    backend: str
    task: str
    num_envs: int
    seeds: int = 0  # 0: the file as it is; else so many in one program
    flags: str = ""
    caches: bool = False  # the way to the first update, with empty caches and with full ones
    start: bool = False  # nothing but the first update

    @classmethod
    def parse(cls, text: str) -> "Cell":
        """A cell as on the command line."""
        backend, task, num_envs, *rest = text.split(":")
        seeds = next((int(word[1:]) for word in rest if word.startswith("x")), 0)
        flags = " ".join(word for word in rest if word.startswith("--"))
        return cls(backend, task, int(num_envs), seeds, flags, "caches" in rest, "start" in rest)


class Results:
    """FOLDER/results.jsonl: a line a result, on the disk at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "results.jsonl"
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._done = False

    def add(self, done: bool = False, **result: Any) -> None:
        """Write one result; none after the one that says `done`."""
        if done:
            result = {"done": True, **result}
        line = json.dumps({"at": round(time.monotonic() - self._begin, 1), **result})
        with self._lock, open(self._path, "a") as file:
            if not self._done:
                file.write(line + "\n")
                print(line, flush=True)
            self._done = done


class Group:
    """A process and what it starts, which end together."""

    every: ClassVar[list["Group"]] = []

    def __init__(self, command: list[str], variables: dict[str, str], **pipes: Any) -> None:
        self.process = subprocess.Popen(
            command, env={**os.environ, **variables}, text=True, start_new_session=True, **pipes
        )
        self.every.append(self)

    def end(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Child(Group):
    """A process that says when it is ready, and measures when it is told to."""

    def __init__(self, text: str, log: Path) -> None:
        self.text = text
        flags = f"{os.environ.get('XLA_FLAGS', '')} {Cell.parse(text).flags}".strip()
        variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_FLAGS": flags}
        command = ["nice", "-n", str(NICE), sys.executable, __file__, "--one", text]
        with open(log, "ab") as errors:
            super().__init__(
                command, variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self.lines: queue.Queue[dict | None] = queue.Queue()
        self.compiling = True
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.lines.put(json.loads(line))
                self.compiling = self.compiling and "ready" not in line
        self.lines.put(None)
        self.compiling = False

    def tell(self) -> None:
        """Measure now."""
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)


def confined_run(text: str, out: Path, name: str) -> dict:
    """`python -m harness.run` in a folder of its own; what its record says."""
    backend, task, budget, *file = text.split(":")
    with tempfile.TemporaryDirectory() as folder:
        train = str(ROOT / (file or ["agent_space/train.py"])[0])
        command = [sys.executable, "-m", "harness.run", "--task", task, "--backend", backend]
        command += ["--budget", budget, "--train", train]
        variables = {
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            "XDG_STATE_HOME": str(out / STATE),  # Warp's kernels, compiled once for all runs
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        begin = time.monotonic()
        run = Group(
            command, variables, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = run.process.communicate()
        seconds = time.monotonic() - begin
        (out / f"{name}.log").write_text(said)
        found = list(Path(folder).glob("runs/*/summary.json"))
        if run.process.returncode or not found:
            code = run.process.returncode
            return {"exit_code": code, "said": said[-1500:], "seconds": seconds}
        summary = json.loads(found[0].read_text())
        (out / f"{name}.csv").write_bytes((found[0].parent / "curve.csv").read_bytes())
    kept = ("avg_return", "std_return", "total_timesteps", "steps_per_second", "backend", "device",
            "training_seconds", "startup_seconds", "compile_seconds", "eval_seconds", "sandbox",
            "machine", "versions", "diverged", "num_updates", "seed")  # fmt: skip
    return {"seconds": seconds, **{key: summary.get(key) for key in kept}}


def fidelity(log: Path) -> list[str]:
    """`bench_fidelity.py` on this device: one step against C MuJoCo."""
    command = ["nice", "-n", str(NICE), sys.executable, str(ROOT / "scripts/bench_fidelity.py"),
               *FIDELITY, "--states", "500"]  # fmt: skip
    variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with open(log, "ab") as errors:
        group = Group(command, variables, stdout=subprocess.PIPE, stderr=errors)
    return group.process.communicate()[0].splitlines()


# ---- One cell, in a process of its own ----------------------------------------------------------


def one(text: str) -> None:
    """Compile, say so, wait, measure: lines of JSON on stdout."""
    cell = Cell.parse(text)
    if cell.caches:
        cold_and_warm(text)
        return
    begin = time.perf_counter()
    import jax  # noqa: PLC0415  (the parent must not open the device)

    import shipped  # noqa: PLC0415
    from harness import envs  # noqa: PLC0415

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    train = shipped.load()
    env = envs.make(cell.task, cell.num_envs, 0, cell.backend)
    make = partial(replicated, seeds=cell.seeds) if cell.seeds else shipped.iteration
    update, current = make(train, env)
    current = jax.block_until_ready(update(current))
    say(first_update=time.perf_counter() - begin)
    device = str(jax.devices()[0].device_kind)
    if cell.start:
        say(device=device)
        return
    # A host engine has one state: the bare one is another.
    play, playing = bare(envs.make(cell.task, cell.num_envs, 0, cell.backend))
    say(ready=time.perf_counter() - begin)
    sys.stdin.readline()

    steps = train.ROLLOUT_STEPS * cell.num_envs * max(cell.seeds, 1)
    say(training=rate(update, current, steps), cores=os.cpu_count())
    say(bare=rate(play, playing, BARE_STEPS * cell.num_envs))
    stats = jax.devices()[0].memory_stats() or {}
    simulated = str(env.devices[0].device_kind)
    say(device=device, simulated=simulated, peak_bytes=stats.get("peak_bytes_in_use"))


def replicated(train: ModuleType, env: Any, seeds: int) -> tuple[Any, Any]:
    """As `shipped.iteration`: so many trainings in one program; engines on the device only."""
    import jax  # noqa: PLC0415

    net = train.ActorCritic(env.action_space)

    def begin(key: Any) -> tuple:
        key, first_key = jax.random.split(key)
        state = train.init(key, env, net)
        first = state.replace(key=first_key)
        return state, *train.rollout(first, env.reset(first_key), 1.0, env, net)

    def update(current: tuple) -> tuple:
        state, env_state, steps = current
        after, _ = train.update(state, steps, 1.0, net)
        return after, *train.rollout(state, env_state, 1.0, env, net)

    # Threefry: XLA's own generator draws for all lanes of a vmap from the first one's key.
    first = jax.jit(jax.vmap(begin))(jax.random.split(jax.random.key(0), seeds))
    return jax.jit(jax.vmap(update)), first


def cold_and_warm(text: str) -> None:
    """The seconds to the first update of two processes, with the same caches, empty at first."""
    say(ready=0.0)  # it compiles when it is told to, so that nothing compiles beside it
    sys.stdin.readline()
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            "WARP_CACHE_PATH": f"{folder}/warp",
            "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        command = [sys.executable, __file__, "--one", text.replace(":caches", ":start")]
        figures: dict[str, Any] = {}
        for name in ("cold", "warm"):
            done = subprocess.run(
                command, env={**os.environ, **variables}, stdout=subprocess.PIPE, check=True
            )
            for line in done.stdout.splitlines():
                figures |= json.loads(line) if line.startswith(b"{") else {}
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
            say(**{name: figures["first_update"], "cached_bytes": size})
    say(device=figures["device"])


def bare(env: Any) -> tuple[Any, Any]:
    """A compiled call of the engine alone under random actions, and the state to begin with."""
    import jax  # noqa: PLC0415

    low, high = env.action_space.low, env.action_space.high

    def play(carry: tuple) -> tuple:
        state, key = carry
        key, noise_key = jax.random.split(key)
        shape = (BARE_STEPS, env.num_envs, *env.action_space.shape)
        actions = jax.random.uniform(noise_key, shape, minval=low, maxval=high)
        return jax.lax.scan(lambda s, a: (env.step(s, a), None), state, actions)[0], key

    with jax.default_device(env.devices[0]):
        carry = jax.jit(env.reset)(jax.random.key(0)), jax.random.key(1, impl="rbg")
        call = jax.jit(play, donate_argnums=0).lower(carry).compile()
        return call, jax.block_until_ready(call(carry))


def rate(call: Any, state: Any, steps: int) -> float:
    """Environment steps per second of a call that makes so many; the first call warms up."""
    import jax  # noqa: PLC0415

    state = jax.block_until_ready(call(state))
    begin, calls = time.perf_counter(), 0
    seconds = SECONDS if jax.default_backend() != "cpu" else SMALL_SECONDS
    while time.perf_counter() - begin < seconds:
        state = jax.block_until_ready(call(state))
        calls += 1
    return calls * steps / (time.perf_counter() - begin)


def say(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


# ---- All of it ----------------------------------------------------------------------------------


def measure(child: Child, deadline: float) -> dict:
    """The figures of one cell; what is missing where it ended early."""
    figures: dict[str, Any] = {}
    told = False
    while True:
        try:
            line = child.lines.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            return {**figures, "failed": NO_TIME}
        if line is None:
            return figures if "device" in figures else {**figures, "failed": "it ended; see log"}
        figures |= line
        if "ready" in figures and not told:
            child.tell()
            told = True


def following(children: list[Child], left: float) -> Child | None:
    """The first that is ready, once nothing compiles beside it or no time is left to wait.

    Args:
      children: that are to be measured.
      left: seconds.
    """
    if any(child.compiling for child in children) and left > len(children) * EXPECTED:
        return None
    return next((child for child in children if not child.compiling), None)


def beside(results: Results, runs: list[str], out: Path, errors: bool) -> dict[str, Thread]:
    """Begin the confined runs, and the errors of a step if they are wanted; by their names."""

    def run(index: int, text: str) -> None:
        results.add(run=text, **confined_run(text, out, f"run{index}"))

    begun = {
        text: Thread(target=run, args=(index, text), daemon=True) for index, text in enumerate(runs)
    }
    if errors:
        begun["fidelity"] = Thread(
            target=lambda: results.add(fidelity=fidelity(out / "log")), daemon=True
        )
    for thread in begun.values():
        thread.start()
    return begun


def measure_all(children: list[Child], deadline: float, results: Results) -> None:
    """One after the other, until all are measured or no time is left."""
    while children:
        left = deadline - time.monotonic()
        if left < LEAST:
            for child in children:
                results.add(cell=child.text, failed=NO_TIME)
            return
        if (child := following(children, left)) is None:
            time.sleep(0.2)
            continue
        limit = CACHES_LIMIT if Cell.parse(child.text).caches else LIMIT
        results.add(cell=child.text, **measure(child, min(deadline, time.monotonic() + limit)))
        child.end()
        children.remove(child)


def arguments() -> argparse.Namespace:
    """The command line; what it leaves out depends on whether there is a GPU."""
    gpu = bool(machine.accelerators())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, help="the folder that results are written to")
    parser.add_argument("--cells", nargs="*", default=list(CELLS if gpu else SMALL_CELLS))
    runs_help = "BACKEND:TASK:SECONDS[:FILE] of the confined runs, with commas; or none"
    parser.add_argument("--run", default=RUN if gpu else SMALL_RUN, help=runs_help)
    parser.add_argument("--no-fidelity", action="store_true", default=not gpu)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.out is None and options.one is None:
        parser.error("--out is needed: the folder that results are written to")
    return options


def main() -> None:
    """Run, compile side by side, measure one after the other."""
    options = arguments()
    if options.one:
        one(options.one)
        return
    deadline = time.monotonic() + 60 * options.minutes
    results = Results(options.out)
    runs = list(filter(None, options.run.removeprefix("none").split(",")))
    begun = beside(results, runs, options.out, not options.no_fidelity)
    children = [Child(text, options.out / "log") for text in options.cells]
    for text in runs:
        begun[text].join(timeout=max(deadline - time.monotonic(), 0.0))
    measure_all(children, deadline, results)
    for text, thread in begun.items():
        thread.join(timeout=max(deadline - time.monotonic(), 0.0))
        if thread.is_alive():
            results.add(run=text, failed=NO_TIME)
    results.add(done=True, left=round(deadline - time.monotonic(), 1))
    for group in Group.every:
        group.end()
    shutil.rmtree(options.out / STATE, ignore_errors=True)


if __name__ == "__main__":
    main()
