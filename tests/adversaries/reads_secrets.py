"""Reads the keys and tokens in the user's environment."""

import os

from harness.trial import connect
from tests.adversaries import finish

finish(connect(), gained="AUTORL_TEST_TOKEN" in os.environ)
