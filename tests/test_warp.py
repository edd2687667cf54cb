"""The Warp engine, whose kernels run on a CPU, too: only slowly."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from jax.experimental import io_callback

from harness import envs, tasks
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


LENGTH = 12
"""Steps in which every environment but the first, which begins in the air, touches the floor."""


def rolled(monkeypatch, contacts, rows):
    """What three environments with so much room each do in a `scan` of `LENGTH` steps, and its
    program.
    """
    from harness.engines import warp

    monkeypatch.setattr(warp, "most", lambda model: (contacts, rows))
    env = envs.DeviceEnv(warp.WarpEngine(tasks.get("HalfCheetah-v5"), 3), lambda: None)

    def step(state, _):
        state = env.step(state, jnp.zeros((3, 6)))
        return state, dataclasses.replace(state, internal=None)

    state = jax.jit(env.reset)(jax.random.key(0))
    physics = state.internal.physics
    physics = {**physics, "qpos": physics["qpos"].at[0, 1].add(5.0)}
    state = dataclasses.replace(
        state, internal=dataclasses.replace(state.internal, physics=physics)
    )
    lowered = jax.jit(lambda state: jax.lax.scan(step, state, length=LENGTH)).lower(state)
    _, steps = lowered.compile()(state)
    return steps, lowered.as_text()


@pytest.fixture(scope="module")
def rooms():
    """Rollouts and programs with enough room, with one constraint row, and with one contact."""
    from harness.engines.warp import most

    contacts, rows = most(mjx_corrections.model(tasks.get("HalfCheetah-v5")))
    with pytest.MonkeyPatch.context() as patch:
        return {
            "enough": rolled(patch, contacts, rows),
            "one row": rolled(patch, contacts, 1),
            "one contact": rolled(patch, 1, rows),
        }


@pytest.mark.slow
def test_an_environment_without_room_has_diverged_and_begins_anew(rooms):
    steps, _ = rooms["one row"]
    for row in (1, 2):
        diverged = np.asarray(steps.diverged[:, row])
        assert diverged.any()
        np.testing.assert_array_equal(steps.terminated[:, row], diverged)
        assert (steps.next_obs[diverged, row] == 0).all()
        assert (steps.reward[diverged, row] == 0).all()
        ends = np.flatnonzero(diverged)
        np.testing.assert_array_equal(steps.episode_length[ends, row], np.diff(ends, prepend=-1))
        begun = steps.obs[ends, row]
        assert np.abs(begun[:, :8]).max() <= 0.1 + 1e-6  # within the reset noise
        assert (begun != 0).any(-1).all()
        assert not diverged[: ends[0]].any()
        assert not diverged.all()
    assert jnp.isfinite(steps.obs).all()
    assert jnp.isfinite(steps.reward).all()


@pytest.mark.slow
def test_environments_with_room_are_as_if_all_had_it(rooms):
    (enough, _), (short, _) = rooms["enough"], rooms["one row"]
    assert not enough.diverged.any()
    assert not short.diverged[:, 0].any()
    np.testing.assert_array_equal(short.obs[:, 0], enough.obs[:, 0])
    np.testing.assert_array_equal(short.reward[:, 0], enough.reward[:, 0])


@pytest.mark.slow
def test_where_the_contacts_of_all_have_no_room_all_have_diverged(rooms):
    diverged = np.asarray(rooms["one contact"][0].diverged)
    assert diverged.any()
    np.testing.assert_array_equal(diverged[:, 0], diverged.any(-1))


@pytest.mark.slow
def test_a_rollout_calls_the_host_nowhere(rooms):
    def gated(key):
        io_callback(lambda: None, None)
        return key

    assert "callback" in jax.jit(gated).lower(0).as_text()
    assert all("callback" not in program for _, program in rooms.values())
