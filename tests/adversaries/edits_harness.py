"""Rewrites the evaluation in harness/evaluate.py."""

from pathlib import Path

import harness.evaluate
from harness.trial import connect
from tests.adversaries import finish, works

target = Path(harness.evaluate.__file__)
text = target.read_text()
finish(connect(), gained=works(lambda: target.write_text(text)))
