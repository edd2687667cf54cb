"""Trains in what should be compilation, publishes, and is gone before the clock starts."""

from harness.trial import connect
from tests.adversaries import publish

trial = connect()
publish(trial, gained=True)
