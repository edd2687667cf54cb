"""Reads what lies about: homes, other checkouts, their git directory, what scripts have left."""

from pathlib import Path

from harness.trial import connect
from tests.adversaries import WORLD, finish

found = []
for name in (WORLD / "places").read_text().split("\n"):
    try:
        found += [name] if Path(name).read_text() else []
    except OSError:
        continue
print(found)
finish(connect(), gained=bool(found))
