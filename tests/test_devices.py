"""One training file on any devices: the same numbers, without a change to the file."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from harness import envs
from harness.engines import processors
from harness.errors import InputError
from tests.conftest import ROOT

UPDATES = """
import json, sys
import jax
jax.config.update("jax_cpu_enable_async_dispatch", False)
sys.path.insert(0, "agent_space")
import train
from harness import envs, tasks
from harness.engines.compiled import Compiled
from harness.engines.mjx import MjxEngine

NUM_ENVS = 8
backend, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if backend == "mjx":
    engine = MjxEngine(tasks.get("InvertedPendulum-v5"), NUM_ENVS)
    env = envs.DeviceEnv(engine, gate=lambda: None)
else:
    env = envs.make("InvertedPendulum-v5", NUM_ENVS, seed=0, backend=backend)
env.devices = jax.devices()[first:]
learners = jax.devices()[: last or None]


class Trial:
    def compile(self, function, *args, devices=learners):
        return Compiled(function, args, devices, [NUM_ENVS])


net = train.ActorCritic(env.action_space)
state = train.init(jax.random.key(0), env, net)
begin, iterate = train.compiled(Trial(), state, env, net)
env_state, steps = begin(state, jax.random.key(1))
for i in range(3):
    state, env_state, steps, metrics = iterate(state, env_state, steps, 1 - i / 3)
params = jax.tree.leaves(state.params)
print(json.dumps({
    "simulate": sorted(device.id for device in env_state.obs.devices()),
    "learn": sorted(device.id for device in params[0].devices()),
    "params": [number for x in params for number in x.ravel()[:5].tolist()],
    "obs": env_state.obs.tolist(),
}))
"""


def three_updates(backend, devices, simulate_from=0, learn_until=0):
    """Run three updates of the shipped train.py in a process with so many devices.

    Of these the environment has those from one on, and learning those before one; else all.
    """
    flags = f"--xla_force_host_platform_device_count={devices}"
    answer = subprocess.run(
        [sys.executable, "-c", UPDATES, backend, str(simulate_from), str(learn_until)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


def assert_alike(found, expected):
    np.testing.assert_allclose(found["params"], expected["params"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["obs"], expected["obs"], rtol=1e-2, atol=1e-3)


@pytest.fixture(scope="module")
def native():
    return three_updates("native", 1)


@pytest.mark.slow
def test_four_devices_learn_what_one_learns_on_a_host_engine(native):
    four = three_updates("native", 4)
    assert (native["learn"], four["simulate"], four["learn"]) == ([0], [0, 1, 2, 3], [0, 1, 2, 3])
    assert_alike(four, native)


@pytest.mark.slow
def test_four_devices_learn_what_one_learns_on_mjx():
    one, four = three_updates("mjx", 1), three_updates("mjx", 4)
    assert (one["learn"], four["simulate"], four["learn"]) == ([0], [0, 1, 2, 3], [0, 1, 2, 3])
    assert_alike(four, one)


@pytest.mark.slow
def test_a_device_that_only_learns_learns_the_same(native):
    # The first device is JAX's default, as an accelerator is beside the host's processors.
    apart = three_updates("native", 2, simulate_from=1, learn_until=1)
    assert (apart["simulate"], apart["learn"]) == ([1], [0])
    assert_alike(apart, native)


@pytest.fixture(scope="module")
def env():
    made = envs.make("InvertedPendulum-v5", 2, seed=0, backend="native")
    yield made
    made.close()


def test_a_host_engine_names_the_hosts_devices(env):
    assert env.devices == jax.local_devices(backend="cpu")


def test_a_program_for_an_accelerator_that_steps_a_host_engine_does_not_compile(env):
    state = jax.eval_shape(env.reset, jax.random.key(0))
    action = jax.ShapeDtypeStruct((2, 1), np.float32)
    steps = [(env.step, [state, action]), (env.send, [state, action])]
    for function, arguments in ((env.reset, [jax.random.key(0)]), *steps):
        traced = jax.jit(function).trace(*arguments)
        traced.lower(lowering_platforms=("cpu",))
        with pytest.raises(RuntimeError, match=r"compiled for cuda.*Compile it for env\.devices"):
            traced.lower(lowering_platforms=("cuda",))


def test_a_jax_without_the_hosts_devices_is_told_how_to_get_them(monkeypatch):
    def absent(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", absent)
    with pytest.raises(InputError, match="JAX_PLATFORMS=cpu,cpu"):
        processors.devices()
