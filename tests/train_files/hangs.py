"""Starts the clock and publishes nothing."""

import time

from harness.trial import connect

connect().start()
time.sleep(600)
