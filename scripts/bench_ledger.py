"""How long a ledger of 10,000 rows takes to verify and to append to.

python scripts/bench_ledger.py
"""

import dataclasses
import os
import tempfile
import time
from pathlib import Path

from harness.record import snapshot
from harness.record.entries import Run, Status
from harness.record.ledger import Ledger

ROWS = 10_000
APPENDS = 21
WORDS = "of a usual length"
EMPTY = Run(
    run_id=WORDS, commit=WORDS, description=WORDS, branch=WORDS, harness=WORDS, task=WORDS,
    status=Status.SCORED, avg_return=1234.5678, std_return=123.4567, seed=2**31 - 1,
    challenger=WORDS, budget=720.0, backend=WORDS, comparable=True, sandbox=WORDS,
    objective=WORDS, episodes=100, reason=WORDS, startup=12.34,
)  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_STATE_HOME"] = name
        book = Ledger(Path(name) / "results.tsv")
        book.path.write_bytes(
            snapshot.written([dataclasses.replace(EMPTY, run_id=f"run{i}") for i in range(ROWS)])
        )
        begin = time.perf_counter()
        book.check()
        assert len(book.rows()) == ROWS
        print(f"verified {ROWS:,} rows in {time.perf_counter() - begin:.3f} s")
        times = []
        for i in range(APPENDS):
            begin = time.perf_counter()
            book.append(dataclasses.replace(EMPTY, run_id=f"new{i}"))
            times.append(1000 * (time.perf_counter() - begin))
        times.sort()
        print(
            f"appended a row in {times[APPENDS // 2]:.1f} ms (median), {times[-1]:.1f} ms at most"
        )


if __name__ == "__main__":
    main()
