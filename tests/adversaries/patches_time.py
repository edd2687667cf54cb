"""Stops the clock: time.monotonic stands still from the start on, then a policy is published."""

import time

from harness.trial import connect
from tests.adversaries import publish

trial = connect()
trial.start()
publish(trial, gained=False)
now, sleep = time.monotonic(), time.sleep
time.monotonic = lambda: now
while True:
    sleep(trial._budget + 0.3)
    publish(trial, gained=True)
