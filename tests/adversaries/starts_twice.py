"""Sends a second start message to set the clock back, and publishes after the first deadline."""

import time

from harness.trial import connect
from tests.adversaries import publish

trial = connect()
trial.start()
publish(trial, gained=False)
budget = trial.time_left()
time.sleep(budget / 2)
trial._send({"kind": "start", "device": "", "backend": ""})
time.sleep(budget / 2 + 0.3)
publish(trial, gained=True)
