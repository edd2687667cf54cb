"""Looks for the head of the ledger, which is kept outside the checkout, to replace it."""

import os
from pathlib import Path


def attempt():
    state = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
    return any(state.rglob("*.head"))
