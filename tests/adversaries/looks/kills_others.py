"""Kills every process of a user's night that it can see."""

import signal

from tests.adversaries import reached


def attempt():
    return reached("to be killed", signal.SIGKILL, "Z")
