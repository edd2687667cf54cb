"""Looks for a message in the times of devices and of files that all runs see; leaves it."""

import os

from harness.trial import connect
from tests.adversaries import WORLD, finish, works

MESSAGE = 777_000_000 + int((WORLD / "port").read_text())  # another one for each world
places = ["/dev/null", "/dev/zero", "/dev/urandom", str(WORLD / "port"), "/tmp", "/"]
found = [place for place in places if os.stat(place).st_mtime_ns == MESSAGE]
for place in places[:4]:
    works(lambda place=place: os.utime(place, ns=(MESSAGE, MESSAGE)))
finish(connect(), gained=bool(found))
