"""Stops every process that it can see, so that no clock runs while it goes on."""

import signal

from tests.adversaries import reached


def attempt():
    return reached("to be stopped", signal.SIGSTOP, "T")
