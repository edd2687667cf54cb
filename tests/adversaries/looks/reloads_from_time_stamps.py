"""Looks for a message in the times of devices and of files that all runs see; leaves it."""

import os

from tests.adversaries import WORLD, port, works


def attempt():
    message = 777_000_000 + port()  # another one for each world
    places = ["/dev/null", "/dev/zero", "/dev/urandom", str(WORLD / "port"), "/tmp", "/"]
    found = [place for place in places if os.stat(place).st_mtime_ns == message]
    for place in places[:4]:
        works(lambda place=place: os.utime(place, ns=(message, message)))
    return bool(found)
