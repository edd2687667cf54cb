"""Looks in /tmp, /var/tmp, /dev/shm and the home for what an earlier run left; leaves some."""

from pathlib import Path

from harness.trial import connect
from tests.adversaries import LOOT, finish, works

places = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/run"), Path.home(),
          Path.home() / ".cache", Path.cwd(), Path(__file__).parent]  # fmt: skip
found = [place for place in places if (place / LOOT).exists()]
for place in places:
    works(lambda place=place: (place / LOOT).write_text("weights"))
finish(connect(), gained=bool(found))
