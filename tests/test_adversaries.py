"""Dishonest training files, and what becomes of them.

What confinement stops is tried under every confinement that this system has; what the clock, the
protocol or the evaluation stops, under the best one.
"""

import contextlib
import dataclasses
import io
import mmap
import os
import shutil
import socket
import subprocess
import threading
import time

import gymnasium
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from harness.checkout.integrity import Guard
from harness.confinement import sandbox
from harness.contract import policy
from harness.contract.artifact import Artifact
from harness.errors import PolicyError, TrainingError
from harness.evaluate import evaluate
from harness.judgement import experiment
from harness.measurement import scoring, training
from harness.record.ledger import Ledger
from tests.adversaries import GAINED, HONEST
from tests.conftest import ROOT, run_row

FOLDER = ROOT / "tests" / "adversaries"
BUDGET = 1.0
KINDS = [kind for kind in (sandbox.BUBBLEWRAP, sandbox.NAMESPACES) if sandbox.works(kind)]

STOPPED_BY_CONFINEMENT = [
    path.stem
    for pattern in ("reloads_*", "edits_*", "kills_*", "stops_*", "opens_*", "escapes_*", "fills_*",
                    "reads_*", "inherits_*")
    for path in sorted(FOLDER.glob(f"{pattern}.py"))
]  # fmt: skip
STOPPED_BY_THE_CLOCK = [
    "daemon_after_deadline", "patches_time", "patches_trial", "patches_monitoring", "starts_twice",
    "publishes_truncated", "floods_output", "ignores_signals", "takes_memory",
]  # fmt: skip
REFUSED = {
    "trains_before_start": (TrainingError, "before trial.start"),
    "publishes_gigantic": (TrainingError, "bytes"),
    "publishes_malformed": (PolicyError, "param"),
    "publishes_custom_call": (PolicyError, "custom"),
    "publishes_host_callback": (TrainingError, "callbacks"),
    "publishes_random_policy": (PolicyError, "rng"),
    "publishes_memory_hog": (PolicyError, "elements; 67,108,864 are allowed"),
    "publishes_nan": (PolicyError, "NaN action"),
    "publishes_endless_loop": (PolicyError, "number of rounds is not a constant"),
    "publishes_slow_policy": (PolicyError, "floating-point operations"),
    "publishes_learner": (PolicyError, "carries .* bytes from step to step"),
    "publishes_batch_program": (PolicyError, "for a batch of observations"),
    "publishes_telling_assertion": (PolicyError, "custom call 'shape_assertion'"),
}
SCORED_APART = {
    "trains_while_compiling", "never_starts", "grinds_seeds", "leaves_the_action_space"
}  # fmt: skip

pytestmark = pytest.mark.skipif(not KINDS, reason="nothing can be confined on this system")


@pytest.fixture
def installed(tmp_path_factory, monkeypatch):
    """A folder that all runs see, with what the files import."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "tests" / "adversaries").mkdir(parents=True)
    for package in ("tests", "tests/adversaries"):
        shutil.copy(ROOT / package / "__init__.py", folder / package)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.fixture
def world(tmp_path, installed, monkeypatch):
    """A committed checkout with an earlier run, servers that answer, and a secret."""
    monkeypatch.setenv("AUTORL_TEST_TOKEN", "sesame")
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        port, udp = _servers(stack)
        threading.Thread(target=_answer, args=(udp,), daemon=True).start()
        address = f"@autorl-{port}"
        for name in (f"/tmp/autorl-{port}", address.replace("@", "\0")):
            unix = stack.enter_context(socket.socket(socket.AF_UNIX))
            unix.bind(name)
            unix.listen()
        (installed / "port").write_text(str(port))
        (installed / "sockets").write_text(f"/tmp/autorl-{port}\n{address}")
        with open(installed / "pages", "wb", buffering=0) as pages:
            pages.write(os.urandom(32 * mmap.PAGESIZE))
            os.fsync(pages.fileno())  # a page that is not written yet cannot be dropped
        (installed / "places").write_text("\n".join(_left_lying_about(tmp_path)))
        (tmp_path / ".gitignore").write_text("/runs/\n/results.tsv\n/matrix/\n/run.log\n/own/\n")
        (tmp_path / "agent_space").mkdir()
        (tmp_path / "agent_space" / "train.py").write_text("")
        (tmp_path / "tests" / "trained" / "Hopper-v5").mkdir(parents=True)
        (tmp_path / "tests" / "trained" / "Hopper-v5" / "params.npz").write_text("weights")
        (tmp_path / "runs" / "earlier").mkdir(parents=True)
        (tmp_path / "runs" / "earlier" / "summary.json").write_text("{}")
        Ledger(tmp_path / "results.tsv").append(run_row())
        for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "the world")):
            subprocess.run(["git", *IDENTITY, *arguments], cwd=tmp_path, check=True)
        yield tmp_path
        (tmp_path.__class__(f"/tmp/autorl-{port}")).unlink(missing_ok=True)


IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@localhost")


def _left_lying_about(root):
    """What the harness, its scripts and its user leave in a checkout without git's knowledge."""
    names = ("matrix/5/cores1/runs/earlier/policy/params.npz", "run.log", "own/.ssh/id_ed25519")
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("weights, a score, a key")
    return [str(root / name) for name in names]


def _servers(stack):
    """A TCP server that only listens and a UDP socket, on one port that both could have."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port = tcp.getsockname()[1]
        try:
            udp.bind(("127.0.0.1", port))
        except OSError:  # another test's, or another program's
            tcp.close()
            udp.close()
            continue
        stack.enter_context(tcp)
        stack.enter_context(udp)
        return port, udp


def _answer(udp):
    with contextlib.suppress(OSError):
        while True:
            _, sender = udp.recvfrom(100)
            udp.sendto(b"weights", sender)


def attempt(world, name, kind, budget=BUDGET, **changes):
    """Train with a dishonest file."""
    folder = world / "runs" / f"{name}-{time.monotonic_ns()}"
    folder.mkdir()
    shutil.copy(FOLDER / f"{name}.py", folder / "train.py")
    assignment = training.Assignment(
        train_file=folder / "train.py",
        task_id="HalfCheetah-v5",
        backend="native",
        seed=0,
        budget=budget,
        confinement=kind,
        root=world,
        **changes,
    )
    return training.train(assignment, folder / "train.log"), folder


def action(result, folder):
    """What the policy that would be scored does."""
    assert result.artifact is not None, (folder / "train.log").read_text()
    with np.load(io.BytesIO(result.artifact.params)) as arrays:
        return float(arrays["param_000"].flat[0])


def request(world, name, **changes):
    """An experiment with a dishonest file."""
    usual = {
        "root": world,
        "source": (FOLDER / f"{name}.py").read_bytes(),
        "task_id": "HalfCheetah-v5",
        "backend": "native",
        "seed": 0,
        "budget": BUDGET,
        "episodes": 2,
        "message": "",
        "confinement": sandbox.available(),
        "comparable": False,
    }
    return experiment.Request(**usual | changes)


def test_every_adversary_is_tested_and_says_what_it_tries():
    tested = {*STOPPED_BY_CONFINEMENT, *STOPPED_BY_THE_CLOCK, *REFUSED, *SCORED_APART}
    files = {path.stem: path.read_text() for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    assert set(files) == tested
    assert len(files) >= 24
    assert all(text.startswith('"""') for text in files.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STOPPED_BY_CONFINEMENT)
def test_a_confined_file_gains_nothing(world, name, kind):
    guard, free = Guard(world), shutil.disk_usage(world).free
    rows = (world / "results.tsv").read_bytes()
    for _ in range(2 if name.startswith("reloads_") else 1):
        result, folder = attempt(world, name, kind)
        assert action(result, folder) == HONEST, (folder / "train.log").read_text()
    guard.check()
    assert (world / "results.tsv").read_bytes() == rows
    assert sorted(p.name for p in folder.iterdir()) == ["train.log", "train.py"]
    assert (folder / "train.py").read_bytes() == (FOLDER / f"{name}.py").read_bytes()
    assert shutil.disk_usage(world).free > free - 2**30
    assert psutil.Process().children(recursive=True) == []


PROBE = """
import os, socket
from pathlib import Path
from harness import wire

def works(attempt):
    try:
        return bool(attempt())
    except OSError:
        return False

def own_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return socket.create_connection(server.getsockname(), 1)

def look(question, _):
    world, port = Path(question["world"]), question["port"]
    return {
        "a key of the user": "AUTORL_TEST_TOKEN" in os.environ,
        "the ledger": works(lambda: (world / "results.tsv").read_text()),
        "another run": works(lambda: list((world / "runs" / "earlier").iterdir())),
        "a trained policy": works(lambda: list((world / "tests" / "trained").iterdir())),
        "the network": works(lambda: socket.create_connection(("127.0.0.1", port), 1)),
        "no network of its own": not works(own_network),
        "the checkout, to write to": works(lambda: (world / "written").write_text("x")),
    }, b""

wire.serve(look)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_is_confined_as_a_training_is(world, kind, installed):
    (installed / "probe.py").write_text(PROBE)
    question = {"world": str(world), "port": int((installed / "port").read_text())}
    seen, _ = scoring.run_apart("probe", (question, b""), scoring.Place(world, kind), 60)
    assert len(seen) == 7
    assert not any(seen.values()), seen


@pytest.mark.parametrize("name", STOPPED_BY_THE_CLOCK)
def test_the_clock_cannot_be_moved(world, name):
    result, folder = attempt(world, name, sandbox.available())
    assert action(result, folder) == HONEST
    assert all(seconds <= BUDGET for seconds, _, _ in result.curve)
    assert (folder / "train.log").stat().st_size <= training.MAX_LOG_BYTES
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_policy_is_refused_with_a_row(world, name):
    kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        experiment.run(request(world, name))
    _, row = Ledger(world / "results.tsv").rows()
    assert (row.status, row.avg_return) == ("crash", None)
    assert psutil.Process().children(recursive=True) == []


def test_training_instead_of_compiling_gains_the_allowance_and_no_more(world):
    result, folder = attempt(world, "trains_while_compiling", sandbox.available(), allowance=6.0)
    assert not result.started
    assert result.clock_start == result.begun + 6.0
    assert action(result, folder) == HONEST


def test_a_policy_that_was_trained_without_the_clock_is_not_scored(world):
    """It leaves before the clock starts by itself; the same with its clock started is scored."""
    usual = request(world, "never_starts")
    with pytest.raises(TrainingError, match=r"never called trial.start\(\), and ended after"):
        experiment.run(usual)
    experiment.run(dataclasses.replace(usual, source=usual.source + b"trial.start()\n"))
    _, refused, scored = Ledger(world / "results.tsv").rows()
    assert (refused.status, refused.avg_return, refused.startup) == ("crash", None, None)
    assert scored.status == "scored"
    assert float(scored.startup) > 0


def test_seeds_cannot_be_ground_out(world):
    """The seeds hang on a nonce that is drawn when the training is gone."""
    seeds = []
    for _ in range(2):
        summary = experiment.run(request(world, "grinds_seeds"))
        details = (world / "runs" / summary.run_id / "summary.json").read_text()
        seeds.append(experiment.json.loads(details)["episode_seeds"])
    artifacts = {Artifact.load(p).digest for p in (world / "runs").glob("*/policy")}
    assert len(artifacts) == 1  # the same lucky one, twice
    assert not set(seeds[0]) & set(seeds[1])


def test_actions_are_clipped_to_the_space(world):
    summary = experiment.run(request(world, "leaves_the_action_space"))
    details = experiment.json.loads((world / "runs" / summary.run_id / "summary.json").read_text())
    env = gymnasium.make("HalfCheetah-v5")
    program = policy.export(
        lambda p, obs: obs[:, :6] * 0 + p, jnp.ones(6), None, env.observation_space
    )
    bounded = policy.load(
        Artifact(program, policy.pack(jnp.ones(6), None)), env.observation_space, env.action_space
    )
    expected = evaluate(bounded, "HalfCheetah-v5", details["episode_seeds"])
    assert details["episode_returns"] == expected.returns


@pytest.mark.parametrize("name", [
    "reads_secrets", "opens_tcp", "reads_other_files", "opens_lines_to_others", "escapes_limits",
    "reloads_from_page_cache", "reloads_from_time_stamps",
])  # fmt: skip
def test_without_confinement_a_file_could_gain(world, installed, name):
    """The adversaries do work where nothing stops them: the tests above can fail."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", installed], capture_output=True, check=False)
    if name == "reloads_from_page_cache" and kind.stdout.strip() == b"tmpfs":
        pytest.skip("the files of this system's /tmp are always in memory")
    for _ in range(2 if name.startswith("reloads_") else 1):
        result, folder = attempt(world, name, sandbox.NONE)
    assert action(result, folder) == GAINED, (folder / "train.log").read_text()
