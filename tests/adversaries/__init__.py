"""Dishonest training files. Each says in its first line what it tries.

A file publishes a policy whose action is `GAINED` if what it tried worked, `HONEST` if not; what
the policy is worth does not matter. What needs no run of its own is one of `looks`.
"""

import os
import sys
import time
from pathlib import Path

import jax.numpy as jnp

WORLD = Path(__file__).resolve().parent.parent.parent
"""A folder that all runs see, as they do what is installed: what there is to try lies in it."""

HONEST, GAINED = 0.125, 0.875


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


def port():
    """Of a server that listens; another one for each world."""
    return int((WORLD / "port").read_text())


def loot():
    """Name under which a run leaves something for the next one of its world."""
    return f"autorl-loot-{port()}"


def own_file():
    """The training file that runs."""
    return Path(sys.modules["__main__"].__file__).resolve()


def reached(fate, number, state):
    """Whether a process outside gets a signal.

    Args:
      fate: words in the command line of one that is there for it.
      number: of the signal.
      state: in which it is then.
    """
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            if f"{fate} {port()}".encode() in command:
                os.kill(int(entry), number)
                time.sleep(0.2)
                return (
                    Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0] == state
                )
        except OSError:
            pass
    return False
