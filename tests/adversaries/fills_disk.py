"""Writes to every place that takes it until it is full."""

from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish, works

LARGE = 8 * 2**30
PIECE = 2**28  # of one file, whose size is limited, too


def fill(place):
    for number in range(LARGE // PIECE):
        with open(place / f"filling{number}", "wb") as file:
            for _ in range(PIECE // 2**24):
                file.write(b"\0" * 2**24)


places = [Path.cwd(), Path("/tmp"), Path("/dev/shm"), Path.home(), Path("/dev"), Path("/var/tmp")]
finish(connect(), gained=any([works(lambda place=place: fill(place)) for place in places]))
