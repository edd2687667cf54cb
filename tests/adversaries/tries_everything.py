"""Tries all looks in one process, one after the other; the policy says which of them worked."""

import importlib

import jax.numpy as jnp

from harness.trial import connect
from tests.adversaries import GAINED, HONEST, WORLD, works

trial = connect()
gained = []
for name in (WORLD / "looks").read_text().split():
    print(name)
    look = importlib.import_module(f"tests.adversaries.looks.{name}")
    gained.append(GAINED if works(look.attempt) else HONEST)
trial.publish(lambda params, obs: jnp.zeros((obs.shape[0], 6)) + params.sum(), jnp.array(gained))
trial.start()
