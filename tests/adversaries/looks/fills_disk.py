"""Takes more room than a run has, in every place that gives some, until it is full."""

import os
from pathlib import Path

from tests.adversaries import works

LARGE = 2 * 2**30  # bytes, twice what is a run's
PIECE = 2**28  # of one file, whose size is limited, too
PLACES = ["", "/tmp", "/dev/shm", "~", "/dev", "/var/tmp"]


def attempt():
    places = [Path(place).expanduser().absolute() for place in PLACES]
    return any(works(lambda place=place: fill(place)) for place in places)


def fill(place):
    paths = [place / f"filling{number}" for number in range(LARGE // PIECE)]
    for path in paths:
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, PIECE)
    for path in paths:  # it had the room: enough is shown
        path.unlink()
