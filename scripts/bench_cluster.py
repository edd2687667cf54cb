"""What a cluster costs a run: rates beside each other and alone, and a worker's death.

    python scripts/bench_cluster.py [--runs 8] [--budget 20] [--cores 1]

Starts a Ray cluster of two nodes on this machine (two `ray start`, as on two machines) and makes
runs in all of its slots at a time and, in turns with them, as many one at a time; the worker of one
of the first is killed in the middle. Prints what arrived, the rates, and their ratio. Not for a
machine that is part of a cluster: it stops every Ray of this user in the end.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import ray

from harness.confinement import sandbox
from harness.contract.order import Assignment, Order, draw_seed
from harness.errors import WorkerError
from harness.judgement import experiment
from harness.judgement.experiment import Request
from harness.judgement.summaries import Summary
from harness.measurement import cluster
from harness.measurement.sites import Site
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Status
from harness.record.ledger import Ledger

ROOT = Path(__file__).resolve().parent.parent
TASK = "HalfCheetah-v5"
RAY = str(Path(sys.executable).with_name("ray"))


def start(cores: int) -> str:
    """Two nodes with half of the machine each; the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    each = (os.cpu_count() or 2) // 2 // cores * cores
    port = address.split(":")[1]
    for where in (
        ["--head", f"--port={port}", "--include-dashboard=false"],
        [f"--address={address}"],
    ):
        command = [RAY, "start", *where, f"--num-cpus={each}", "--disable-usage-stats"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return address


def checkout(folder: Path) -> Path:
    """A committed one with the shipped training file."""
    (folder / "agent_space").mkdir(parents=True)
    (folder / EDITABLE).write_bytes((ROOT / EDITABLE).read_bytes())
    (folder / ".gitignore").write_text("/runs/\n/results.tsv\n")
    identity = ["-c", "user.name=Bench", "-c", "user.email=bench@localhost"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
    return folder


def make(site: Site, folder: Path, budget: float) -> Callable[[int], Summary]:
    """Makes a run, again where its worker dies."""

    def one(number: int) -> Summary:
        request = Request(
            root=folder, source=(folder / EDITABLE).read_bytes(),
            order=Order(
                Assignment(TASK, "auto", draw_seed(), budget), episodes=20,
                confinement=sandbox.available(),
            ),
            message=str(number), comparable=False, site=site,
        )  # fmt: skip
        try:
            return experiment.run(request)
        except WorkerError:
            return one(number)

    return one


def kill_one(after: float) -> None:
    """Kill a worker that has a training under way."""
    time.sleep(after)
    workers = [p for p in psutil.process_iter(["name"]) if p.info["name"].startswith("ray::Worker")]
    busy = [p for p in workers if p.children(recursive=True)]
    if busy:
        busy[0].send_signal(signal.SIGKILL)
    print(f"{'killed a' if busy else 'found no'} worker after {after:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--cores", type=int, default=1)
    options = parser.parse_args()
    if not 1 <= options.cores <= (os.cpu_count() or 2) // 2:
        parser.error("--cores: each of the two nodes has half of the machine's.")
    if any(p.info["name"] == "raylet" for p in psutil.process_iter(["name"])):
        parser.error("there is a Ray here already, which this would stop.")
    with tempfile.TemporaryDirectory(prefix="autorl-cluster-") as name:
        os.environ["XDG_STATE_HOME"] = str(Path(name, "state"))
        folder = checkout(Path(name, "checkout"))
        os.chdir(folder)
        try:
            address = start(options.cores)
            site = cluster.connect(address, folder, options.cores)
            print(f"{site.slots} slots, each with {site.instrument.split(' ', 1)[1]}", flush=True)
            one = make(site, folder, options.budget)
            threading.Thread(target=kill_one, args=(options.budget * 1.5,), daemon=True).start()
            beside: list[Summary] = []
            alone: list[Summary] = []
            with ThreadPoolExecutor(site.slots) as pool:
                for first in range(0, options.runs, site.slots):
                    numbers = range(first, min(first + site.slots, options.runs))
                    beside += pool.map(one, numbers)
                    alone += map(one, numbers)
            runs = Ledger(folder / LEDGER).runs()
            lost = sum(run.status == Status.LOST for run in runs)
            print(f"{len(beside)} of {options.runs} runs beside each other arrived, "
                  f"{lost} lost and made again")  # fmt: skip
        finally:
            ray.shutdown()
            subprocess.run([RAY, "stop", "--force"], check=False, stdout=subprocess.DEVNULL)
    rates = {"beside each other": beside, "alone": alone}
    for words, summaries in rates.items():
        values = [summary.steps_per_second for summary in summaries]
        print(f"{words}: {' '.join(f'{value:,.0f}' for value in values)} steps/s")
    ratios = []
    for first in range(0, options.runs, site.slots):  # the machine's own speed drifts
        turn = slice(first, first + site.slots)
        typical = statistics.fmean(summary.steps_per_second for summary in alone[turn])
        ratios += [summary.steps_per_second / typical for summary in beside[turn]]
    print(f"ratio to the mean of those alone after them: {' '.join(f'{r:.2f}' for r in ratios)}")


if __name__ == "__main__":
    main()
