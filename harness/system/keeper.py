"""Runs a command, and ends all that it has started when it ends or when we are told to.

    python -m harness.system.keeper PARENT PROGRAM ARGUMENT ...

An agent may leave processes behind. Its keeper adopts them, so that they are ended without a look
at any other process of the loop. When PARENT (a process number) is gone, so is all of it.
"""

import os
import signal
import subprocess
import sys

from harness.system import origin, processes

OURS = ("PYTHONPATH", "PYTHONSAFEPATH", origin.FOLDER_VARIABLE)
"""Variables that say where the loop's copy of the harness is: nothing that an agent needs. Of
`PYTHONPATH` it gets what is the user's."""


def main() -> int:
    """Run the command of the command line; its exit code."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    processes.adopt_orphans()
    processes.heed(_end)
    signal.signal(signal.SIGTERM, _end)  # it is how the loop ends us
    processes.end_with(parent)
    variables = {name: value for name, value in os.environ.items() if name not in OURS}
    variables |= origin.variables()
    try:
        return subprocess.run(command, check=False, env=variables).returncode
    finally:
        with processes.uninterrupted():
            processes.end_all()


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
