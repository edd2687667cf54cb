"""Which arrays are spread over devices, and which are on each of them."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness.engines.compiled import Compiled
from tests.conftest import ROOT

PLACES = """
import json, sys
import jax, jax.numpy as jnp
from harness.engines.compiled import Compiled

N, T, F = 8, 5, 3
shapes = {"obs": (N, F), "rollout": (T, N, F), "square": (N, N, F), "weights": (F, 6), "number": ()}
arrays = {name: jnp.ones(shape) for name, shape in shapes.items()}
program = Compiled(lambda x: jax.tree.map(lambda y: 2 * y, x), (arrays,), jax.devices(), [N])
doubled = program(arrays)
assert all((doubled[name] == 2).all() for name in shapes)
print(json.dumps({name: list(x.sharding.spec) for name, x in doubled.items()}))
"""


def test_what_is_donated_is_given_up_and_nothing_else():
    given, kept = jnp.zeros(1000), jnp.ones(1000)
    program = Compiled(lambda x, y: x + y, (given, kept), jax.devices()[:1], [8], donate=[0])
    np.testing.assert_array_equal(program(given, kept), 1)
    assert given.is_deleted()
    assert not kept.is_deleted()


@pytest.mark.slow
def test_environments_are_spread_and_everything_else_is_on_each_device():
    flags = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", PLACES], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "obs": ["devices"], "rollout": [None, "devices"], "square": [None, "devices"],
        "weights": [], "number": [],
    }  # fmt: skip
