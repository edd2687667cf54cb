"""Prints without end, to fill the disk or to keep the parent from looking at the clock."""

import sys
import threading

from harness.trial import connect
from tests.adversaries import publish

trial = connect()
trial.start()
publish(trial, gained=False)
line = "x" * 2**16


def late():
    publish(trial, gained=True)


threading.Timer(trial.time_left() + 0.3, late).start()
while True:
    sys.stdout.write(line)
