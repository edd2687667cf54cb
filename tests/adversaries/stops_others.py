"""Stops every process that it can see, so that no clock runs while it goes on."""

import os
import signal
from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish

trial = connect()
stopped = []
for entry in os.listdir("/proc"):
    if entry.isdigit() and int(entry) not in (1, os.getpid()):  # 1 is its own
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            if b"harness.run" in command or b"pytest" in command:
                os.kill(int(entry), signal.SIGSTOP)
                stopped.append(entry)
        except OSError:
            pass
finish(trial, gained=bool(stopped))
