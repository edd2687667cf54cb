"""Never starts the clock, and trains in what should be compilation."""

import time

from harness.trial import connect
from tests.adversaries import publish

trial = connect()
publish(trial, gained=False)
time.sleep(60)
publish(trial, gained=True)
