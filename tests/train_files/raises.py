"""Fails with an ordinary bug."""

from harness.trial import connect

trial = connect()
raise ZeroDivisionError("an ordinary bug")
