"""Ends without a policy."""

from harness.trial import connect

connect().start()
