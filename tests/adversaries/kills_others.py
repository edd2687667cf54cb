"""Kills its parent and every process that it can see and that is not its own."""

import os
import signal
from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish

trial = connect()
mine = {os.getpid()}
killed = []
for entry in os.listdir("/proc"):
    if entry.isdigit() and int(entry) not in mine and int(entry) != 1:
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            if b"harness.run" in command or b"pytest" in command:
                os.kill(int(entry), signal.SIGKILL)
                killed.append(entry)
        except OSError:
            pass
finish(trial, gained=bool(killed))
