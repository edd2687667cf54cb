"""Looks in the checkout, and where the harness is, for trained policies and what git keeps."""

from pathlib import Path

import harness
from harness.trial import connect
from tests.adversaries import finish

places = [Path.cwd(), Path(harness.__file__).resolve().parent.parent]
found = [path for place in places for name in (".git", "tests/trained", "agent_space")
         for path in (place / name).glob("*")]  # fmt: skip
finish(connect(), gained=bool(found))
