"""What trackers get: CleanRL's names, environment steps, finite numbers; never at a run's cost."""

import math
import sys

import pytest
import wandb
from tensorboardX.proto.event_pb2 import Event

from harness.errors import InputError
from harness.measurement import tracking
from harness.measurement.training import Training
from tests.conftest import summary_block

SUMMARY = {"run_id": "20260101-000000-aa", "task": "Hopper-v5", "avg_return": 12.5,
           "total_seconds": 3.0, "seed": 7}  # fmt: skip


@pytest.fixture
def training():
    made = Training(1.0)
    for i in range(1, 501):
        metrics = {f"losses/metric_{k}": float(i * k) for k in range(12)}
        made.curve.append((i / 10, i * 4096, {**metrics, "charts/episodic_return": math.nan}))
    return made


def events(folder):
    """Scalars of an event file: (name, step, value, time)."""
    (path,) = folder.glob("events.out.tfevents.*")
    data, found = path.read_bytes(), []
    while data:  # length, its checksum, the event, its checksum
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        found += [
            (value.tag, event.step, value.simple_value, event.wall_time)
            for value in event.summary.value
            if value.HasField("simple_value")
        ]
        data = data[16 + length :]
    return found


def test_tensorboard_gets_every_finite_metric_at_its_step(tmp_path, training):
    tracking.track(tmp_path, training, SUMMARY)
    scalars = events(tmp_path)
    assert not [value for _, _, value, _ in scalars if math.isnan(value)]
    mine = [(step, value) for name, step, value, _ in scalars if name == "losses/metric_3"]
    assert mine == [(i * 4096, i * 3.0) for i in range(1, 501)]
    (score,) = [entry for entry in scalars if entry[0] == "eval/avg_return"]
    assert score[1:3] == (500 * 4096, 12.5)
    times = [time for name, _, _, time in scalars if name == "losses/metric_3"]
    assert times[-1] - times[0] == pytest.approx(49.9)


def test_a_long_training_is_thinned_out():
    made = Training(1.0)
    made.curve += [(i / 10, i, {"a": 1.0}) for i in range(10 * tracking.MAX_POINTS)]
    steps = [point.step for point in tracking.points(made)]
    assert tracking.MAX_POINTS / 2 < len(steps) <= tracking.MAX_POINTS
    assert steps[-1] > 9.9 * tracking.MAX_POINTS


@pytest.mark.slow
def test_a_run_leaves_an_event_file_under_cleanrls_names(harness_run, checkout):
    done = harness_run("--task", "InvertedPendulum-v5", "--budget", 4, "--episodes", 2)
    assert done.returncode == 0, done.stderr
    run_id = summary_block(done.stdout)["run_id"]
    names = {name for name, _, _, _ in events(checkout / "runs" / run_id)}
    losses = {f"losses/{word}" for word in ("policy_loss", "value_loss", "approx_kl", "entropy")}
    assert losses | {"charts/learning_rate", "charts/episodic_return", "eval/avg_return"} <= names


def test_weights_and_biases_gets_the_same_offline(tmp_path, training, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv(tracking.WANDB_VARIABLE, "")
    tracking.use_wandb("autorl")
    tracking.track(tmp_path, training, SUMMARY)
    wandb.teardown()  # its service would end before the test process does, and say so
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))


def test_a_tracker_that_fails_costs_a_note(tmp_path, training, capsys):
    tracking.track(tmp_path / "missing" / "\0", training, SUMMARY)
    said = capsys.readouterr().err
    assert said.startswith("note: TensorBoard has no metrics of this run")


def test_without_its_package_weights_and_biases_is_refused_before_the_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install -e .\.\[wandb\]"):
        tracking.use_wandb("autorl")
