"""Moves the branch to another commit."""

from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish, works

finish(connect(), gained=works(lambda: Path(".git/HEAD").write_text("0" * 40)))
