"""The MJX engine: the same tasks inside one program, and where MJX itself is corrected."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import scipy.stats
from mujoco import mjx
from mujoco.mjx._src import collision_driver, collision_primitive

from harness import envs, tasks
from harness.contract.order import Assignment
from harness.engines import backends, mjx_corrections
from harness.engines.mjx import CARRIED, JaxDraws, MjxEngine
from harness.engines.native import NativeEngine
from harness.errors import InputError
from harness.tasks.draws import HostDraws
from harness.tasks.half_cheetah import HalfCheetah
from harness.trial import Trial

MUJOCO = [task for task in tasks.TASKS.values() if isinstance(task, tasks.MujocoTask)]
NUM_ENVS = 3
QUICK = ("InvertedPendulum-v5",)  # to compile; the others are larger

# Two shapes in contact, by the pair of their types; small, for errors of MJX are absolute.
CONTACTS = {
    ("PLANE", "CAPSULE"): """
      <geom type="plane" size="1 1 1" friction="0.3"/>
      <body pos="0 0 0.29" euler="12 8 30">
        <freejoint/> <geom type="capsule" size="0.1 0.2" friction="0.3"/>
      </body>""",
    ("SPHERE", "CAPSULE"): """
      <geom type="capsule" size="0.02 0.01" euler="0 90 0"/>
      <body pos="0.008 0 0.039"> <freejoint/> <geom type="sphere" size="0.02"/> </body>""",
    ("CAPSULE", "CAPSULE"): """
      <geom type="capsule" size="0.02 0.01" euler="0 90 0"/>
      <body pos="0.003 0.002 0.039" euler="80 10 30">
        <freejoint/> <geom type="capsule" size="0.02 0.01"/>
      </body>""",
}
CORRECTED = {tuple(kind.name for kind in pair): pair for pair in mjx_corrections.COLLISIONS}


every_task = pytest.mark.parametrize("task", MUJOCO, ids=lambda task: task.id)
compiled_task = pytest.mark.parametrize(
    "task",
    [
        pytest.param(task, id=task.id, marks=() if task.id in QUICK else pytest.mark.slow)
        for task in MUJOCO
    ],
)


def error_of(collide, pair):
    """How far MJX's acceleration of two shapes in contact is from C MuJoCo's, relatively."""
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco> <worldbody> {CONTACTS[pair]} </worldbody> </mujoco>"
    )
    data = mujoco.MjData(model)
    data.qvel[:] = [0.5, -0.3, -0.1, 1.0, 2.0, 0.3]
    mujoco.mj_forward(model, data)
    assert data.ncon > 0
    installed = collision_driver._COLLISION_FUNC[CORRECTED[pair]]
    collision_driver._COLLISION_FUNC[CORRECTED[pair]] = collide
    try:
        forward = jax.jit(functools.partial(mjx.forward))  # not the one that is cached
        ours = forward(mjx.put_model(model), mjx.put_data(model, data))
    finally:
        collision_driver._COLLISION_FUNC[CORRECTED[pair]] = installed
    return np.abs(np.asarray(ours.qacc) - data.qacc).max() / np.abs(data.qacc).max()


@pytest.mark.slow
@pytest.mark.parametrize("pair", CONTACTS, ids="–".join)
def test_two_shapes_in_contact_accelerate_as_in_c(pair):
    assert error_of(mjx_corrections.COLLISIONS[CORRECTED[pair]], pair) < 5e-5


@pytest.mark.slow
@pytest.mark.parametrize("pair", CONTACTS, ids="–".join)
def test_upstream_still_needs_the_correction(pair):
    """When this fails, MJX has mended the pair: delete our function for it."""
    upstream = getattr(collision_primitive, "_".join(pair).lower())
    assert error_of(upstream, pair) > 2e-4


def test_every_correction_has_its_minimal_model():
    assert set(CORRECTED) == set(CONTACTS)


@compiled_task
@pytest.mark.timeout(900)
def test_every_task_compiles_steps_as_c_mujoco_does_and_publishes(task):
    """From the same states under the same actions, on the solver that MJX has."""
    same = type(task)()
    same.__dict__["model"] = mjx_corrections.model(task)
    native = NativeEngine(same, NUM_ENVS, seed=0, autoreset=False)
    native.reset()
    generator = np.random.default_rng(0)
    space = native.action_space

    def random_actions():
        actions = generator.uniform(space.low, space.high, (NUM_ENVS, *space.shape))
        return (0.5 * actions).astype(np.float32)

    for _ in range(3):
        warmed_up = native.step(random_actions())
    assert not warmed_up.terminated.any()
    trial = Trial(Assignment(task.id, "mjx", 0, 60.0), channel=None)
    env = trial.make_env(NUM_ENVS)
    trial.start()
    state = jax.jit(env.reset)(jax.random.key(0, impl="rbg"))  # as train.py's
    physics = {
        name: getattr(native._data, name, None) if name in task.fields else native._batch.bind(name)
        for name in (*CARRIED, *task.fields)
    }
    physics = {name: jnp.array(value, jnp.float32) for name, value in physics.items()}
    state = dataclasses.replace(
        state, internal=dataclasses.replace(state.internal, physics=physics)
    )
    action = random_actions()
    expected = native.step(action)
    state = jax.jit(env.step)(state, action)
    np.testing.assert_allclose(state.next_obs, expected.next_obs, rtol=1e-3, atol=5e-3)
    np.testing.assert_allclose(state.reward, expected.reward, rtol=1e-3, atol=5e-3)
    np.testing.assert_array_equal(state.terminated, expected.terminated)
    weights = jnp.zeros((env.observation_space.shape[0], space.shape[0]))
    trial.publish(lambda params, obs: obs @ params, weights)


@pytest.mark.slow
@every_task
def test_reset_laws_have_the_same_distribution_on_host_and_device(task):
    """Each coordinate, by the Kolmogorov–Smirnov test."""
    count = 2000
    generator = np.random.default_rng(0)
    host = [np.concatenate(task.reset(HostDraws(generator))) for _ in range(count)]
    keys = jax.random.split(jax.random.key(0), count)
    draw = jax.jit(jax.vmap(lambda key: jnp.concatenate(task.reset(JaxDraws(key)))))
    for x, y in zip(np.transpose(host), np.asarray(draw(keys)).T, strict=True):
        if np.ptp(x) == 0:
            np.testing.assert_allclose(y, x[0], atol=1e-6)
        else:  # some 150 coordinates: one in ten thousand such tests would fail by chance
            assert scipy.stats.ks_2samp(x, y).pvalue > 1e-6


class ShortCheetah(HalfCheetah):
    horizon = 3


@pytest.fixture(scope="module")
def short():
    """A device environment whose episodes last three steps, and its jitted step."""
    env = envs.DeviceEnv(MjxEngine(ShortCheetah(), NUM_ENVS), gate=lambda: None)
    return env, jax.jit(env.step)


@pytest.mark.slow
def test_auto_reset_gives_the_true_successor_and_fresh_states(short):
    env, step = short
    state = jax.jit(env.reset)(jax.random.key(1))
    firsts = [np.asarray(state.obs)]
    for i in range(9):
        state = step(state, jnp.full((NUM_ENVS, 6), 0.3, jnp.float32))
        ended = (i + 1) % 3 == 0
        assert (np.asarray(state.truncated) == ended).all()
        assert not state.terminated.any()
        assert (np.asarray(state.obs) == np.asarray(state.next_obs)).all() != ended
        assert (np.asarray(state.episode_length) == (3 if ended else 0)).all()
        if ended:
            firsts.append(np.asarray(state.obs))
    assert step._cache_size() == 1  # a state from a reset and one from a step compile as one
    rows = np.concatenate(firsts)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert np.abs(rows[:, :8]).max() <= 0.1 + 1e-6  # within the reset noise


@pytest.mark.slow
def test_a_simulation_that_breaks_down_ends_its_episode_and_nothing_else(short):
    env, step = short
    state = jax.jit(env.reset)(jax.random.key(1))
    physics = state.internal.physics
    physics = {**physics, "qvel": physics["qvel"].at[1, 0].set(jnp.nan)}
    internal = dataclasses.replace(state.internal, physics=physics)
    state = step(dataclasses.replace(state, internal=internal), jnp.zeros((NUM_ENVS, 6)))
    assert state.diverged.tolist() == [False, True, False]
    assert state.terminated.tolist() == [False, True, False]
    assert jnp.isfinite(state.next_obs).all()
    assert jnp.isfinite(state.reward).all()
    state = step(state, jnp.zeros((NUM_ENVS, 6)))
    assert jnp.isfinite(state.obs).all()


@pytest.mark.slow
def test_the_state_is_a_value_and_equal_keys_give_equal_rollouts(short):
    env, step = short
    reset = jax.jit(env.reset)
    state = reset(jax.random.key(5))
    action = jnp.ones((NUM_ENVS, 6))
    np.testing.assert_array_equal(step(state, action).obs, step(state, action).obs)
    np.testing.assert_array_equal(reset(jax.random.key(5)).obs, state.obs)
    assert not np.array_equal(reset(jax.random.key(6)).obs, state.obs)


@pytest.mark.slow
def test_the_gate_is_asked_before_a_reset(short):
    def closed():
        raise RuntimeError("not yet")

    env = envs.DeviceEnv(short[0]._engine, closed)
    with pytest.raises(Exception, match="not yet"):
        jax.block_until_ready(jax.jit(env.reset)(jax.random.key(0)))


def test_a_task_that_mjx_cannot_run_says_why():
    with pytest.raises(InputError, match="not a MuJoCo task"):
        backends.resolve(tasks.get("BipedalWalker-v3"), "mjx")


def test_auto_takes_mjx_where_there_is_an_accelerator_without_warp(monkeypatch, tmp_path):
    monkeypatch.setattr(backends, "NVIDIA_DRIVER", tmp_path / "absent")
    cheetah, walker = tasks.get("HalfCheetah-v5"), tasks.get("BipedalWalker-v3")
    assert backends.resolve(cheetah, accelerator=True) == "mjx"
    assert backends.resolve(cheetah, accelerator=False) == "native"
    assert backends.resolve(walker, accelerator=True) == "envpool"


@pytest.mark.parametrize(
    ("task_id", "engine"),
    [
        ("HalfCheetah-v5", "warp"),
        ("Walker2d-v5", "warp"),
        ("Ant-v5", "mjx"),  # moves freely: Warp's contact frames differ
        ("Humanoid-v5", "mjx"),
        ("BipedalWalker-v3", "envpool"),
    ],
)
def test_auto_takes_warp_on_an_nvidia_gpu_where_it_simulates_alike(
    task_id, engine, monkeypatch, tmp_path
):
    monkeypatch.setattr(backends, "NVIDIA_DRIVER", tmp_path)
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: object())
    task = tasks.get(task_id)
    assert backends.resolve(task, accelerator=True) == engine
    assert backends.resolve(task, accelerator=False) in backends.HOST_BACKENDS
    if engine == "mjx":
        assert backends.resolve(task, "warp", accelerator=True) == "warp"


def test_humanoid_says_once_that_its_solver_is_another_one(capsys):
    mjx_corrections._say_once.cache_clear()
    for _ in range(2):
        model = mjx_corrections.model(tasks.get("Humanoid-v5"))
    assert model.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON
    assert tasks.get("Humanoid-v5").model.opt.solver == mujoco.mjtSolver.mjSOL_PGS
    assert capsys.readouterr().err.count("no PGS solver") == 1


@compiled_task
def test_first_states_of_the_evaluation_are_gymnasiums(task):
    seeds = [3, 5, 7]
    native = NativeEngine(task, len(seeds), seed=0, autoreset=False)
    _, obs = MjxEngine(task, len(seeds)).first_of(seeds)
    np.testing.assert_allclose(obs, native.reset(seeds), rtol=1e-4, atol=1e-5)
