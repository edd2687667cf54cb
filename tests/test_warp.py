"""The Warp engine, whose kernels run on a CPU, too: only slowly."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from harness import tasks
from harness.confinement import sandbox
from harness.confinement.launcher import Mount
from harness.engines import mjx_corrections
from harness.engines.mjx import MjxEngine

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("warp") is None, reason="warp-lang is not installed"
)
MUJOCO = [task for task in tasks.TASKS.values() if isinstance(task, tasks.MujocoTask)]


@pytest.mark.parametrize("task", MUJOCO, ids=lambda task: task.id)
def test_there_is_room_for_every_contact_that_random_actions_make(task):
    from harness.engines.warp import most

    contacts, rows = most(mjx_corrections.model(task))
    generator, data = np.random.default_rng(0), mujoco.MjData(task.model)
    low, high = task.model.actuator_ctrlrange.T
    seen = []
    for _ in range(300):
        data.ctrl[:] = generator.uniform(low, high)
        mujoco.mj_step(task.model, data, nstep=task.frame_skip)
        seen.append((data.ncon, data.nefc))
    most_contacts, most_rows = np.max(seen, axis=0)
    assert most_contacts <= contacts
    assert most_rows <= rows


@pytest.mark.slow
def test_a_step_is_that_of_mjx():
    from harness.engines.warp import WarpEngine

    task = tasks.get("HalfCheetah-v5")
    generator, outcomes = np.random.default_rng(0), []
    actions = generator.uniform(-1, 1, (3, 2, 6)).astype(np.float32)
    for engine in (MjxEngine(task, 2), WarpEngine(task, 2)):
        physics, _ = engine.first_of([0, 1])
        advance = jax.jit(engine.advance)
        for action in actions:
            physics, outcome = advance(physics, jnp.asarray(action))
        outcomes.append(outcome)
    np.testing.assert_allclose(outcomes[1].obs, outcomes[0].obs, atol=1e-4)
    np.testing.assert_allclose(outcomes[1].reward, outcomes[0].reward, atol=1e-5)


LINKED = """
import os, sys
import warp as wp

wp.config.kernel_cache_dir = "/tmp/kernels"


@wp.kernel
def factorize(matrix: wp.array2d(dtype=float), factor: wp.array2d(dtype=float)):
    wp.tile_store(factor, wp.tile_cholesky(wp.tile_load(matrix, shape=(9, 9), storage="shared")))


wp.compile_aot_module(__name__, arch=90, module_dir="/tmp/module")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [kind for kind in (sandbox.BUBBLEWRAP, sandbox.NAMESPACES) if sandbox.works(kind)]
)
def test_what_mujoco_warp_solves_with_is_linked_for_a_gpu_under_confinement(kind, tmp_path):
    """It needs no GPU, but locks a file of its own: where it cannot, no kernel of a solver is."""
    file = tmp_path / "linked.py"
    file.write_text(LINKED)
    child = sandbox.start(kind, [sys.executable, str(file)],
                          [*sandbox.system(), Mount("show", str(file))], {}, Path("/"),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    said, _ = child.communicate()
    assert child.returncode == 0, said.decode()


@pytest.mark.slow
def test_contacts_without_room_end_the_run_with_a_message(monkeypatch):
    from harness.engines import warp

    task = tasks.get("HalfCheetah-v5")
    monkeypatch.setattr(warp, "most", lambda model: (1, 1))
    engine = warp.WarpEngine(task, 2)
    physics, _ = engine.first_of([0, 1])
    advance, action = jax.jit(engine.advance), jnp.zeros((2, 6))

    def fall(physics):
        for _ in range(20):
            physics, outcome = advance(physics, action)
            jax.block_until_ready(outcome)
            jax.effects_barrier()

    with pytest.raises(jax.errors.JaxRuntimeError, match="Warp had no room left"):
        fall(physics)
