"""The work of a policy's action: counted where it can be, else refused."""

import gymnasium
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.interpreters import mlir
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from harness.contract import policy, program
from harness.contract.program import MAX_WORK, OPERATION_WORK
from harness.errors import PolicyError


def exported(function, *shapes, platforms=("cpu",)):
    """The module of a function of float32 arrays."""
    specs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.export.export(jax.jit(function), platforms=platforms)(*specs).mlir_module_serialized


def work(monkeypatch, function, *shapes, platforms=("cpu",)):
    """Floating-point operations of a function, the starts of operations left out."""
    monkeypatch.setattr(program, "OPERATION_WORK", 0)
    monkeypatch.setattr(program, "MAX_WORK", -1)
    with pytest.raises(PolicyError, match="floating-point operations") as told:
        program.check(exported(function, *shapes, platforms=platforms))
    return int(str(told.value).split("takes ")[1].split()[0].replace(",", ""))


def body(_, x):
    return jnp.tanh(x @ x)


ROUND = 2 * 8**3 + 8**2  # of `body` on 8 x 8: the product, and the tanh


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (lambda x: x + 1, [(7,)], 2 * 7),  # a broadcast and a sum
        (lambda x, y: x @ y, [(5, 7), (7, 3)], 2 * 5 * 7 * 3),
        (lambda x, y: jnp.einsum("bij,bjk->bik", x, y), [(4, 5, 7), (4, 7, 3)], 4 * 2 * 5 * 7 * 3),
        (lambda x: x.sum(), [(100,)], 2 * 101),
        (lambda x: body(0, x), [(8, 8)], ROUND),
        (lambda x: lax.cond(x[0, 0] > 0, lambda x: body(0, x), lambda x: x, x), [(8, 8)], ROUND),
    ],
)
def test_arithmetic_is_counted(monkeypatch, function, shapes, expected):
    assert expected <= work(monkeypatch, function, *shapes) <= expected + 10


@pytest.mark.parametrize(
    ("loop", "rounds"),
    [
        (lambda x: lax.fori_loop(0, 30, body, x), 30),
        (lambda x: lax.fori_loop(-3, 4, body, x), 7),
        (lambda x: lax.fori_loop(5, 5, body, x), 0),
        (lambda x: lax.fori_loop(0, 5, lambda i, x: lax.fori_loop(0, 6, body, x), x), 30),
        (lambda x: lax.scan(lambda x, _: (body(0, x), None), x, length=9, reverse=True)[0], 9),
        (
            lambda x: lax.while_loop(
                lambda c: c[0] < 20, lambda c: (c[0] + 3, body(0, c[1])), (0, x)
            )[1],
            7,
        ),
    ],
)
def test_the_rounds_of_loops_are_counted(monkeypatch, loop, rounds):
    counted = work(monkeypatch, loop, (8, 8), platforms=policy.PLATFORMS)
    assert rounds * ROUND <= counted <= rounds * (ROUND + 10) + 100


@pytest.mark.parametrize(
    "loop",
    [
        lambda x: lax.while_loop(lambda x: x[0, 0] > 0, lambda x: body(0, x), x),
        lambda x: lax.fori_loop(0, x[0, 0].astype(int), body, x),
        lambda x: lax.while_loop(lambda c: c[0] < 9, lambda c: (c[0] * 1, body(0, c[1])), (0, x)),
        lambda x: lax.while_loop(lambda c: c[0] < 9, lambda c: (c[0] - 1, body(0, c[1])), (0, x)),
        lambda x: lax.while_loop(lambda c: c[0] < 9, lambda c: (c[0] + c[0], c[1] + 1), (0, x)),
        lambda x: lax.while_loop(  # 2e9 + 2e9 is less than nothing
            lambda c: c[0] < 2**31 - 1, lambda c: (c[0] + 2 * 10**9, body(0, c[1])), (0, x)
        ),
        lambda x: lax.while_loop(  # the counter of the other
            lambda c: c[0] < 9, lambda c: (c[1] + 1, c[1], body(0, c[2])), (0, 0, x)
        ),
    ],
)
def test_a_loop_whose_rounds_cannot_be_told_is_refused(loop):
    with pytest.raises(PolicyError, match=r"rounds is not a constant. Use jax.lax.scan"):
        program.check(exported(loop, (8, 8)))


def mlp(units, layers):
    """A policy of so many layers, for Humanoid."""
    sizes = (376, *[units] * layers, 17)
    params = [np.zeros(pair, np.float32) for pair in zip(sizes, sizes[1:], strict=False)]

    def act(params, obs):
        for weights in params[:-1]:
            obs = jnp.tanh(obs @ weights)
        return obs @ params[-1]

    return act, params, None


def transformer(width, layers, window):
    """A policy over a carried window of observations."""
    rng = np.random.default_rng(0)
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    params = [[rng.normal(size=s).astype(np.float32) for s in shapes] for _ in range(layers)]

    def act(params, carry, obs):
        carry = jnp.concatenate([carry[:, 1:], obs[:, None, :width]], axis=1)
        x = carry
        for qkv, out, up, down in params:
            q, k, v = jnp.split(x @ qkv, 3, axis=-1)
            attention = jax.nn.softmax(q @ k.swapaxes(1, 2) / width**0.5)
            x = x + attention @ v @ out
            x = x + jax.nn.gelu(x @ up) @ down
        return x[:, -1, :17], carry

    return act, params, np.zeros((window, width), np.float32)


def lstm(units):
    """A recurrent policy."""
    params = [np.zeros((376, 4 * units), np.float32), np.zeros((units, 4 * units), np.float32)]

    def act(params, carry, obs):
        hidden, cell = carry
        i, f, g, o = jnp.split(obs @ params[0] + hidden @ params[1], 4, axis=-1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return hidden[:, :17], (hidden, cell)

    return act, params, (np.zeros(units, np.float32), np.zeros(units, np.float32))


HUMANOID = gymnasium.spaces.Box(-np.inf, np.inf, (376,)), gymnasium.spaces.Box(-1, 1, (17,))


@pytest.mark.slow
@pytest.mark.parametrize(
    "made", [mlp(1024, 4), mlp(64, 100), lstm(1024), transformer(128, 2, 64)],
    ids=["four layers of 1,024", "a hundred layers", "LSTM", "transformer"],
)  # fmt: skip
def test_large_honest_networks_are_far_from_the_limits(made):
    act, params, carry = made
    arrays = policy.pack(params, carry)
    artifact = policy.Artifact(policy.export(act, params, carry, HUMANOID[0]), arrays)
    actor = policy.load(artifact, *HUMANOID)
    action, _ = actor.act(actor.begin(2), np.zeros((2, 376)))
    assert action.shape == (2, 17)


def test_a_policy_that_only_takes_time_is_refused_with_its_count():
    def waste(x):
        return lax.fori_loop(0, 2000, lambda _, m: jnp.tanh(m @ m), x)

    with pytest.raises(PolicyError, match=r"takes 1,\d{3},\d{3},\d{3} floating-point operations"):
        program.check(exported(waste, (64, 64)))


def test_what_starts_operations_without_end_is_refused():
    def idle(x):
        return lax.fori_loop(0, MAX_WORK // OPERATION_WORK, lambda i, x: x + 1, x)

    with pytest.raises(PolicyError, match="starts of operations counted"):
        program.check(exported(idle, ()))


def written(*functions, tensor="tensor<f32>"):
    """A module with these bodies of functions of one array, `main` first."""
    names = ["main", *(f"f{i}" for i in range(1, len(functions)))]
    text = "".join(
        f"func.func @{name}(%x: {tensor}) -> {tensor} {{ {body} }}\n"
        for name, body in zip(names, functions, strict=True)
    )
    with mlir.make_ir_context():
        module = ir.Module.parse(f"module {{ {text} }}")
        version = stablehlo.get_minimum_version()
        return stablehlo.serialize_portable_artifact_str(str(module), version)


def call(name, of="x"):
    return f"%{of}_ = func.call @{name}(%{of}) : (tensor<f32>) -> tensor<f32> "


def test_a_size_that_is_known_when_it_runs_only_is_refused_by_name():
    double = "%y = stablehlo.add %x, %x : tensor<?xf32> return %y : tensor<?xf32>"
    with pytest.raises(PolicyError, match=r"of a size that is not known: tensor<\?xf32>"):
        program.check(written(double, tensor="tensor<?xf32>"))


def test_functions_that_call_each_other_twice_at_every_level_are_counted():
    """Sixty calls in the text, 2 ** 60 in all."""
    twice = [f"{call(f'f{i}')}{call(f'f{i}', 'x_')}return %x__ : tensor<f32>" for i in range(1, 61)]
    program.check(written(*twice[:5], *["return %x : tensor<f32>"]))
    with pytest.raises(PolicyError, match="floating-point operations"):
        program.check(written(*twice, "return %x : tensor<f32>"))


def test_a_function_that_calls_itself_is_refused():
    with pytest.raises(PolicyError, match="'f1' calls itself"):
        program.check(written(*[f"{call('f1')}return %x_ : tensor<f32>"] * 2))
