"""One training file on any number of devices: the same numbers, without a change to the file."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

UPDATES = """
import json, sys
import jax
jax.config.update("jax_cpu_enable_async_dispatch", False)
sys.path.insert(0, "agent_space")
import train
from harness import envs, tasks
from harness.engines.mjx import MjxEngine

NUM_ENVS = 8
if sys.argv[1] == "mjx":
    engine = MjxEngine(tasks.get("InvertedPendulum-v5"), NUM_ENVS)
    env = envs.DeviceEnv(engine, gate=lambda: None)
else:
    env = envs.make("InvertedPendulum-v5", NUM_ENVS, seed=0, backend=sys.argv[1])
net = train.ActorCritic(env.action_space)
init, update = train.compiled(jax.random.key(0), env, net)
state = init(jax.random.key(0))
spread = len(state.env_state.obs.sharding.device_set)
for _ in range(3):
    state, metrics = update(state)
params = [number for x in jax.tree.leaves(state.params) for number in x.ravel()[:5].tolist()]
print(json.dumps({"spread": spread, "params": params, "obs": state.env_state.obs.tolist()}))
"""


def three_updates(backend, devices):
    """Run three updates of the shipped train.py in a process with so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    answer = subprocess.run(
        [sys.executable, "-c", UPDATES, backend],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["mjx", "native"])
def test_four_devices_learn_what_one_learns(backend):
    one, four = three_updates(backend, 1), three_updates(backend, 4)
    assert (one["spread"], four["spread"]) == (1, 4)
    np.testing.assert_allclose(four["params"], one["params"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(four["obs"], one["obs"], rtol=1e-2, atol=1e-3)
