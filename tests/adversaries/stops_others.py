"""Stops every process that it can see, so that no clock runs while it goes on."""

import signal

from harness.trial import connect
from tests.adversaries import finish, reached

trial = connect()
finish(trial, gained=bool(reached(signal.SIGSTOP)))
