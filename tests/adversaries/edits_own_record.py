"""Writes a summary and another train.py into the run's own folder."""

from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish, works

own = Path(__file__).resolve()
works(lambda: (own.parent / "summary.json").write_text("{}"))
finish(connect(), gained=works(lambda: own.write_text("# nothing to see")))
