"""The clock is the parent's, and what counts is what arrived in time."""

import time

import numpy as np
import psutil
import pytest

from harness import sandbox, training, wire
from harness.training import Assignment, train
from tests.conftest import TRAIN_FILES

BUDGET = 1.5


def run(name, tmp_path, budget=BUDGET, seed=11):
    assignment = Assignment(
        TRAIN_FILES / name, "HalfCheetah-v5", "native", seed, budget, sandbox.available(), tmp_path
    )
    return train(assignment, tmp_path / "train.log")


def published_value(result):
    """The first parameter of the policy that will be scored."""
    import io

    with np.load(io.BytesIO(result.artifact.params)) as arrays:
        return float(arrays["param_000"].flat[0])


def test_a_file_that_overruns_is_scored_on_what_it_published_in_time(tmp_path):
    result = run("overruns.py", tmp_path)
    assert published_value(result) == 1.0
    assert result.curve == []
    assert result.exit_code is None  # it was ended
    assert time.monotonic() < result.deadline + training.EXIT_GRACE + 2


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


def test_the_start_up_allowance_is_the_most_that_can_be_gained(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "STARTUP_ALLOWANCE", 4.0)
    result = run("never_starts.py", tmp_path, budget=1.0)
    assert not result.started
    assert result.clock_start == result.begun + 4.0
    assert time.monotonic() < result.begun + 4.0 + 1.0 + training.EXIT_GRACE + 2


def test_environments_do_not_step_before_the_clock_starts(tmp_path):
    result = run("steps_early.py", tmp_path)
    assert result.exit_code == 1
    assert "before trial.start()" in (tmp_path / "train.log").read_text()


def test_nothing_of_a_training_survives_it(tmp_path):
    before = set(psutil.pids())
    result = run("leaves_daemon.py", tmp_path)
    assert result.artifact is not None
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
    assert result.artifact is None


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "log"},
        {"kind": "log", "step": "many", "metrics": {}, "compile_seconds": 0},
        {"kind": "publish", "program_bytes": 0},
        {"kind": "score", "avg_return": 10_000},
        {"kind": "log", "step": float("inf"), "metrics": {}, "compile_seconds": 0},
        {"kind": "log", "step": 10**400, "metrics": {}, "compile_seconds": 0},
        {"kind": "log", "step": -1, "metrics": {}, "compile_seconds": 0},
        {"kind": "log", "step": 1, "metrics": [1], "compile_seconds": 0},
        {
            "kind": "log",
            "step": 1,
            "metrics": {str(i): 0 for i in range(101)},
            "compile_seconds": 0,
        },
        {},
    ],
)
def test_malformed_messages_are_refused(header):
    with pytest.raises(wire.WireError):
        training.Training(10.0).take(header, b"", time.monotonic())


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
