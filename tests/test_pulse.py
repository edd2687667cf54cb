"""Whether the process that holds the clock stood still."""

import os
import signal
import subprocess
import sys
import time

import pytest

from harness.system import pulse
from harness.system.pulse import Pulse
from tests.conftest import ROOT

STOPPED = 1.0  # seconds

BEATS = """
import sys, time
from harness.system.pulse import Pulse
pulse, stood = Pulse(0.05), 0.0
print("ready", flush=True)
end = time.monotonic() + 2.0
while time.monotonic() < end:
    time.sleep(0.05)
    stood += pulse.beat()
print(stood)
"""


@pytest.mark.slow
def test_a_process_that_was_stopped_knows_for_how_long():
    process = subprocess.Popen(
        [sys.executable, "-c", BEATS], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    time.sleep(STOPPED)
    process.send_signal(signal.SIGCONT)
    told, _ = process.communicate(timeout=30)
    assert STOPPED - 0.1 < float(told) < STOPPED + 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="nothing says who waits for a processor")
def test_a_process_that_was_busy_did_not_stand_still():
    beating = Pulse(0.1)
    end = time.thread_time() + pulse.LATE + 0.3
    while time.thread_time() < end:
        pass
    assert beating.beat() == 0.0


@pytest.mark.parametrize(
    ("passed", "asleep", "busy", "stood"),
    [
        (0.1, 0.0, 0.0, 0.0),
        (0.5, 0.0, 0.0, 0.0),
        (5.0, 0.0, 0.0, 4.9),
        (5.0, 0.0, 4.8, 0.0),
        (5.0, 0.0, 2.0, 2.9),
        (0.1, 60.0, 0.0, 60.0),
        (2.1, 60.0, 0.0, 62.0),
    ],
    ids=["in time", "a little late", "stopped", "waiting for a processor", "both", "asleep",
         "asleep and stopped"],
)  # fmt: skip
def test_what_counts_as_standing_still(monkeypatch, passed, asleep, busy, stood):
    moments = iter([(100.0, 7.0, 3.0), (100.0 + passed, 7.0 + asleep, 3.0 + busy)])
    monkeypatch.setattr(pulse, "_moment", lambda: next(moments))
    assert Pulse(0.1).beat() == pytest.approx(stood)
