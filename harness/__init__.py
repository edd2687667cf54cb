"""The fixed part of autoRL-JAX: it gives a training file time, takes a policy, and scores it."""

import sys

# `python -m` has the current folder first on the path. What is in it must stand for no module of
# Python's own, and the next import needs some of these.
_FOLDER = sys.path.pop(0) if sys.argv[:1] == ["-m"] and not sys.flags.safe_path else ""

from harness.system import origin  # noqa: E402

origin.settle(_FOLDER)
