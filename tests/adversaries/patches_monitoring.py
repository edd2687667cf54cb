"""Reports an hour of compilation, in the hope that it is credited, and publishes late."""

import time

from harness.trial import connect
from tests.adversaries import publish

trial = connect()
trial.start()
trial._compile_seconds = 3600.0
publish(trial, gained=False)
trial.log(1)
time.sleep(trial.time_left() + 0.3)
publish(trial, gained=True)
