"""Gives itself a budget of an hour and publishes after the real one."""

import time

from harness.trial import connect
from tests.adversaries import publish

trial = connect()
trial.start()
publish(trial, gained=False)
budget = trial.time_left()
trial._deadline += 3600
time.sleep(budget + 0.3)
publish(trial, gained=True)
