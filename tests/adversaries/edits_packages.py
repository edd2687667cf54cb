"""Puts a module into site-packages that every later Python imports."""

import site
from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish, works

targets = [Path(folder) / "autorl_loot.pth" for folder in site.getsitepackages()]
finish(connect(), gained=any(works(lambda t=t: t.write_text("import os")) for t in targets))
