"""Writes to every place that takes it until it is full."""

from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish, works

LARGE = 8 * 2**30


def fill(place):
    written = 0
    with open(place / "filling", "wb") as file:
        while written < LARGE:
            written += file.write(b"\0" * 2**24)
            file.flush()
    return written >= LARGE


places = [Path.cwd(), Path("/tmp"), Path("/dev/shm"), Path.home(), Path("/dev"), Path("/var/tmp")]
finish(connect(), gained=any([works(lambda place=place: fill(place)) for place in places]))
