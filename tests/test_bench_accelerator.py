"""The script that measures a GPU, where there is none: only the device is new to it there."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

LATE = "no time was left"
SLACK = 20  # seconds beyond the minute, for the interpreter's start and end


@pytest.mark.slow
def test_a_minute_of_it_on_a_cpu_ends_in_time_and_accounts_for_everything(tmp_path):
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "scripts/bench_accelerator.py", "--minutes", "1", "--out", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert time.monotonic() - begin < 60 + SLACK
    *results, last = [
        json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()
    ]
    assert last["done"]
    found = {line.get("run") or line["cell"]: line for line in results}
    expected = {
        "native:InvertedPendulum-v5:3": "avg_return",
        "native:InvertedPendulum-v5:8": "training",
        "native:InvertedPendulum-v5:8:caches": "warm",
        "mjx:InvertedPendulum-v5:8:x2": "training",
    }
    assert found.keys() == expected.keys()
    for name, figure in expected.items():
        # On a busy machine not all of it fits, but what does not is named.
        assert figure in found[name] or found[name].get("failed") == LATE, found[name]
