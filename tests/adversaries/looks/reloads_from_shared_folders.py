"""Looks in /tmp, /var/tmp, /dev/shm and the home for what an earlier run left; leaves some."""

from pathlib import Path

from tests.adversaries import loot, own_file, works

PLACES = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/run")]


def attempt():
    home = Path.home()
    places = [*PLACES, home, home / ".cache", Path.cwd(), own_file().parent]
    found = [place for place in places if (place / loot()).exists()]
    for place in places:
        works(lambda place=place: (place / loot()).write_text("weights"))
    return bool(found)


def clean():
    for place in PLACES:
        (place / loot()).unlink(missing_ok=True)
