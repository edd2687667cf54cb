"""Keeps a daemon, in a session of its own, that publishes after the deadline."""

import os
import time

from harness.trial import connect
from tests.adversaries import finish, publish

trial = connect()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            time.sleep(0.2)
            if trial.time_left() == trial._budget:
                trial._deadline = time.monotonic() + trial._budget
            if trial.time_left() < -0.5:
                publish(trial, gained=True)
    os._exit(0)
finish(trial, gained=False)
