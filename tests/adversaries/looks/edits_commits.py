"""Moves the branch to another commit."""

from pathlib import Path


def attempt():
    Path(".git/HEAD").write_text("0" * 40)
