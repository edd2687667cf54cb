"""Ignores every signal that can be ignored and never ends."""

import signal
import time

from harness.trial import connect
from tests.adversaries import publish

for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
trial = connect()
trial.start()
publish(trial, gained=False)
time.sleep(trial.time_left() + 0.3)
publish(trial, gained=True)
while True:
    time.sleep(1)
