"""Publishes, and leaves behind a process that has left the session and ignores SIGTERM."""

import subprocess
import sys

import jax.numpy as jnp

from harness.trial import connect

trial = connect()
shape = trial.task.action_space.shape
trial.publish(lambda params, obs: jnp.broadcast_to(params, (obs.shape[0], *shape)),
              jnp.zeros(shape))  # fmt: skip
trial.start()
daemon = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
"""
subprocess.run([sys.executable, "-c", daemon], check=True)
