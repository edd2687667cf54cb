"""Writes a summary and another train.py into the run's own folder."""

from tests.adversaries import own_file, works


def attempt():
    own = own_file()
    ways = [
        lambda: (own.parent / "summary.json").write_text("{}"),
        lambda: own.write_text("# nothing to see"),
    ]
    return any([works(way) for way in ways])
