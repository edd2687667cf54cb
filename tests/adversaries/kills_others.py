"""Kills its parent and every process that it can see and that is not its own."""

import signal

from harness.trial import connect
from tests.adversaries import finish, reached

trial = connect()
finish(trial, gained=bool(reached(signal.SIGKILL)))
