"""How long a ledger of 10,000 rows takes to verify and to append to.

python scripts/bench_ledger.py
"""

import dataclasses
import os
import tempfile
import time
from pathlib import Path

from harness.record import ledger
from harness.record.ledger import COLUMNS, Ledger, Row

ROWS = 10_000
APPENDS = 21
EMPTY = Row(**dict.fromkeys(COLUMNS, "of a usual length"))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_STATE_HOME"] = name
        book = Ledger(Path(name) / "results.tsv")
        lines, previous = [ledger._HEADER], ledger._hash(ledger._HEADER)
        for i in range(ROWS):
            row = dataclasses.replace(EMPTY, run_id=f"run{i}", previous=previous)
            lines.append(ledger._line(row))
            previous = ledger._hash(lines[-1])
        book.path.write_bytes(b"".join(lines))
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
