"""The fixed part of autoRL-JAX: it gives a training file time, takes a policy, and scores it."""

from harness.system import origin

origin.settle()
