"""The score is that of a plain Gymnasium loop, on seeds that nobody could know."""

import contextlib
import tempfile
import threading
from pathlib import Path

import gymnasium
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from harness import tasks
from harness.confinement import sandbox
from harness.contract import policy, wire
from harness.contract.artifact import Artifact
from harness.contract.order import Assignment, Order
from harness.errors import PolicyError
from harness.evaluate import REFERENCE, Evaluation, episode_seeds, evaluate
from harness.judgement import experiment
from harness.measurement import scoring
from tests.conftest import TRAIN_FILES

TASKS = [*tasks.TASKS, "CartPole-v1", "Pendulum-v1"]
EPISODES = 4
HERE = scoring.Place(Path(__file__).parent, sandbox.available())
TRAINED = Path(__file__).parent / "trained"
"""Policies that `python -m harness.run` left, a folder a task."""


def mlp_artifact(task_id, seed=0):
    """A random two-layer policy."""
    env = gymnasium.make(task_id)
    generator = np.random.default_rng(seed)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    outputs = env.action_space.n if discrete else env.action_space.shape[0]
    sizes = (env.observation_space.shape[0], 32, outputs)
    params = [
        generator.normal(size=shape).astype(np.float32) / np.sqrt(shape[0])
        for shape in zip(sizes, sizes[1:], strict=False)
    ]

    def act(params, obs):
        out = jnp.tanh(obs @ params[0]) @ params[1]
        return out.argmax(-1) if discrete else out

    return Artifact(
        policy.export(act, params, None, env.observation_space), policy.pack(params, None)
    )


def gymnasium_lockstep(actor, task_id, seeds):
    """Returns and lengths of a plain loop over `gymnasium.make`, at the same batch size."""
    envs = [gymnasium.make(task_id) for _ in seeds]
    obs = np.array([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)])
    returns, lengths, running = [0.0] * len(seeds), [0] * len(seeds), [True] * len(seeds)
    space, carry = envs[0].action_space, actor.begin(len(seeds))
    while any(running):
        actions, carry = actor.act(carry, obs)
        if isinstance(space, gymnasium.spaces.Box):
            actions = np.clip(actions, space.low, space.high)
        for i, env in enumerate(envs):
            if running[i]:
                obs[i], reward, terminated, truncated, _ = env.step(actions[i])
                returns[i] += float(reward)
                lengths[i] += 1
                running[i] = not (terminated or truncated)
    return returns, lengths


@pytest.mark.slow
@pytest.mark.parametrize("task_id", TASKS)
def test_returns_equal_a_plain_gymnasium_loop_to_the_last_bit(task_id):
    env = gymnasium.make(task_id)
    actor = policy.load(mlp_artifact(task_id), env.observation_space, env.action_space)
    seeds = list(range(50, 50 + EPISODES))
    result = evaluate(actor, task_id, seeds)
    assert (result.returns, result.lengths) == gymnasium_lockstep(actor, task_id, seeds)


@pytest.mark.slow
@pytest.mark.parametrize("folder", sorted(TRAINED.glob("*-v*")), ids=lambda folder: folder.name)
def test_returns_of_a_trained_policy_are_equal_too(folder):
    env = gymnasium.make(folder.name)
    actor = policy.load(Artifact.load(folder), env.observation_space, env.action_space)
    seeds = [1, 2]
    result = evaluate(actor, folder.name, seeds)
    assert (result.returns, result.lengths) == gymnasium_lockstep(actor, folder.name, seeds)
    assert min(result.returns) > 1000 or folder.name.startswith("Bipedal")  # it does move


@pytest.mark.slow
def test_a_score_comes_from_a_clean_process_and_can_be_repeated_from_its_record():
    artifact = mlp_artifact("HalfCheetah-v5")
    score = scoring.score(artifact, "HalfCheetah-v5", EPISODES, HERE)
    seeds = episode_seeds(artifact.digest, score.nonce, EPISODES)
    assert score.evaluation.seeds == seeds
    env = gymnasium.make("HalfCheetah-v5")
    actor = policy.load(artifact, env.observation_space, env.action_space)
    assert evaluate(actor, "HalfCheetah-v5", seeds).returns == score.evaluation.returns


@pytest.mark.slow
def test_the_nonce_is_drawn_when_no_process_of_the_training_is_left(monkeypatch, tmp_path):
    """The training leaves a daemon behind that has moved to a session of its own."""
    seen = []
    draw = scoring.secrets.token_hex

    def watched(nbytes):
        if nbytes == scoring.NONCE_BYTES:
            seen.append(psutil.Process().children(recursive=True))
        return draw(nbytes)

    monkeypatch.setattr(scoring.secrets, "token_hex", watched)
    request = experiment.Request(
        root=tmp_path,
        source=(TRAIN_FILES / "leaves_daemon.py").read_bytes(),
        order=Order(Assignment("HalfCheetah-v5", "native", 1, 5.0), 2, HERE.confinement),
        message="",
        comparable=False,
    )
    experiment.run(request)
    assert seen == [[]]


def test_a_reward_that_is_no_number_is_told(monkeypatch):
    task_id = "HalfCheetah-v5"
    env = gymnasium.make(task_id)
    actor = policy.load(mlp_artifact(task_id), env.observation_space, env.action_space)
    monkeypatch.setattr(type(tasks.get(task_id)), "reward", lambda *_: np.array([1.0, np.nan]))
    with pytest.raises(PolicyError, match="Episode 1 has a return of nan"):
        evaluate(actor, task_id, [1, 2])


def test_the_seeds_of_an_artifact_change_with_the_nonce_and_with_the_artifact():
    one, other = "ab" * 32, "cd" * 32
    seeds = episode_seeds(one, "00" * 32, 100)
    assert len(set(seeds)) == 100
    assert seeds == episode_seeds(one, "00" * 32, 200)[:100]
    assert set(seeds).isdisjoint(episode_seeds(one, "01" * 32, 100))
    assert set(seeds).isdisjoint(episode_seeds(other, "00" * 32, 100))


def test_an_evaluation_that_takes_too_long_says_what_took_the_time():
    env = gymnasium.make("HalfCheetah-v5")
    actor = policy.load(mlp_artifact("HalfCheetah-v5"), env.observation_space, env.action_space)
    message = r"within 0 s.* 2 episodes of HalfCheetah-v5 .* steps a second.* fewer --episodes"
    with pytest.raises(PolicyError, match=message):
        evaluate(actor, "HalfCheetah-v5", [1, 2], limit=1e-9)


def test_the_limit_of_an_evaluation_follows_its_steps(monkeypatch):
    limits = []

    def asked(_, question, place, limit, task_id):
        limits.append((question[0]["limit"], limit - question[0]["limit"]))
        raise PolicyError

    monkeypatch.setattr(scoring, "run_apart", asked)
    for task_id, episodes in (("HalfCheetah-v5", 100), ("Reacher-v5", 100), ("CartPole-v1", 2)):
        with pytest.raises(PolicyError):
            scoring.evaluate_apart(Artifact(b"", b""), task_id, [0] * episodes, REFERENCE, HERE)
    steps = [100 * 1000, 100 * 50, 2 * 500]
    base, slow, late = scoring.EVALUATION_LIMIT, scoring.SLOWEST_STEP, scoring.START_LIMIT
    assert limits == [(base + slow * count, pytest.approx(late)) for count in steps]


@pytest.mark.slow
@pytest.mark.skipif(HERE.confinement == sandbox.NONE, reason="nothing can be confined here")
def test_a_score_cannot_be_forged_in_the_folders_of_an_evaluation(tmp_path, monkeypatch):
    """Another process of the user answers in every folder that the harness makes, and shadows."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    forged, over = set(), threading.Event()

    def forge():
        while not over.wait(0.002):
            for folder in tmp_path.glob("autorl-*"):
                with contextlib.suppress(OSError):
                    (folder / "out.json").write_text('{"returns": [6666.0], "lengths": [1]}')
                    (folder / "numpy.py").write_text("raise SystemExit")
                    forged.add(folder.name)

    forger = threading.Thread(target=forge)
    forger.start()
    artifact = mlp_artifact("InvertedPendulum-v5")
    score = scoring.score(artifact, "InvertedPendulum-v5", 1, HERE)
    over.set()
    forger.join()
    env = gymnasium.make("InvertedPendulum-v5")
    actor = policy.load(artifact, env.observation_space, env.action_space)
    again = evaluate(actor, "InvertedPendulum-v5", score.evaluation.seeds)
    assert score.evaluation.returns == again.returns
    assert forged  # it was there


def answer(**changes):
    """What an evaluator could say of one episode, and what else."""
    said = {"kind": "answer", "token": "t", "digest": "d", "seconds": 1.0, **changes}
    numbers = Evaluation(said.pop("returns", [1.0]), said.pop("lengths", [5]), [], 0.0).packed()
    return said, said.pop("data", numbers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": "of another run"}, "another question"),
        ({"digest": "of another policy"}, "another question"),
        ({"data": b""}, "0 bytes for 1 episodes"),
        ({"returns": [1.0, 2.0], "lengths": [1, 1]}, "32 bytes for 1 episodes"),
        ({"returns": [np.nan]}, "no episodes have"),
        ({"returns": [np.inf]}, "no episodes have"),
        ({"returns": [-1e308]}, "no episodes have"),
        ({"lengths": [0]}, "no episodes have"),
        ({"seconds": np.nan}, "no episodes have"),
        ({"seconds": "1"}, "whose seconds is of type str"),
        ({"seconds": [1]}, "whose seconds is of type list"),
        ({"seconds": 10**400}, "whose seconds is int too large"),
        ({"avg_return": 9e9}, "with fields that are none"),
        ({"kind": "score"}, "of no kind that there is"),
        ({"kind": ["answer"]}, "of no kind that there is"),
    ],
)
def test_an_evaluator_that_was_taken_over_is_not_believed(monkeypatch, changes, message):
    """Whatever it says that is no answer to this very question is refused."""
    artifact = Artifact(b"program", b"params")
    monkeypatch.setattr(scoring.secrets, "token_hex", lambda _: "t")
    monkeypatch.setattr(Artifact, "digest", "d")
    said = {}
    monkeypatch.setattr(scoring, "run_apart", lambda *_, **__: answer(**said))
    honest = scoring.evaluate_apart(artifact, "Hopper-v5", [7], REFERENCE, HERE)
    assert honest == Evaluation([1.0], [5], [7], 1.0)
    said = changes
    with pytest.raises(PolicyError, match=message):
        scoring.evaluate_apart(artifact, "Hopper-v5", [7], REFERENCE, HERE)


def test_the_words_of_a_refusal_hold_no_codes_and_begin_no_line(monkeypatch):
    refusal = {"kind": "refusal", "reason": "no\x1b]0;owned\x07\n---"}
    monkeypatch.setattr(scoring, "run_apart", lambda *_, **__: (refusal, b""))
    with pytest.raises(PolicyError, match=r"^no�\]0;owned� ---$"):
        scoring.evaluate_apart(Artifact(b"", b""), "Hopper-v5", [7], REFERENCE, HERE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("os._exit(3)", "ended without an answer"),
        ("os.write(channel, bytes([255] * 12)); time.sleep(60)", "bytes; 83,886,080 are allowed"),
        ("print('last words', flush=True); os.abort()", "last words"),
        ("[print('x' * 2**20) for _ in iter(int, 1)]", "did not end within 2 s"),
    ],
)
def test_a_process_that_says_nothing_or_too_much_is_ended(
    tmp_path, tmp_path_factory, monkeypatch, does, message
):
    code = f"import os, time\nchannel = int(os.environ['{wire.CHANNEL_VARIABLE}'])\n{does}\n"
    installed = tmp_path_factory.mktemp("installed")
    (installed / "hostile.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    place = scoring.Place(tmp_path, HERE.confinement)
    with pytest.raises(PolicyError, match=message):
        scoring.run_apart("hostile", ({}, bytes(2**22)), place, 2.0)
    assert psutil.Process().children(recursive=True) == []
