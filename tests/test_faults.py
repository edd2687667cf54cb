"""What is left when the harness is killed or its disk is full: a whole ledger, and no process."""

import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from harness.record.ledger import Ledger
from tests.conftest import ROOT, TRAIN_FILES
from tests.test_run import wait_for_child

GONE_WITHIN = 3.0  # seconds in which the kernel ends what a killed harness had started
SMALL_DISK = 2**18  # bytes: room for a ledger and a training's log, not for its policies' folder

HONEST = ["--train", str(TRAIN_FILES / "honest.py"), "--budget", "1", "--episodes", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "phase", ["train.py", pytest.param("harness.evaluate", marks=pytest.mark.slow)]
)
def test_a_killed_harness_leaves_no_process_and_a_ledger_that_goes_on(harness_run, checkout, phase):
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.run", *HONEST, "--episodes", "2000"],
        cwd=checkout, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    children = wait_for_child(process.pid, phase)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=GONE_WITHIN)
    assert not alive
    assert harness_run(*HONEST).returncode == 0
    killed, scored = Ledger(checkout / "results.tsv").rows()
    assert (killed.status, killed.avg_return, scored.status) == ("interrupted", None, "scored")
    assert Ledger(checkout / "results.tsv").read().open() == []


@pytest.fixture
def small_disk(checkout):
    """A checkout on a disk of its own with `SMALL_DISK` bytes, and how to run the harness there."""
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    disk = checkout / "disk"
    disk.mkdir()
    installed = checkout / "installed"  # what adversaries import
    for package in ("tests", "tests/adversaries"):
        (installed / package).mkdir(parents=True)
        shutil.copy(ROOT / package / "__init__.py", installed / package)
    script = f'mount -t tmpfs -o size={SMALL_DISK} disk "$0" && cd "$0" && exec "$@"'

    def run(*command):
        return subprocess.run(
            [*prefix, script, str(disk), *command],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{installed}"}, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    if not shutil.which("unshare") or run("true").returncode != 0:
        pytest.skip("this system mounts nothing for ordinary users")
    return run


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_run_after_it_works(small_disk):
    """A real one: a file fills it before the first run and is removed before the second."""
    harness = f"{sys.executable} -m harness.run --no-sandbox {' '.join(HONEST)}"
    done = small_disk("sh", "-c", (
        f"head -c 1G /dev/zero > filler 2>/dev/null; {harness}; echo first: $?;"
        f"rm filler; {harness} > log; echo second: $?; cut -f 3 results.tsv"
    ))  # fmt: skip
    assert "error: The disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "first: 6"
    assert lines[-4:] == ["second: 0", "status", "begun", "scored"]


@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_training_costs_the_run_and_not_the_ledger(small_disk):
    """The file floods its log with as much as the disk holds."""
    (flood,) = TRAIN_FILES.parent.glob("adversaries/floods_output.py")
    harness = f"{sys.executable} -m harness.run --no-sandbox"
    done = small_disk("sh", "-c", (
        f"{harness} {' '.join(HONEST)} > log; echo first: $?;"
        f"{harness} --train {flood} --budget 1 --episodes 2; echo second: $?;"
        f"rm -r runs; {harness} {' '.join(HONEST)} > log; echo third: $?; cut -f 3 results.tsv"
    ))  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "first: 0"
    assert "second: 6" in lines
    assert lines[-8:-6] == ["third: 0", "status"]
    assert lines[-6::2] == ["begun"] * 3
    assert lines[-5] == lines[-1] == "scored"
