"""Environments that are not as they should be: what they do, and what is said of it."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from harness import tasks
from harness.confinement import sandbox
from harness.contract import policy
from harness.contract.artifact import Artifact
from harness.engines import backends, engine, gymnasium
from harness.engines.gymnasium import GymnasiumEngine
from harness.errors import InputError, PolicyError, TaskError
from harness.measurement import scoring
from tests.conftest import ROOT


def task(name):
    return tasks.get(f"tests.scripted:{name}-v0")


def made(name, num_envs=1):
    return GymnasiumEngine(task(name), num_envs, seed=0)


@pytest.fixture
def played():
    """Plays an environment for some steps."""
    engines = []

    def play(name, steps=5, action=0.0, num_envs=1):
        engines.append(made(name, num_envs))
        engines[-1].reset()
        actions = np.full((num_envs, 1), action)
        return [engines[-1].step(actions) for _ in range(steps)]

    yield play
    for each in engines:
        each.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OldReset", r"reset gives a ndarray; \(observation, info\) is needed"),
        ("OldStep", r"step gives 4 values; \(observation, reward, terminated, .*is needed"),
        ("OneNumber", r"step gives an observation of shape \(1,\).*says \(3,\)"),
        ("Broken", r"KeyError in step: raise KeyError\(\"gearbox\"\)"),
        ("NanReward", "gives a reward of nan"),
        ("InfiniteReward", "gives a reward of inf"),
        ("NanObservation", "gives an observation of nan"),
        ("LargeObservation", r"gives an observation of 1e\+300, which no float32 can hold"),
    ],
)
def test_an_environment_that_gives_the_wrong_things_is_named(played, name, message):
    with pytest.raises(TaskError, match=f"environment tests.scripted:{name}-v0 .*{message}"):
        played(name)


@pytest.mark.slow
def test_an_evaluation_names_the_environment_and_not_the_policy():
    program = policy.export(lambda p, o: o[:, :1] + p, np.float32(0), None, NUMBERS)
    artifact = Artifact(program, policy.pack(np.float32(0), None))
    place = scoring.Place(ROOT, sandbox.available())
    with pytest.raises(PolicyError, match=r"environment tests.scripted:NanReward-v0 gives a rew"):
        scoring.score(artifact, "tests.scripted:NanReward-v0", 2, place)


NUMBERS = gymnasium.gymnasium.spaces.Box(-np.inf, np.inf, (3,))


@pytest.mark.parametrize(
    ("action", "applied"), [(8.99, 9), (8.4, 8), (0.6, 1), (9.0, 9), (-0.0, 0)]
)
def test_actions_of_integers_are_rounded(played, action, applied):
    assert played("Whole", 1, action)[0].reward == applied


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Exits", r"SystemExit in __init__: .*no licence"),
        ("Dies", r"ended with code 3. Its last output:\nlast words"),
        ("Nameless", r"AssertionError in __init__: assert os.environ.get"),
        ("Lacks", "No module named 'no_such_package'.*If a package is missing, install it"),
        ("Wide", "unbounded actions; finite bounds, not too wide for float32"),
    ],
)
def test_an_environment_that_cannot_be_made_says_why(name, message):
    with pytest.raises(InputError, match=message) as told:
        backends.resolve(task(name))
    assert ("install it" in str(told.value)) == (name == "Lacks")


@pytest.mark.slow
def test_an_environment_that_hangs_is_told(monkeypatch):
    monkeypatch.setattr(gymnasium, "SPACES_SECONDS", 2.0)
    with pytest.raises(InputError, match="Hangs-v0': it takes over 2 s"):
        backends.resolve(task("Hangs"))
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.parametrize("name", ["Moves", "TakesSignals", "ClosesAfterReset"])
def test_what_a_constructor_does_stays_in_a_process_of_its_own(name):
    folder, handler = os.getcwd(), signal.getsignal(signal.SIGINT)
    observation, action = backends.spaces(task(name), "gymnasium")
    assert (observation.shape, action.shape) == ((3,), (1,))
    assert (os.getcwd(), signal.getsignal(signal.SIGINT)) == (folder, handler)


def test_spaces_are_those_of_gymnasiums_own_environment():
    for task_id in ("BipedalWalker-v3", "CartPole-v1", "Pendulum-v1", "Acrobot-v1"):
        env = gymnasium.gymnasium.make(task_id)
        expected = (env.observation_space, env.action_space)
        assert backends.spaces(tasks.get(task_id), "gymnasium") == expected


def test_that_a_process_can_hold_one_simulator_only_is_told(monkeypatch):
    monkeypatch.setattr(gymnasium, "available_cpus", lambda: 1)
    with pytest.raises(TaskError, match=r"1 could be made .* makes 128, an evaluation 100"):
        made("Once", 2).reset()


def test_threads_of_an_environment_delay_no_end():
    each = made("Threaded", 2)
    each.reset()
    begun = time.monotonic()
    each.close()
    assert time.monotonic() - begun < gymnasium.CLOSE_SECONDS / 2
    assert [worker.process.returncode for worker in each._workers] == [0] * len(each._workers)


@pytest.mark.slow
def test_an_environment_that_does_not_close_loses_no_score(monkeypatch):
    monkeypatch.setattr(gymnasium, "CLOSE_SECONDS", 0.5)
    each = made("NeverCloses")
    each.reset()
    each.close()
    assert [worker.process.returncode for worker in each._workers] == [-signal.SIGKILL]


@pytest.mark.skipif(sandbox.available() == sandbox.NONE, reason="nothing can be confined here")
def test_a_confined_environment_that_fails_says_that_it_is_confined():
    code = (
        "from harness.engines.engine import reason\n"
        "try: open('/nowhere/at/all')\n"
        "except OSError as error: print(reason(error))"
    )
    told = {}
    for kind in (sandbox.NONE, sandbox.available()):
        process = sandbox.start(
            kind, [sys.executable, "-c", code],
            [*sandbox.system(), *sandbox.checkout(ROOT)], {}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        told[kind], _ = process.communicate(timeout=60)
    assert all("No such file" in text for text in told.values())
    assert [engine.CONFINED in text for text in told.values()] == [False, True]


@pytest.mark.parametrize("prefix", ["gymnax", "json", "tests"])
def test_a_prefix_that_registers_nothing_does_not_run_gymnasiums_task(prefix):
    with pytest.raises(InputError, match=r"brax: and playground: are suites"):
        tasks.get(f"{prefix}:CartPole-v1")
    assert tasks.get("gymnasium:CartPole-v1").id == "gymnasium:CartPole-v1"


def test_spaces_are_asked_of_the_harness_that_runs(monkeypatch, tmp_path):
    """Another one may be installed in the environment, as where two checkouts share it."""
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("raise SystemExit('another harness')\n")
    monkeypatch.syspath_prepend(tmp_path)
    observation, action = gymnasium.spaces(tasks.get("MountainCarContinuous-v0"))
    assert (observation.shape, action.shape) == ((2,), (1,))
