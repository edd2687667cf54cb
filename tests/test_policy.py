"""The policy artifact: what goes in comes out, and what may not go in is refused by name."""

import dataclasses
import io

import gymnasium
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from harness.contract import policy
from harness.contract.artifact import MAX_PROGRAM_BYTES, Artifact
from harness.errors import PolicyError

OBS = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
ACTION = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
PARAMS = {"w": np.arange(6, dtype=np.float32).reshape(3, 2) / 10, "b": np.float32(0.5)}


def linear(params, obs):
    return jnp.tanh(obs @ params["w"] + params["b"])


def artifact_of(act, params=None, carry=None):
    params = PARAMS if params is None else params
    return Artifact(policy.export(act, params, carry, OBS), policy.pack(params, carry))


def load(artifact, action_space=ACTION):
    return policy.load(artifact, OBS, action_space)


def test_a_policy_acts_as_the_function_it_was_exported_from(tmp_path):
    artifact_of(linear).save(tmp_path)
    actor = load(Artifact.load(tmp_path))
    obs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    action, _ = actor.act(actor.begin(5), obs)
    np.testing.assert_allclose(action, jax.jit(linear)(PARAMS, obs), rtol=1e-6)


def test_an_artifact_is_readable_with_jax_export_and_numpy_alone():
    artifact = artifact_of(linear)
    exported = jax.export.deserialize(bytearray(artifact.program))
    with np.load(io.BytesIO(artifact.params), allow_pickle=False) as arrays:
        params = tuple(arrays[name] for name in sorted(arrays.files))
    action, _ = exported.call(params, (), jnp.ones(3))
    np.testing.assert_allclose(action, linear(PARAMS, np.ones(3)), rtol=1e-6)
    assert exported.platforms == ("cpu", "cuda", "tpu")


def test_an_artifact_holds_no_path_of_the_machine_that_made_it():
    assert __file__.encode() not in artifact_of(linear).program
    assert b".py" not in artifact_of(linear).program


def test_a_recurrent_policy_keeps_its_carry():
    def count(params, carry, obs):
        carry = carry + 1
        return carry[:, None] * jnp.ones((obs.shape[0], 2)) * params, carry

    actor = load(artifact_of(count, np.float32(0.1), np.float32(3)))
    carry = actor.begin(2)
    for expected in (0.4, 0.5, 0.6):
        action, carry = actor.act(carry, np.zeros((2, 3)))
        np.testing.assert_allclose(action, expected, rtol=1e-6)


def test_discrete_policies_give_integers():
    space = gymnasium.spaces.Discrete(4)

    def argmax(params, obs):
        return jnp.argmax(obs * params, axis=-1)

    actor = load(artifact_of(argmax, np.float32(1)), space)
    action, _ = actor.act(actor.begin(2), np.eye(3)[:2])
    assert action.tolist() == [0, 1]
    with pytest.raises(PolicyError, match="integer"):
        load(artifact_of(lambda p, o: o[:, 0] * p, np.float32(1)), space)


def test_the_digest_covers_program_and_parameters():
    one = artifact_of(linear)
    other = Artifact(one.program, policy.pack({**PARAMS, "b": np.float32(0.6)}, None))
    moved = Artifact(one.program + one.params[:1], one.params[1:])
    assert len({one.digest, other.digest, moved.digest}) == 3


def _callback(params, obs):
    shape = jax.ShapeDtypeStruct((obs.shape[0], 2), jnp.float32)
    return io_callback(lambda x: np.zeros((len(x), 2), np.float32), shape, obs) + params


def _by_hand(act, obs=(3,)):
    """Programs that `trial.publish` would not make, exported by hand."""
    specs = (
        (jax.ShapeDtypeStruct((), jnp.float32),),
        (),
        jax.ShapeDtypeStruct(obs, jnp.float32),
    )
    exported = jax.export.export(
        jax.jit(lambda params, carry, obs: (act(params[0], obs), ())),
        platforms=["cpu"],
        disabled_checks=[jax.export.DisabledSafetyCheck.custom_call("lapack_sgeqrf_ffi")],
    )(*specs)
    return Artifact(bytes(exported.serialize()), policy.pack(np.float32(0), None))


def test_a_custom_call_is_refused_by_name():
    def sneaky(params, obs):
        return jnp.linalg.qr(jnp.outer(obs, obs))[0][0, :2] + params

    with pytest.raises(PolicyError, match=r"custom call 'lapack_sgeqrf\w*'"):
        load(_by_hand(sneaky))


def test_a_host_callback_cannot_even_be_exported():
    with pytest.raises(NotImplementedError, match="callback"):
        artifact_of(_callback, np.float32(0))


def test_random_numbers_are_refused_by_name():
    def dice(params, obs):
        key = jax.random.key(0, impl="unsafe_rbg")
        return jax.random.normal(key, (2,)) + params

    with pytest.raises(PolicyError, match="rng_bit_generator"):
        load(_by_hand(dice))


def test_an_absurd_intermediate_is_refused_by_name():
    def huge(params, obs):
        return jnp.broadcast_to(params, (2**14, 2**14)).sum() + jnp.zeros((obs.shape[0], 2))

    with pytest.raises(PolicyError, match=r"tensor of 268,435,456 elements"):
        load(artifact_of(huge, np.float32(0)))


@pytest.mark.parametrize("batch", [4, jax.export.symbolic_shape("batch")[0]])
def test_a_program_for_a_batch_is_refused(batch):
    with pytest.raises(PolicyError, match=r"for a batch of obs|obs has shape \(4, 3\)"):
        load(_by_hand(lambda params, obs: obs[:, :2] + params, (batch, 3)))


def test_a_size_that_explodes_with_the_batch_is_refused_by_name():
    """Ten rows would be a tensor of 10 ** 9 elements."""

    def power(params, obs):
        big = row = obs[:, 0] + params
        for _ in range(8):
            big = big[..., None] * row
        return jnp.zeros((obs.shape[0], 2)) + jnp.sort(big, axis=0).sum()

    with pytest.raises(PolicyError, match="for a batch of observations"):
        load(_by_hand(power, (jax.export.symbolic_shape("batch")[0], 3)))
    action, _ = load(artifact_of(power, np.float32(1))).act((), np.zeros((10, 3)))
    np.testing.assert_array_equal(action, 1)  # of a row by itself it is one number


def test_a_program_for_a_batch_that_says_it_is_for_one_observation_is_refused():
    lies = jax.export.deserialize(bytearray(_by_hand(lambda p, obs: obs[:2] + p).program))
    batch = _by_hand(lambda p, obs: obs[:, :2] + p, (jax.export.symbolic_shape("batch")[0], 3))
    truth = jax.export.deserialize(bytearray(batch.program)).mlir_module_serialized
    forged = dataclasses.replace(lies, mlir_module_serialized=truth).serialize()
    with pytest.raises(PolicyError, match="get_dimension_size"):
        load(Artifact(bytes(forged), batch.params))


def test_a_row_sees_nothing_of_the_others():
    """As exported, the policy of every row is that of a batch of one."""

    def gossip(params, obs):
        return (obs - obs.mean(0))[:, :2] + params

    obs = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert np.abs(gossip(0, obs)).max() > 4  # together they do see each other
    action, _ = load(artifact_of(gossip, np.float32(0.5))).act((), obs)
    np.testing.assert_array_equal(action, 0.5)


def test_what_a_row_gives_does_not_depend_on_how_many_there_are():
    actor = load(artifact_of(linear))
    obs = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    together, _ = actor.act((), obs)
    for count in (1, 7):
        action, _ = actor.act((), obs[:count])
        np.testing.assert_array_equal(action, together[:count])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p, o: jnp.zeros((o.shape[0], 3)) + p, r"action has shape \(3,\)"),
        (lambda p, o: jnp.zeros(2) + p, r"action that act gives .* has the shape \(2,\)"),
        (lambda p, o: (o[:, :2] * 0).astype(jnp.int32), "float32"),
        (lambda p, o: (o[:, :2], p), r"has the shape \(1, 2\), \(\); one array"),
    ],
)
def test_wrong_outputs_are_refused_by_name(act, message):
    with pytest.raises(PolicyError, match=message):
        load(artifact_of(act, np.float32(0)))


def test_a_policy_for_another_task_is_refused():
    with pytest.raises(PolicyError, match="obs has shape"):
        policy.load(artifact_of(linear), gymnasium.spaces.Box(-1, 1, (7,)), ACTION)


def test_nan_parameters_are_refused_and_named():
    with pytest.raises(PolicyError, match=r"Parameter 0 .* NaN"):
        load(artifact_of(linear, {**PARAMS, "b": np.float32(np.nan)}))


def test_parameters_that_do_not_fit_the_program_are_refused():
    good = artifact_of(linear)
    with pytest.raises(PolicyError, match="1 parameters"):
        load(Artifact(good.program, policy.pack([np.zeros(3, np.float32)], None)))
    with pytest.raises(PolicyError, match="params has shape"):
        load(Artifact(good.program, policy.pack([np.zeros(3, np.float32)] * 2, None)))


def test_more_than_a_thousand_parameters_stay_in_their_order():
    def act(params, obs):
        return jnp.zeros((obs.shape[0], 2)) + jnp.stack(params)[jnp.asarray([101, 1000])]

    actor = load(artifact_of(act, [np.float32(i) for i in range(1002)]))
    action, _ = actor.act((), np.zeros((1, 3)))
    np.testing.assert_array_equal(action, [[101, 1000]])


def test_sizes_are_checked_before_anything_is_read():
    good = artifact_of(linear)
    with pytest.raises(PolicyError, match="bytes"):
        load(Artifact(bytes(MAX_PROGRAM_BYTES + 1), good.params))
    bomb = io.BytesIO()
    np.savez_compressed(bomb, param_000=np.zeros(2**25, np.float32))
    assert len(bomb.getvalue()) < 2**20
    with pytest.raises(PolicyError, match=r"134,217,.* bytes"):
        load(Artifact(good.program, bomb.getvalue()))


def test_pickles_and_noise_are_refused():
    good = artifact_of(linear)
    pickled = io.BytesIO()
    np.savez(pickled, param_000=np.array([object()], dtype=object))
    for params in (pickled.getvalue(), b"noise", b""):
        with pytest.raises(PolicyError, match="cannot be read"):
            load(Artifact(good.program, params))
    for program in (b"noise", b"", good.program[: len(good.program) // 2]):
        with pytest.raises(PolicyError, match="cannot be read"):
            load(Artifact(program, good.params))


def test_parameters_that_numpy_cannot_store_are_refused_with_the_way_out():
    with pytest.raises(PolicyError, match=r"bfloat16 cannot be stored.*float32"):
        policy.pack({"w": jnp.ones(3, jnp.bfloat16)}, None)


def test_what_is_carried_is_bounded():
    def remember(params, carry, obs):
        return obs[:, :2] * params, carry

    most = policy.MAX_CARRY_BYTES // 4
    load(artifact_of(remember, np.float32(1), np.zeros(most, np.float32)))
    with pytest.raises(PolicyError, match="carries 65,540 bytes from step to step; 65,536 are"):
        load(artifact_of(remember, np.float32(1), np.zeros(most + 1, np.float32)))
