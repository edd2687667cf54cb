"""Looks for the head of the ledger, which is kept outside the checkout, to replace it."""

import os
from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish

state = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
finish(connect(), gained=any(state.rglob("*.head")))
