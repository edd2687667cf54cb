"""Kills the harness at random moments, over and over, and counts what is left damaged.

    python scripts/bench_faults.py [--kills 200] [--parallel 2]

Each trial starts `python -m harness.run` with a short budget in a scratch checkout and kills it
with SIGKILL at a random moment of the time that such a run takes (start-up, training, evaluation
and writing are all hit). Then it looks: is the ledger whole, is every finished run's row there,
does any process of it run on? A run that had ended before its moment is looked at and not counted
as killed. After every tenth kill a run without one must work.
"""

import argparse
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

from harness.errors import LedgerError
from harness.places import LEDGER
from harness.record.ledger import Ledger

ROOT = Path(__file__).resolve().parent.parent
TRAIN_FILE = ROOT / "tests" / "train_files" / "honest.py"
BUDGET = 1.0  # seconds of training
PATIENCE = 120.0  # seconds that a run may take which is let alone
GONE_WITHIN = 3.0  # seconds in which the kernel ends what a killed harness had confined
EVERY = 10  # kills between runs that are let alone


def start(checkout: Path) -> subprocess.Popen:
    """A run in a checkout."""
    command = [sys.executable, "-m", "harness.run", "--train", str(TRAIN_FILE)]
    command += ["--budget", str(BUDGET), "--episodes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment["XDG_STATE_HOME"] = str(checkout / "state")
    return subprocess.Popen(
        command, cwd=checkout, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def orphans(checkout: Path) -> list[int]:
    """Processes that work in a checkout or were started for it."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        text = " ".join(process.info["cmdline"] or ())
        if str(checkout) in text or (process.info["cwd"] or "").startswith(str(checkout)):
            found.append(process.info["pid"])
    return found


def trial(checkout: Path, seconds: float) -> dict[str, int]:
    """One run that is killed after some seconds, and what it left."""
    os.environ["XDG_STATE_HOME"] = str(checkout / "state")
    before = len(Ledger(checkout / LEDGER).rows())
    run, killed = start(checkout), False
    try:
        output, _ = run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        killed = True
        run.send_signal(signal.SIGKILL)
        output, _ = run.communicate()
    finished = "run_id:" in output
    deadline = time.monotonic() + GONE_WITHIN
    while (left := orphans(checkout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    counts = {"killed": killed, "finished": finished, "orphans": len(left)}
    try:
        ledger = Ledger(checkout / LEDGER)
        ledger.check()
        return counts | {"corrupt": 0, "lost": int(finished and len(ledger.rows()) == before)}
    except LedgerError as error:
        print(error)
        return counts | {"corrupt": 1, "lost": 0}


def worker(kills: int, seed: int) -> collections.Counter[str]:
    """A number of kills in a checkout of its own."""
    generator = random.Random(seed)
    totals: collections.Counter[str] = collections.Counter()
    checkout = Path(tempfile.mkdtemp(prefix="autorl-faults-"))
    begin = time.monotonic()
    try:
        totals["undisturbed run failed"] += 1 - trial(checkout, PATIENCE)["finished"]
        length = time.monotonic() - begin
        while totals["killed"] < kills:
            counts = trial(checkout, generator.uniform(0, length))
            totals.update(counts)
            if counts["corrupt"]:  # what must never be; the next run would only refuse it
                print(f"kept for a look: {shutil.copytree(checkout, f'{checkout}-corrupt')}")
                break
            if counts["killed"] and totals["killed"] % EVERY == 0:
                whole = trial(checkout, PATIENCE)
                totals["undisturbed run failed"] += 1 - whole.pop("finished")
                totals.update(whole)
            print(f"worker {seed}, a run takes {length:.1f} s: {dict(totals)}", flush=True)
    finally:
        shutil.rmtree(checkout, ignore_errors=True)
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=2)
    options = parser.parse_args()
    share = -(-options.kills // options.parallel)
    with ProcessPoolExecutor(options.parallel) as pool:  # each has an environment of its own
        results = list(pool.map(worker, [share] * options.parallel, range(options.parallel)))
    totals: collections.Counter[str] = collections.Counter()
    for result in results:
        totals.update(result)
    print(f"{totals.pop('killed')} kills: {dict(totals)}")


if __name__ == "__main__":
    main()
