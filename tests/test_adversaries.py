"""Dishonest training files, and what becomes of them.

What confinement stops is tried under every confinement that this system has, and under none, where
it has to work; what the clock, the protocol or the evaluation stops, under the best one.
"""

import contextlib
import dataclasses
import importlib
import io
import mmap
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import gymnasium
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from harness import places
from harness.checkout.integrity import Guard
from harness.confinement import sandbox
from harness.contract import policy
from harness.contract.artifact import Artifact
from harness.contract.order import Assignment, Order
from harness.errors import PolicyError, TrainingError
from harness.evaluate import evaluate
from harness.judgement import experiment
from harness.measurement import child, scoring
from harness.record.ledger import Ledger
from tests import adversaries
from tests.adversaries import GAINED, HONEST
from tests.conftest import ROOT, git, run_row

FOLDER = ROOT / "tests" / "adversaries"
BUDGET = 1.0
KINDS = [kind for kind in (sandbox.BUBBLEWRAP, sandbox.NAMESPACES) if sandbox.works(kind)]

LAST = ("escapes_limits", "fills_disk")
"""Looks after which a process is not as it was."""

LOOKS = [*sorted({path.stem for path in (FOLDER / "looks").glob("[a-z]*.py")} - {*LAST}), *LAST]
"""What a confined process must not reach; each is a line in one process that tries them all."""

APART = ("inherits_files", "reloads_from_keyring")
"""Looks that the harness stops without confinement, too: their controls are outside of it."""

AGAIN = [name for name in LOOKS if name.startswith("reloads_")]
"""Those that look for what an earlier run has left, and leave something."""

STOPPED_BY_THE_CLOCK = [
    "daemon_after_deadline", "patches_time", "patches_trial", "patches_monitoring", "starts_twice",
    "publishes_truncated", "floods_output", "ignores_signals", "takes_memory",
]  # fmt: skip
LATE = {"patches_time", "patches_trial", "patches_monitoring", "starts_twice", "ignores_signals"}
"""Of these, what gains arrives, after the deadline: were it not for the clock, it would count."""

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
    "tries_everything", "trains_while_compiling", "never_starts", "grinds_seeds",
    "leaves_the_action_space", "edits_kernels",
}  # fmt: skip

pytestmark = pytest.mark.skipif(not KINDS, reason="nothing can be confined on this system")


@dataclasses.dataclass(frozen=True)
class World:
    """A committed checkout with an earlier run, servers that answer, and a secret.

    Attributes:
      root: the checkout.
      installed: a folder that all runs see, with what the files import.
      port: of the servers.
    """

    root: Path
    installed: Path
    port: int


@contextlib.contextmanager
def made(folder):
    """A world in a folder."""
    root, installed = folder / "checkout", folder / "installed"
    root.mkdir()
    packages = ("tests", "tests/adversaries", "tests/adversaries/looks")
    for package in packages:
        (installed / package).mkdir(parents=True)
        shutil.copy(ROOT / package / "__init__.py", installed / package)
    for name in LOOKS:
        shutil.copy(FOLDER / "looks" / f"{name}.py", installed / packages[-1])
    with contextlib.ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.setenv("PYTHONPATH", str(installed))
        monkeypatch.setenv("AUTORL_TEST_TOKEN", "sesame")
        monkeypatch.setenv("HOME", str(folder / "home"))
        (folder / "home").mkdir()
        monkeypatch.chdir(root)
        port, udp = _servers(stack)
        threading.Thread(target=_answer, args=(udp,), daemon=True).start()
        address, path = f"@autorl-{port}", Path(f"/tmp/autorl-{port}")
        for name in (str(path), address.replace("@", "\0")):
            unix = stack.enter_context(socket.socket(socket.AF_UNIX))
            unix.bind(name)
            unix.listen()
        stack.callback(path.unlink)
        (installed / "port").write_text(str(port))
        (installed / "sockets").write_text(f"{path}\n{address}")
        with open(installed / "pages", "wb", buffering=0) as pages:
            pages.write(os.urandom(32 * mmap.PAGESIZE))
            os.fsync(pages.fileno())  # a page that is not written yet cannot be dropped
        (installed / "places").write_text("\n".join(_left_lying_about(root)))
        (root / ".gitignore").write_text("/runs/\n/results.tsv\n/matrix/\n/run.log\n/own/\n")
        (root / "agent_space").mkdir()
        (root / "agent_space" / "train.py").write_text("")
        (root / "tests" / "trained" / "Hopper-v5").mkdir(parents=True)
        (root / "tests" / "trained" / "Hopper-v5" / "params.npz").write_text("weights")
        (root / "runs" / "earlier").mkdir(parents=True)
        (root / "runs" / "earlier" / "summary.json").write_text("{}")
        Ledger(root / "results.tsv").append(run_row())
        for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "the world")):
            git(root, *arguments)
        yield World(root, installed, port)


@pytest.fixture
def world(tmp_path):
    with made(tmp_path) as world:
        yield world


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


def attempt(world, name, kind, budget=BUDGET, compiled=None, **changes):
    """Train with a dishonest file; `compiled` are Warp's kernels, which it may read."""
    folder = world.root / "runs" / f"{name}-{time.monotonic_ns()}"
    folder.mkdir()
    shutil.copy(FOLDER / f"{name}.py", folder / "train.py")
    order = Order(Assignment("HalfCheetah-v5", "native", 0, budget), 2, kind, **changes)
    return child.train(order, folder, world.root, compiled=compiled), folder


def action(result, folder):
    """What the policy that would be scored does."""
    assert result.policies, (folder / "train.log").read_text()
    with np.load(io.BytesIO(result.policies[0].params)) as arrays:
        return float(arrays["param_000"].flat[0])


def request(world, name, **changes):
    """An experiment with a dishonest file."""
    usual = {
        "root": world.root,
        "source": (FOLDER / f"{name}.py").read_bytes(),
        "order": Order(Assignment("HalfCheetah-v5", "native", 0, BUDGET), 2, sandbox.available()),
        "message": "",
        "comparable": False,
    }
    return experiment.Request(**usual | changes)


def look(world, kind, names):
    """Have one process try all of these; which of them worked, and the run's folder."""
    (world.installed / "looks").write_text("\n".join(names))
    others = [_bystander(f"{fate} {world.port}") for fate in ("to be killed", "to be stopped")]
    result, folder = attempt(world, "tries_everything", kind)
    for other in others:
        other.wait()  # with a training all children of ours are ended
    assert result.policies, (folder / "train.log").read_text()
    with np.load(io.BytesIO(result.policies[0].params)) as arrays:
        (gained,) = (arrays[name] for name in arrays if name.startswith("param"))
    assert set(gained) <= {np.float32(HONEST), np.float32(GAINED)}
    return dict(zip(names, gained == np.float32(GAINED), strict=True)), folder


def _bystander(name):
    """A process outside that waits to be reached."""
    return subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)", name])


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    """What a process gains that nothing confines, by look; those that reload, in a second run."""
    with made(tmp_path_factory.mktemp("free")) as world:
        try:
            first, _ = look(world, sandbox.NONE, LOOKS)
            second, _ = look(world, sandbox.NONE, AGAIN)
            yield first | second
        finally:
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.setattr(adversaries, "WORLD", world.installed)
                for name in AGAIN:
                    getattr(_module(name), "clean", lambda: None)()


def _module(name):
    return importlib.import_module(f"tests.adversaries.looks.{name}")


def test_every_adversary_is_tested_and_says_what_it_tries():
    tested = {*STOPPED_BY_THE_CLOCK, *REFUSED, *SCORED_APART}
    files = {path.stem: path.read_text() for path in FOLDER.glob("*.py") if path.stem != "__init__"}
    assert set(files) == tested
    assert len(files) + len(LOOKS) > 50
    assert all(text.startswith('"""') for text in files.values())
    assert all(_module(name).__doc__ for name in LOOKS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_confined_file_gains_nothing(world, kind):
    guard, free = Guard(world.root), shutil.disk_usage(world.root).free
    rows = (world.root / "results.tsv").read_bytes()
    for names in (LOOKS, AGAIN):
        gained, folder = look(world, kind, names)
        assert [name for name in names if gained[name]] == [], (folder / "train.log").read_text()
        assert sorted(p.name for p in folder.iterdir()) == ["train.log", "train.py"]
        file = (folder / "train.py").read_bytes()
        assert file == (FOLDER / "tries_everything.py").read_bytes()
    guard.check()
    assert (world.root / "results.tsv").read_bytes() == rows
    assert shutil.disk_usage(world.root).free > free - 2**30
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.parametrize("name", [name for name in LOOKS if name not in APART])
def test_a_file_that_nothing_confines_gains(free, name):
    """All looks do work where nothing stops them: the test above can fail."""
    if reason := getattr(_module(name), "missing", lambda: "")():
        pytest.skip(reason)
    assert free[name]


def outside(world, name, **options):
    """What a look sees in a process that is not of the harness."""
    code = f"from tests.adversaries.looks.{name} import attempt; print(attempt())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "AUTORL_TRIAL_CHANNEL": "-1"},
        capture_output=True, text=True, check=True, cwd=world.root, **options,
    )  # fmt: skip
    return done.stdout.splitlines()[-1] == "True"


@pytest.mark.slow
def test_a_file_that_the_harness_left_open_would_be_found(world):
    assert not outside(world, "inherits_files")
    with open(world.root / "results.tsv") as ledger:
        assert outside(world, "inherits_files", pass_fds=(ledger.fileno(),))


@pytest.mark.slow
def test_a_key_that_was_left_would_be_found(world):
    if reason := _module("reloads_from_keyring").missing():
        pytest.skip(reason)
    assert [outside(world, "reloads_from_keyring") for _ in range(2)] == [False, True]


PROBE = """
import dataclasses, os, socket
from pathlib import Path
from harness.contract import wire

def works(attempt):
    try:
        return bool(attempt())
    except OSError:
        return False

def own_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return socket.create_connection(server.getsockname(), 1)

@dataclasses.dataclass(frozen=True)
class Look:
    world: str
    port: int

@dataclasses.dataclass(frozen=True)
class Seen:
    works: dict[str, bool]

def look(question, _):
    world, port = Path(question.world), question.port
    return Seen({
        "a key of the user": "AUTORL_TEST_TOKEN" in os.environ,
        "the ledger": works(lambda: (world / "results.tsv").read_text()),
        "another run": works(lambda: list((world / "runs" / "earlier").iterdir())),
        "a trained policy": works(lambda: list((world / "tests" / "trained").iterdir())),
        "a network of its own": works(own_network),
        "the network": works(lambda: socket.create_connection(("127.0.0.1", port), 1)),
        "the checkout, to write to": works(lambda: (world / "written").write_text("x")),
    }), b""

wire.serve(Look, look)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_is_confined_as_a_training_is(world, kind):
    (world.installed / "probe.py").write_text(PROBE)
    question = {"kind": "look", "world": str(world.root), "port": world.port}
    for this, gained in ((kind, False), (sandbox.NONE, True)):
        place = scoring.Place(world.root, this)
        answer, _ = scoring.run_apart("probe", (question, b""), place, 60)
        seen = answer["works"]
        assert seen.pop("a network of its own")
        assert len(seen) == 6
        assert {name: gained for name in seen} == seen


@pytest.mark.parametrize("kind", [*KINDS, sandbox.NONE])
def test_nothing_of_a_training_gets_among_the_kernels_that_the_next_one_loads(
    world, kind, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(world.root.parent / "state"))
    compiled = places.kernels_folder() / "instrument" / "HalfCheetah-v5"
    kernel = compiled / "1.18.0" / "wp_step" / "wp_step.cubin"
    kernel.parent.mkdir(parents=True)
    kernel.write_text("code")
    before = _seen(places.kernels_folder())
    for _ in range(2):
        result, folder = attempt(world, "edits_kernels", kind, compiled=compiled)
        if kind == sandbox.NONE:  # all of it works where nothing stops it
            assert action(result, folder) == GAINED
            assert _seen(places.kernels_folder()) != before
            break
        assert action(result, folder) == HONEST, (folder / "train.log").read_text()
        assert _seen(places.kernels_folder()) == before


def _seen(folder):
    """What there is in a folder, what is in it, and when that was changed."""
    return {
        path: (
            path.stat().st_mtime_ns,
            path.stat().st_ctime_ns,
            path.is_file() and path.read_bytes(),
        )
        for path in (folder, *folder.rglob("*"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", STOPPED_BY_THE_CLOCK)
def test_the_clock_cannot_be_moved(world, name):
    result, folder = attempt(world, name, sandbox.available())
    assert action(result, folder) == HONEST
    if name in LATE:
        assert result.late > 0
    assert all(seconds <= BUDGET for seconds, _, _ in result.curve)
    assert (folder / "train.log").stat().st_size <= child.MAX_LOG_BYTES
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_policy_is_refused_with_a_row(world, name):
    kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        experiment.run(request(world, name))
    _, row = Ledger(world.root / "results.tsv").rows()
    assert (row.status, row.avg_return) == ("crash", None)
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.slow
def test_training_instead_of_compiling_gains_the_allowance_and_no_more(world):
    result, folder = attempt(world, "trains_while_compiling", sandbox.available(), allowance=6.0)
    assert not result.started
    assert result.clock_start == result.begun + 6.0
    assert action(result, folder) == HONEST


@pytest.mark.slow
def test_a_policy_that_was_trained_without_the_clock_is_not_scored(world):
    """It leaves before the clock starts by itself; the same with its clock started is scored."""
    usual = request(world, "never_starts")
    with pytest.raises(TrainingError, match=r"never called trial.start\(\), and ended after"):
        experiment.run(usual)
    experiment.run(dataclasses.replace(usual, source=usual.source + b"trial.start()\n"))
    _, refused, scored = Ledger(world.root / "results.tsv").rows()
    assert (refused.status, refused.avg_return, refused.startup) == ("crash", None, None)
    assert scored.status == "scored"
    assert float(scored.startup) > 0


@pytest.mark.slow
def test_seeds_cannot_be_ground_out(world):
    """The seeds hang on a nonce that is drawn when the training is gone."""
    seeds = []
    for _ in range(2):
        summary = experiment.run(request(world, "grinds_seeds"))
        details = (world.root / "runs" / summary.run_id / "summary.json").read_text()
        seeds.append(experiment.json.loads(details)["episode_seeds"])
    artifacts = {Artifact.load(p).digest for p in (world.root / "runs").glob("*/policy")}
    assert len(artifacts) == 1  # the same lucky one, twice
    assert not set(seeds[0]) & set(seeds[1])


@pytest.mark.slow
def test_actions_are_clipped_to_the_space(world):
    summary = experiment.run(request(world, "leaves_the_action_space"))
    details = experiment.json.loads(
        (world.root / "runs" / summary.run_id / "summary.json").read_text()
    )
    env = gymnasium.make("HalfCheetah-v5")
    program = policy.export(
        lambda p, obs: obs[:, :6] * 0 + p, jnp.ones(6), None, env.observation_space
    )
    bounded = policy.load(
        Artifact(program, policy.pack(jnp.ones(6), None)), env.observation_space, env.action_space
    )
    expected = evaluate(bounded, "HalfCheetah-v5", details["episode_seeds"])
    assert details["episode_returns"] == expected.returns
