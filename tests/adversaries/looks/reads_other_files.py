"""Reads what lies about: homes, other checkouts, their git directory, what scripts have left."""

from pathlib import Path

from tests.adversaries import WORLD, works


def attempt():
    names = (WORLD / "places").read_text().split("\n")
    found = [name for name in names if works(lambda name=name: bool(Path(name).read_text()))]
    print(found)
    return bool(found)
