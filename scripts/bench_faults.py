"""Kills the harness at random moments, over and over, and counts what is left damaged.

    python scripts/bench_faults.py [--kills 200] [--parallel 2]

Each trial starts `python -m harness.run` with a short budget in a scratch checkout, kills it with
SIGKILL after a random time (training, evaluation and writing are all hit), and then looks: is the
ledger whole, is every finished run's row there, does any process of it run on? After every tenth
kill a run without one must work.
"""

import argparse
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
from harness.ledger import FILE, Ledger

ROOT = Path(__file__).resolve().parent.parent
TRAIN_FILE = ROOT / "tests" / "train_files" / "honest.py"
BUDGET = 1.0  # seconds of training
LONGEST = 12.0  # seconds after which a run of this budget has ended
GONE_WITHIN = 3.0  # seconds in which the kernel ends what a killed harness had confined
EVERY = 10  # kills between runs that are let alone


def start(checkout: Path) -> subprocess.Popen:
    """A run in a checkout."""
    command = [sys.executable, "-m", "harness.run", "--train", str(TRAIN_FILE)]
    command += ["--budget", str(BUDGET), "--episodes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AUTORL_FAULTS": str(checkout)}
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
    """One kill, and what it left."""
    os.environ["XDG_STATE_HOME"] = str(checkout / "state")
    before = len(Ledger(checkout / FILE).rows())
    run = start(checkout)
    try:
        output, _ = run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        output, _ = run.communicate()
    finished = "run_id:" in output
    deadline = time.monotonic() + GONE_WITHIN
    while (left := orphans(checkout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    counts = {"corrupt": 0, "orphans": len(left), "lost": 0, "finished": int(finished)}
    try:
        ledger = Ledger(checkout / FILE)
        ledger.check()
        counts["lost"] = int(finished and len(ledger.rows()) == before)
    except LedgerError as error:
        print(error)
        counts["corrupt"] = 1
    return counts


def worker(kills: int, seed: int) -> dict[str, int]:
    """A number of kills in a checkout of its own."""
    generator = random.Random(seed)
    totals: dict[str, int] = {}
    checkout = Path(tempfile.mkdtemp(prefix="autorl-faults-"))
    try:
        for i in range(kills):
            counts = trial(checkout, generator.uniform(0.2, LONGEST))
            if i % EVERY == EVERY - 1:
                whole = trial(checkout, 10 * LONGEST)
                counts["next run failed"] = 1 - whole.pop("finished")
                counts = {k: counts.get(k, 0) + whole.get(k, 0) for k in counts | whole}
            totals = {k: totals.get(k, 0) + counts.get(k, 0) for k in totals | counts}
            print(f"worker {seed}: {i + 1} kills: {totals}", flush=True)
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
    totals = {k: sum(r.get(k, 0) for r in results) for k in results[0]}
    print(f"{share * options.parallel} kills: {totals}")


if __name__ == "__main__":
    main()
