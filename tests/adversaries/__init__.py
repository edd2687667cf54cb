"""Dishonest training files. Each says in its first line what it tries.

A file publishes a policy whose action is `GAINED` if what it tried worked, `HONEST` if not; what
the policy is worth does not matter.
"""

import os
import time
from pathlib import Path

import jax.numpy as jnp

WORLD = Path(__file__).resolve().parent.parent.parent
"""A folder that all runs see, as they do what is installed: what there is to try lies in it."""

HONEST, GAINED = 0.125, 0.875
LOOT = "autorl-loot"
"""Name under which a file leaves something for the next run."""


def act(params, obs):
    """The same action in every state."""
    return jnp.zeros((obs.shape[0], params.shape[0])) + params


def publish(trial, gained):
    """Hand over a policy that says whether the attempt worked."""
    size = trial.task.action_space.shape[0]
    trial.publish(act, jnp.full(size, GAINED if gained else HONEST))


def finish(trial, gained):
    """Publish, and wait for the end of the budget as an honest file would."""
    publish(trial, gained)  # before the clock: an export may take longer than a test's budget
    trial.start()
    trial.log(1)
    while trial.time_left() > 0:
        time.sleep(0.05)


def works(attempt):
    """Whether an attempt raises nothing and returns nothing false."""
    try:
        return attempt() is not False
    except Exception as error:
        print(f"refused: {error!r}")
        return False


def reached(number):
    """Send a signal to every process of the harness that is in sight; their numbers."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        if int(entry) in (1, os.getpid()):  # 1 is this file's own
            continue
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            if b"harness.run" in command or b"pytest" in command:
                os.kill(int(entry), number)
                found.append(entry)
        except OSError:
            pass
    return found
