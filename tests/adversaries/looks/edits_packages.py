"""Puts a module into site-packages that every later Python imports, and takes it away."""

import os
import site
from pathlib import Path

from tests.adversaries import works

FOLDERS = [Path(folder) for folder in site.getsitepackages()]


def attempt():
    return any([works(lambda f=f: leave(f / "autorl_loot.pth")) for f in FOLDERS])


def leave(path):
    path.touch()
    path.unlink()


def missing():
    return "" if any(os.access(f, os.W_OK) for f in FOLDERS) else "the packages are another user's"
