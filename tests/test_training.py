"""The clock is the parent's, and what counts is what arrived in time."""

import array
import contextlib
import json
import os
import shutil
import socket
import struct
import time

import numpy as np
import psutil
import pytest

from harness.confinement import sandbox
from harness.contract import reports, wire
from harness.contract.artifact import Artifact
from harness.contract.messages import Clock, Log, Start
from harness.contract.order import Assignment, Order
from harness.errors import EndedError
from harness.measurement import child, sites, training
from harness.measurement.child import train
from harness.places import TRAIN_FILE
from harness.trial import connect
from tests.conftest import TRAIN_FILES

BUDGET = 1.5


def run(name, tmp_path, budget=BUDGET, seed=11, watch=lambda training: None, **changes):
    shutil.copy(TRAIN_FILES / name, tmp_path / TRAIN_FILE)
    order = Order(
        Assignment("HalfCheetah-v5", "native", seed, budget), 2, sandbox.available(), **changes
    )
    return train(order, tmp_path, tmp_path, watch)


def published_value(result):
    """The first parameter of the policy that will be scored."""
    import io

    with np.load(io.BytesIO(result.policies[0].params)) as arrays:
        return float(arrays["param_000"].flat[0])


@pytest.mark.slow
def test_a_file_that_overruns_is_scored_on_what_it_published_in_time(tmp_path):
    result = run("overruns.py", tmp_path)
    assert published_value(result) == 1.0
    assert result.curve == []
    assert result.exit_code is None  # it was ended
    assert time.monotonic() < result.deadline + child.EXIT_GRACE + 2


@pytest.mark.slow
def test_an_honest_file_ends_by_itself_and_its_log_becomes_the_curve(tmp_path):
    result = run("honest.py", tmp_path)
    assert result.exit_code == 0
    assert result.started
    seconds, steps, metrics = zip(*result.curve, strict=True)
    assert list(steps) == [64 * (i + 1) for i in range(len(steps))]
    assert list(seconds) == sorted(seconds)
    assert seconds[-1] <= BUDGET
    assert metrics[0] == {"charts/episodic_return": 64.0, "charts/diverged": 2.0}
    assert result.published >= len(steps)
    assert result.compile_seconds > 0


@pytest.mark.parametrize("kind", [sandbox.NONE, sandbox.BUBBLEWRAP, sandbox.NAMESPACES])
def test_a_training_that_is_killed_measures_nothing(tmp_path, kind):
    """Whoever kills what looks unlucky must not be taken for a file that fails."""
    if not sandbox.works(kind):
        pytest.skip(f"no {kind} here")
    (tmp_path / "train.py").write_text("import time\ntime.sleep(600)\n")
    order = Order(Assignment("HalfCheetah-v5", "native", 1, BUDGET), 2, kind)

    def kill(_):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it is gone already
                if not process.children() and str(tmp_path / "train.py") in process.cmdline():
                    process.kill()

    with pytest.raises(EndedError, match="by signal 9"):
        sites.measure(order, tmp_path, tmp_path, kill)


@pytest.mark.slow
def test_the_start_up_allowance_is_the_most_that_can_be_gained(tmp_path):
    result = run("never_starts.py", tmp_path, budget=1.0, allowance=4.0)
    assert not result.started
    assert result.clock_start == result.begun + 4.0
    assert result.startup_seconds == pytest.approx(4.0)
    assert time.monotonic() < result.begun + 4.0 + 1.0 + child.EXIT_GRACE + 2


@pytest.mark.slow
def test_a_start_up_beyond_the_allowance_is_on_the_clock(tmp_path):
    result = run("honest.py", tmp_path, budget=20.0, allowance=0.5, watch=leave_after(3))
    assert result.started
    assert result.clock_start == result.begun + 0.5
    assert result.excess > 0
    assert result.curve[0][0] >= result.excess


def test_a_start_that_is_read_late_starts_the_clock_when_the_allowance_was_used_up():
    seen = training.Training(10.0, allowance=4.0, begun=100.0)
    answer = seen.take({"kind": "start", "device": "cpu", "backend": "native"}, b"", 107.0)
    assert (seen.clock_start, seen.excess, seen.started) == (104.0, 3.0, True)
    assert wire.Decoder().feed(answer) == [({"kind": "clock", "time_left": 7.0}, b"")]


def leave_after(updates):
    """Ends the training when it has logged so often: what follows shows nothing more."""

    def watch(seen):
        if seen.updates >= updates:
            seen.protocol_error = "enough"

    return watch


@pytest.mark.slow
def test_a_start_up_is_measured_in_seconds_of_processors_too(tmp_path):
    result = run("honest.py", tmp_path, watch=leave_after(1))
    assert result.excess == 0
    assert 0.5 < result.startup_cpu_seconds < result.startup_seconds * psutil.cpu_count() + 1


TELLS = """
import json, os, socket
from harness.contract import reports, wire
channel = socket.socket(fileno=int(os.environ[wire.CHANNEL_VARIABLE]))
print(json.dumps(wire.receive(channel)[0]))
"""


def test_a_training_is_told_its_assignment_and_no_more(tmp_path):
    """Nothing of how it is confined, measured and evaluated."""
    (tmp_path / TRAIN_FILE).write_text(TELLS)
    assignment = Assignment("Hopper-v5", "gymnasium", 2**31 - 1, 0.125)
    train(Order(assignment, 7, sandbox.available(), "mjx", 60.0), tmp_path, tmp_path)
    told = json.loads((tmp_path / "train.log").read_text())
    assert wire.read(told, Assignment) == assignment
    assert told == {
        "kind": "assignment", "task_id": "Hopper-v5", "backend": "gymnasium",
        "seed": 2**31 - 1, "budget": 0.125, "num_seeds": 1,
    }  # fmt: skip


def test_a_trial_is_the_assignment_that_arrives(monkeypatch):
    ours, theirs = socket.socketpair()
    assignment = Assignment("Hopper-v5", "native", 2**31 - 1, 0.125)
    ours.sendall(wire.encode(wire.header(assignment)))
    monkeypatch.setenv(wire.CHANNEL_VARIABLE, str(theirs.detach()))
    trial = connect()
    seen = Assignment(trial.task.id, trial._backend, trial.seed, trial.time_left())
    assert seen == assignment
    ours.sendall(wire.encode(wire.header(Clock(7.0))))
    trial.start()
    assert 6.0 < trial.time_left() <= 7.0
    start, _ = wire.receive(ours)
    assert wire.read(start, Start) == Start("1 × cpu", "native")
    trial.log(3, loss=np.float32(0.5), bad=float("nan"))
    log = wire.read(wire.receive(ours)[0], Log)
    assert (log.step, log.metrics["loss"]) == (3, 0.5)
    assert np.isnan(log.metrics["bad"])
    ours.close()


@pytest.mark.parametrize("changes", [
    {"seed": True}, {"seed": "1"}, {"budget": None}, {"episodes": 100}, {"kind": "order"},
])  # fmt: skip
def test_what_is_no_assignment_is_none(changes):
    told = wire.header(Assignment("Hopper-v5", "native", 1, 2.0)) | changes
    with pytest.raises(wire.WireError):
        wire.read(told, Assignment)


def test_parts_of_a_payload_are_of_it():
    assert wire.split(b"abcdef", 1, 2) == [b"a", b"bc", b"def"]
    for sizes in ((7,), (3, 4), (-1,), (2, -1)):
        with pytest.raises(wire.WireError, match="a payload of 6 bytes with parts of"):
            wire.split(b"abcdef", *sizes)


@pytest.mark.slow
def test_environments_do_not_step_before_the_clock_starts(tmp_path):
    result = run("steps_early.py", tmp_path)
    assert result.exit_code == 1
    assert "before trial.start()" in (tmp_path / "train.log").read_text()


def test_nothing_of_a_training_survives_it(tmp_path):
    before = set(psutil.pids())
    result = run("leaves_daemon.py", tmp_path)
    assert result.policies
    assert psutil.Process().children(recursive=True) == []
    left = [p for p in set(psutil.pids()) - before if "sleep(600)" in " ".join(_command(p))]
    assert left == []


def _command(pid):
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def test_a_message_that_makes_no_sense_ends_the_training(tmp_path):
    result = run("speaks_nonsense.py", tmp_path)
    assert "not a JSON object" in result.protocol_error
    assert result.policies == ()


LOG = {"kind": "log", "step": 1, "metrics": {}, "compile_seconds": 0}


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "log"},
        LOG | {"step": "many"},
        LOG | {"step": float("inf")},
        LOG | {"step": 1.5},
        LOG | {"step": 10**400},
        LOG | {"step": -1},
        LOG | {"step": True},
        LOG | {"metrics": [1]},
        LOG | {"metrics": {"a": "1"}},
        LOG | {"metrics": {"a": None}},
        LOG | {"metrics": {"a": 10**400}},
        LOG | {"metrics": {"a": [1]}},
        LOG | {"metrics": {str(i): 0 for i in range(101)}},
        LOG | {"metrics": {"a\0b": 1}},
        LOG | {"metrics": {"\ud800": 1}},
        LOG | {"metrics": {"x" * 201: 1}},
        LOG | {"compile_seconds": float("nan")},
        LOG | {"compile_seconds": float("inf")},
        LOG | {"compile_seconds": -1},
        LOG | {"avg_return": 10_000},
        {"kind": "start", "backend": "native"},
        {"kind": "start", "backend": "native", "device": [[[]]]},
        {"kind": "start", "backend": "native", "device": "\x1b[2J"},
        {"kind": "start", "backend": {}, "device": "cpu"},
        {"kind": "publish", "program_bytes": 0},
        {"kind": "publish", "program_bytes": -1},
        {"kind": "publish", "program_bytes": 4},
        {"kind": "publish", "program_bytes": True},
        {"kind": "publish", "program_bytes": 1, "params_bytes": [1]},
        {"kind": "publish", "program_bytes": 1, "params_bytes": 1},
        {"kind": "score", "avg_return": 10_000},
        {"kind": ["log"]},
        {},
    ],
)
def test_malformed_messages_are_refused(header):
    seen = training.Training(10.0)
    with pytest.raises(wire.WireError):
        seen.take(header, b"abc", time.monotonic())
    assert (seen.clock_start, seen.started, seen.policies, seen.curve) == (None, False, (), [])


@pytest.mark.parametrize(
    "header",
    [
        b'{"kind": "log", "kind": "publish", "program_bytes": 3}',
        b'{"kind": "start", "backend": "native", "device": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
        b'{"kind": "log", "step": ' + b"9" * 5000 + b"}",
        b"[]",
        b"\xff",
    ],
    ids=["a name twice", "too deep", "too many digits", "no object", "no text"],
)
def test_headers_that_are_not_what_they_should_be_are_refused(header):
    frame = struct.pack("<IQ", len(header), 3) + header + b"abc"
    with pytest.raises(wire.WireError, match="header that is not"):
        wire.Decoder().feed(frame)


@pytest.mark.parametrize("depth", [1, 100, 900, 990, 1000, 5000])
def test_every_level_of_nesting_is_refused_in_a_few_words(depth):
    """Below what JSON can read it is a field of the wrong type."""
    nested = b"[" * depth + b"]" * depth
    header = b'{"kind": "start", "backend": "native", "device": %s}' % nested
    with pytest.raises(wire.WireError) as caught:
        take_all(training.Training(10.0), struct.pack("<IQ", len(header), 0) + header)
    assert len(str(caught.value)) < 200


def take_all(seen, stream):
    """Have a training take all messages of a stream."""
    for header, payload in wire.Decoder().feed(stream):
        seen.take(header, payload, 0.0)


def test_descriptors_that_come_with_messages_are_dropped():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    seen, decoder = training.Training(10.0), wire.Decoder()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        attached = array.array("i", [0] * 250)
        theirs.sendmsg([wire.encode(LOG)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, attached)])
        assert child._read(seen, ours, decoder)
    assert seen.updates == 20
    assert len(os.listdir("/proc/self/fd")) == before
    ours.close()
    theirs.close()


def test_answers_that_nobody_reads_hold_nobody_up():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    seen, decoder = training.Training(10.0), wire.Decoder()
    start = wire.encode({"kind": "start", "device": "cpu", "backend": "native"})
    for _ in range(20_000):
        try:
            theirs.sendall(start)
        except BlockingIOError:
            break
        child._read(seen, ours, decoder)
    assert seen.started
    assert seen.deadline == seen.clock_start + 10.0
    ours.close()
    theirs.close()


def test_a_policy_of_which_a_part_arrives_late_is_late():
    seen, decoder = training.Training(1.0, clock_start=0.0), wire.Decoder()
    frame = wire.encode({"kind": "publish", "program_bytes": 3}, b"abcdef")
    assert decoder.feed(frame[:-1]) == []
    ((header, payload),) = decoder.feed(frame[-1:])
    seen.take(header, payload, 1.1)
    assert (seen.policies, seen.published, seen.late) == ((), 0, 1)


def test_a_curve_keeps_its_ends_and_takes_no_more_memory_than_it_may(monkeypatch):
    monkeypatch.setattr(training, "MAX_CELLS", 600)
    seen, names = training.Training(1e9, clock_start=0.0), [f"m{i}" for i in range(10)]
    for step in range(1000):
        metrics = {name: step for name in names} | {reports.DIVERGED: 2}
        seen.take(LOG | {"step": step, "metrics": metrics}, b"", float(step))
        assert len(seen.curve) * (len(names) + 3) <= 600 + len(names) + 3
    assert [seen.curve[0][:2], seen.curve[-1][:2]] == [(0.0, 0), (999.0, 999)]
    steps = [step for _, step, _ in seen.curve]
    assert steps == sorted(set(steps))
    assert (seen.updates, seen.diverged) == (1000, 2000.0)
    assert seen.steps_per_second == pytest.approx(1.0)


def test_a_training_has_no_more_names_of_metrics_than_its_curve_has_columns():
    told = training.Training(10.0)
    for i in range(training.MAX_METRICS):
        told.take({"kind": "log", "step": i, "metrics": {str(i): 0}, "compile_seconds": 0}, b"", 0)
    one_more = {"kind": "log", "step": 100, "metrics": {"100": 0}, "compile_seconds": 0}
    with pytest.raises(wire.WireError, match="100 names"):
        told.take(one_more, b"", 0)
    long = {"kind": "log", "step": 1, "metrics": {"x" * 201: 0}, "compile_seconds": 0}
    with pytest.raises(wire.WireError, match="200 characters"):
        training.Training(10.0).take(long, b"", 0)


def test_numbers_whose_sums_overflow_are_logged_as_infinite():
    told = training.Training(10.0)
    metrics = {"a": 1.7e308, "b": -1.7e308, "c": float("nan"), "d": -2.5}
    told.take({"kind": "log", "step": 1, "metrics": metrics, "compile_seconds": 0}, b"", 0)
    (_, _, logged) = told.curve[0]
    assert (logged["a"], logged["b"], logged["d"]) == (np.inf, -np.inf, -2.5)
    assert np.isnan(logged["c"])


def test_frames_arrive_whole_however_they_are_cut():
    frames = [({"a": 1}, b"x" * 5000), ({"b": [2]}, b""), ({}, b"\0\n")]
    stream = b"".join(wire.encode(*frame) for frame in frames)
    for size in (1, 7, 4096, len(stream)):
        decoder = wire.Decoder()
        received = []
        for i in range(0, len(stream), size):
            received += decoder.feed(stream[i : i + size])
        assert received == frames


def test_a_gigantic_message_is_refused_before_it_is_read():
    decoder = wire.Decoder()
    with pytest.raises(wire.WireError, match="are allowed"):
        decoder.feed((10).to_bytes(4, "little") + (2**50).to_bytes(8, "little"))


def failure(tmp_path, given=True, **ended):
    (tmp_path / "train.log").write_text("the last line")
    return str(sites._failure(training.Training(10.0, **ended), tmp_path / "train.log", given))


def test_a_failure_is_told_as_it_was_seen(tmp_path, monkeypatch):
    """Without a cause that nobody has looked for."""
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    crashed = failure(tmp_path, exit_code=1, begun=0.0, ended=4.0)
    assert "ended with exit code 1" in crashed
    assert "JAX_ENABLE_X64=1" in crashed
    assert crashed.endswith("the last line")
    policy = Artifact(b"program", b"params")
    left = failure(tmp_path, exit_code=0, begun=0.0, ended=4.0, policies=(policy,))
    assert "never called trial.start(), and ended after 4 s (exit code 0)" in left
    slow = failure(tmp_path, begun=0.0, ended=25.0, clock_start=12.0, allowance=12.0)
    assert "never called trial.start(), in the 12 s after which its clock started by" in slow
    assert "itself. What it published does not count." in slow  # nothing is known of its processors
    assert slow.partition(" Its last output")[0].endswith("compile less or give a longer --budget.")
    for used, busy in ((4.0, ": the machine is busy, or it waited"), (11.0, "")):
        some = {"begun": 0.0, "clock_start": 12.0, "allowance": 12.0, "startup_cpu_seconds": used}
        said = failure(tmp_path, given=False, **some)
        assert f"started by itself ({used:.1f} s of processor time{busy}). What it" in said
        assert "--budget" not in said  # that of a branch is fixed
    late = failure(tmp_path, started=True, begun=0.0, clock_start=3.0, late=1, exit_code=0)
    assert "No policy was published within 10 s" in late
