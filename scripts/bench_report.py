"""How long a report of many experiments takes, and how large it is.

python scripts/bench_report.py [--experiments 1000]
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.places import LEDGER
from harness.record import snapshot
from harness.record.entries import Role, Run, Status, Verdict

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def write_ledger(path: Path, experiments: int, words: str = "an idea, number {}") -> None:
    """A night's ledger with so many challengers, every fiftieth kept, every twentieth crashed."""
    generator = random.Random(0)
    number, level, incumbent = 0, 0.0, "0" * 12
    rows: list[Run] = []

    def add(
        role: Role, commit: str, challenger: str, replicate: int, verdict: Verdict = Verdict.NONE
    ) -> None:
        nonlocal number
        number += 1
        crashed = verdict == Verdict.DISCARD and int(challenger) % 20 == 7
        status = Status(verdict) if verdict.final else Status.SCORED
        mean = level + (1.5 if verdict == Verdict.KEEP else 0.0)
        rows.append(
            Run(
                commit=commit,
                avg_return=None if crashed else 1000 + 300 * (mean + generator.gauss(0, 1)),
                status=Status.CRASH if crashed else status,
                description=words.format(int(challenger)),
                task="HalfCheetah-v5",
                run_id=f"{BEGINNING + timedelta(minutes=15 * number):%Y%m%d-%H%M%S}-{number:08x}",
                seed=0, challenger=challenger, replicate=replicate, std_return=1.0,
                budget=720.0, backend="native", comparable=True, verdict=verdict,
                sandbox="bubblewrap", branch="autorl/bench", role=role,
                objective="HalfCheetah-v5", episodes=100, harness="0" * 12 + " 2x a processor",
                reason="1,300 in 1 run against 1,200 in 10 runs of the incumbent: figures.",
            )
        )  # fmt: skip

    for replicate in range(1, 11):
        add(Role.INCUMBENT, incumbent, incumbent, replicate)
    for i in range(1, experiments + 1):
        name = f"{i:012d}"
        if i % 50 == 2:
            for replicate in range(1, 4):
                said = Verdict.GO_ON if replicate < 3 else Verdict.KEEP
                add(Role.CHALLENGER, name, name, replicate, said)
            incumbent, level = name, level + 0.7
            for replicate in range(1, 8):
                add(Role.INCUMBENT, incumbent, incumbent, replicate)
        else:
            add(Role.CHALLENGER, name, name, 1, Verdict.DISCARD)
    path.write_bytes(snapshot.written(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autorl-report-") as name:
        folder = Path(name)
        write_ledger(folder / LEDGER, options.experiments)
        begin = time.monotonic()
        command = [sys.executable, "-m", "harness.report", "--ledger", str(folder / LEDGER)]
        subprocess.run([*command, "--output", str(folder / "report")], check=True)
        seconds = time.monotonic() - begin
        size = sum(file.stat().st_size for file in (folder / "report").iterdir())
    print(f"{options.experiments} experiments: {seconds:.1f} s, {size / 2**20:.2f} MB")


if __name__ == "__main__":
    main()
