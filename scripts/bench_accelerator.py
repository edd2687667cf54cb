"""What a GPU or a TPU gives, in the minutes that there are: one command, most valuable first.

    python scripts/bench_accelerator.py --minutes 9 --out FOLDER [--cells mjx:Ant-v5:4096 ...]

First a confined run on MJX, scored; then rates. A cell is BACKEND:TASK:ENVIRONMENTS, and may end in
`:x16` (so many seeds in one program, by vmap) and in `:` and XLA flags. Every cell is a process of
its own. All compile side by side, on the host's cores; they are measured one after the other, when
the run has ended. Each result is a line of FOLDER/results.jsonl as soon as it is there. What no
time is left for is named at the end.
"""

import argparse
import dataclasses
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CELLS = (
    "mjx:HalfCheetah-v5:4096", "warp:HalfCheetah-v5:4096", "native:HalfCheetah-v5:1024",
    "mjx:Ant-v5:4096", "warp:Ant-v5:4096", "native:Ant-v5:1024",
    "mjx:HalfCheetah-v5:16384", "warp:HalfCheetah-v5:16384", "mjx:HalfCheetah-v5:1024",
    "mjx:Hopper-v5:4096", "warp:Hopper-v5:4096", "native:Hopper-v5:1024",
    "mjx:Humanoid-v5:4096", "warp:Humanoid-v5:4096", "native:Humanoid-v5:1024",
    "mjx:HalfCheetah-v5:2048:x1", "mjx:HalfCheetah-v5:2048:x16",
    "native:HalfCheetah-v5:4096", "native:HalfCheetah-v5:256", "warp:Ant-v5:16384",
)  # fmt: skip
FIDELITY = ("HalfCheetah-v5", "Ant-v5")
RUN_BUDGET = 30.0  # seconds of the confined run
SECONDS = 4.0  # of each rate
BARE_STEPS = 16  # in one call of the bare engine
LIMIT = 45.0  # seconds that the measurement of one cell may take
EXPECTED = 20.0  # seconds that it mostly takes
LEAST = 10.0  # seconds that must be left to begin a measurement
NICE = 5  # of what compiles beside the run, whose start-up is bounded


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one process measures."""

    backend: str
    task: str
    num_envs: int
    seeds: int = 0  # 0: the file as it is; else so many in one program
    flags: str = ""

    @classmethod
    def parse(cls, text: str) -> "Cell":
        """A cell as on the command line."""
        backend, task, num_envs, *rest = text.split(":")
        seeds = next((int(word[1:]) for word in rest if word.startswith("x")), 0)
        flags = " ".join(word for word in rest if word.startswith("--"))
        return cls(backend, task, int(num_envs), seeds, flags)


class Results:
    """FOLDER/results.jsonl: a line a result, on the disk at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "results.jsonl"
        self._begin = time.monotonic()
        self._lock = threading.Lock()

    def add(self, **result: Any) -> None:
        """Write one result."""
        line = json.dumps({"at": round(time.monotonic() - self._begin, 1), **result})
        with self._lock, open(self._path, "a") as file:
            file.write(line + "\n")
            print(line, flush=True)


class Child:
    """A process that says when it is ready, and measures when it is told to."""

    def __init__(self, text: str, log: Path) -> None:
        self.text = text
        flags = f"{os.environ.get('XLA_FLAGS', '')} {Cell.parse(text).flags}".strip()
        variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_FLAGS": flags}
        with open(log, "ab") as errors:
            self._process = subprocess.Popen(
                ["nice", "-n", str(NICE), sys.executable, __file__, "--one", text],
                env={**os.environ, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.lines: queue.Queue[dict | None] = queue.Queue()
        self.compiling = True
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.lines.put(json.loads(line))
                self.compiling = self.compiling and "ready" not in line
        self.lines.put(None)
        self.compiling = False

    def tell(self) -> None:
        """Measure now."""
        assert self._process.stdin is not None
        print("go", file=self._process.stdin, flush=True)

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


def confined_run(budget: float, out: Path, backend: str, task: str, name: str) -> dict:
    """`python -m harness.run` in a folder of its own; what its record says."""
    with tempfile.TemporaryDirectory() as folder:
        train = str(ROOT / "agent_space" / "train.py")
        command = [sys.executable, "-m", "harness.run", "--task", task, "--backend", backend]
        command += ["--budget", f"{budget:g}", "--train", train]
        variables = {
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            "XDG_STATE_HOME": folder,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        begin = time.monotonic()
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **variables}, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        seconds = time.monotonic() - begin
        (out / f"{name}.log").write_text(done.stdout)
        found = list(Path(folder).glob("runs/*/summary.json"))
        if done.returncode or not found:
            return {"exit_code": done.returncode, "said": done.stdout[-1500:], "seconds": seconds}
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
        done = subprocess.run(
            command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=errors,
            check=False,
        )  # fmt: skip
    return done.stdout.decode().splitlines()


# ---- One cell, in a process of its own ----------------------------------------------------------


def one(text: str) -> None:
    """Compile, say so, wait, measure: lines of JSON on stdout."""
    begin = time.perf_counter()
    import jax  # noqa: PLC0415  (the parent must not open the device)

    import shipped  # noqa: PLC0415
    from harness import envs  # noqa: PLC0415

    cell = Cell.parse(text)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    train = shipped.load()
    env = envs.make(cell.task, cell.num_envs, 0, cell.backend)
    net = train.ActorCritic(env.action_space)
    if cell.seeds:
        # Threefry: XLA's own generator draws for all lanes of a vmap from the first one's key.
        keys = jax.random.split(jax.random.key(0), cell.seeds)
        init = jax.jit(jax.vmap(partial(train.init, env=env, net=net)))
        update = jax.jit(jax.vmap(partial(train.update, env=env, net=net)), donate_argnums=0)
        state = init(keys)
        update = update.lower(state).compile()
    else:
        key = jax.random.key(0, impl="rbg")
        init, update = train.compiled(key, env, net)
        state = init(key)
    state, _ = jax.block_until_ready(update(state))
    say(first_update=time.perf_counter() - begin)
    # A host engine has one state: the bare one is another.
    play, playing = bare(envs.make(cell.task, cell.num_envs, 0, cell.backend))
    say(ready=time.perf_counter() - begin)
    sys.stdin.readline()

    def learn(state: Any) -> Any:
        return update(state)[0]

    steps = train.ROLLOUT_STEPS * cell.num_envs * max(cell.seeds, 1)
    say(training=rate(learn, state, steps), cores=os.cpu_count())
    say(bare=rate(play, playing, BARE_STEPS * cell.num_envs))
    stats = jax.devices()[0].memory_stats() or {}
    say(device=str(jax.devices()[0].device_kind), peak_bytes=stats.get("peak_bytes_in_use"))


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

    carry = jax.jit(env.reset)(jax.random.key(0)), jax.random.key(1, impl="rbg")
    call = jax.jit(play, donate_argnums=0).lower(carry).compile()
    return call, jax.block_until_ready(call(carry))


def rate(call: Any, state: Any, steps: int) -> float:
    """Environment steps per second of a call that makes so many; the first call warms up."""
    import jax  # noqa: PLC0415

    state = jax.block_until_ready(call(state))
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
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
            return {**figures, "failed": "no time was left"}
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


def main() -> None:
    """Run, compile side by side, measure one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cells", nargs="*", default=list(CELLS))
    standard = f"mjx:HalfCheetah-v5:{RUN_BUDGET:g}"
    runs_help = "BACKEND:TASK:SECONDS of the confined runs, with commas; or none"
    parser.add_argument("--run", default=standard, help=runs_help)
    parser.add_argument("--no-fidelity", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    if options.out is None:
        parser.error("--out is needed: the folder that results are written to")
    deadline = time.monotonic() + 60 * options.minutes
    results, log = Results(options.out), options.out / "log"
    runs = []
    for index, text in enumerate(filter(None, options.run.removeprefix("none").split(","))):
        backend, task, budget = text.split(":")
        arguments = (float(budget), options.out, backend, task, f"run{index}")
        runs.append(threading.Thread(
            target=lambda a=arguments, t=text: results.add(run=t, **confined_run(*a)), daemon=True
        ))  # fmt: skip
    for run in runs:
        run.start()
    errors = None
    if not options.no_fidelity:
        errors = threading.Thread(target=lambda: results.add(fidelity=fidelity(log)), daemon=True)
        errors.start()
    children = [Child(text, log) for text in options.cells]
    for run in runs:
        run.join(timeout=max(deadline - time.monotonic(), 0.0))
    while children:
        if time.monotonic() + LEAST > deadline:
            for child in children:
                results.add(cell=child.text, failed="no time was left")
                child.end()
            break
        if (child := following(children, deadline - time.monotonic())) is None:
            time.sleep(0.2)
            continue
        limit = min(deadline, time.monotonic() + LIMIT)
        results.add(cell=child.text, **measure(child, limit))
        child.end()
        children.remove(child)
    if errors is not None:
        errors.join(timeout=max(deadline - time.monotonic(), 0.0))
    results.add(done=True, left=round(deadline - time.monotonic(), 1))


if __name__ == "__main__":
    main()
