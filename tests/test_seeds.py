"""Several seeds in one program: a policy from each, scored by itself, and one run of all."""

import dataclasses
import io
import json
import socket
import statistics

import jax.numpy as jnp
import numpy as np
import pytest

from harness import check, replay, tasks, verify
from harness.checkout.beginning import create
from harness.confinement import sandbox
from harness.contract import wire
from harness.contract.messages import Log, Publish
from harness.contract.order import MAX_SEEDS, SEED_BITS, Assignment, Order
from harness.contract.policy import load
from harness.contract.reports import DIVERGED
from harness.engines import backends
from harness.errors import InputError, LedgerError, PolicyError, TaskError
from harness.evaluate import Evaluation, evaluate
from harness.judgement import experiment, notes, search
from harness.judgement.contest import Contest
from harness.measurement import cluster, instrument, scoring, sites
from harness.measurement.sites import Measurement
from harness.measurement.training import Training
from harness.morning import singles
from harness.night import brief
from harness.places import LEDGER
from harness.record.entries import ConfirmationBegun, Role
from harness.record.ledger import Ledger
from harness.record.runs import Record
from harness.record.snapshot import HEADERS
from harness.terminal import options
from harness.trial import Trial
from tests.conftest import HALF_CHEETAH, TRAIN_FILES, rows, run_row
from tests.fake_site import FakeSite
from tests.train_files import side_by_side

TASK = "InvertedPendulum-v5"
SEED, COUNT, EPISODES = 7, 3, 2


def evaluate_nothing():
    return Evaluation([1.0], [1], [0], 0.0)


def trial_of(count, seed=SEED, backend="native", channel=None):
    return Trial(Assignment(TASK, backend, seed, 60.0, count), channel)


def played(artifact, seeds):
    """The episodes of one policy by itself, in this process."""
    spaces = backends.spaces(tasks.get(TASK), "native")
    return evaluate(load(artifact, *spaces), TASK, seeds)


def test_seeds_follow_from_the_first_and_nobody_chooses_them():
    few, many = (Assignment(TASK, "auto", SEED, 1.0, count).seeds for count in (COUNT, MAX_SEEDS))
    assert (few[0], few, len(set(many))) == (SEED, many[:COUNT], MAX_SEEDS)
    assert all(0 <= seed < 2**SEED_BITS for seed in many)
    assert set(Assignment(TASK, "auto", SEED + 1, 1.0, COUNT).seeds).isdisjoint(few)
    assert Assignment(TASK, "auto", SEED, 1.0).seeds == (SEED,)
    for count in (0, MAX_SEEDS + 1):
        with pytest.raises(ValueError, match="can be trained at once"):
            Assignment(TASK, "auto", SEED, 1.0, count)


@pytest.mark.slow
def test_seeds_side_by_side_learn_what_each_learns_alone():
    trial = trial_of(COUNT, backend="mjx")
    env = trial.make_env(side_by_side.NUM_ENVS)
    all_of_them, one = (side_by_side.compiled(env, count) for count in (COUNT, 1))
    trial.start()
    weights = side_by_side.fit(*all_of_them, trial.seeds)
    assert weights.shape[0] == COUNT
    alone = [side_by_side.fit(*one, [seed])[0] for seed in trial.seeds]
    np.testing.assert_allclose(weights, alone, rtol=1e-4, atol=1e-5)
    assert np.ptp(weights, axis=0).min() > 0.01  # each has learned something else


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A checkout with a run of several seeds, and the run's summary."""
    folder = tmp_path_factory.mktemp("seeds")
    order = Order(Assignment(TASK, "native", SEED, 1.0, COUNT), EPISODES, sandbox.available())
    source = (TRAIN_FILES / "publishes_each.py").read_bytes()
    return folder, experiment.run(experiment.Request(folder, source, order, "seeds", True))


def test_each_policy_is_of_its_seed_and_scored_by_itself(scored):
    folder, summary = scored
    record = Record.load(folder, summary.run_id)
    seeds = Assignment(TASK, "native", SEED, 1.0, COUNT).seeds
    assert [policy["seed"] for policy in record.details["policies"]] == [*seeds]
    for seed, policy in zip(seeds, record.policies, strict=True):
        with np.load(io.BytesIO(policy.artifact().params)) as arrays:
            assert {np.float32(seed)} <= {x.item() for x in map(np.ravel, arrays.values())}
        assert policy.returns == played(policy.artifact(), policy.seeds).returns
    assert len({policy.details["evaluation_nonce"] for policy in record.policies}) == COUNT
    means = [statistics.fmean(policy.returns) for policy in record.policies]
    assert summary.policy_returns == tuple(means)
    assert len(set(means)) > 1
    assert summary.avg_return == pytest.approx(statistics.fmean(means))


def test_a_run_of_several_seeds_is_one_row_with_the_mean_of_all(scored):
    folder, summary = scored
    (row,) = rows(folder)
    assert (row.run_id, row.seed, row.num_seeds) == (summary.run_id, SEED, COUNT)
    assert row.avg_return == pytest.approx(summary.avg_return, abs=1e-4)
    assert len(singles.episodes(folder, row)) == COUNT * EPISODES
    low, high = min(summary.policy_returns), max(summary.policy_returns)
    assert row.reason == f"Its {COUNT} policies have {low:,.4g} to {high:,.4g}."
    curve = (folder / "runs" / row.run_id / "curve.csv").read_text().splitlines()
    assert curve[0] == "seconds,step,charts/episodic_return"
    assert curve[-1].endswith(f",{64 * COUNT},{(COUNT - 1) / 2:g}")


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda policies: policies[:-1], f"it has {COUNT - 1} policies, the ledger {COUNT} seeds"),
        (lambda policies: policies[::-1], "the policy is not the one that was scored"),
        (
            lambda policies: [*policies[:2], policies[2] | {"evaluation_nonce": "00" * 32}],
            "the episode seeds do not follow from policy and nonce",
        ),
        (
            lambda policies: [*policies[:2], policies[2] | {"episode_returns": [1e6] * EPISODES}],
            "the average is not that of the episodes",
        ),
        (
            lambda policies: [*policies[:2], policies[2] | {"seed": SEED}],
            "the seeds of its policies do not follow from that of the run",
        ),
    ],
)
def test_a_forged_policy_of_one_seed_is_told(scored, forge, message):
    folder, summary = scored
    record, (row,) = Record.load(folder, summary.run_id), rows(folder)
    assert record.faults(row) == []
    details = record.details | {"policies": forge(record.details["policies"])}
    assert message in dataclasses.replace(record, details=details).faults(row)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy_returns", [1e6] * COUNT), ("num_seeds", 1), ("std_return", 1e6),
        ("max_return", 1e6), ("second_return", 1e6),
    ],
)  # fmt: skip
def test_a_forged_figure_of_a_summary_is_told(scored, name, value):
    folder, summary = scored
    record, (row,) = Record.load(folder, summary.run_id), rows(folder)
    (fault,) = dataclasses.replace(record, details=record.details | {name: value}).faults(row)
    assert fault.startswith(f"{name} is {value}, its episodes say ")


@pytest.mark.parametrize("told", [{"policies": {"a": 1}}, {"policies": [{}] * 33}, [], "x"])
def test_a_folder_from_elsewhere_that_is_none_of_ours_is_refused(tmp_path, told):
    folder = tmp_path / "runs" / "r0"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="cannot be read"):
        Record.load(tmp_path, "r0")


def test_the_deviation_between_episodes_is_that_of_each_policy(scored):
    """What the policies differ by is no scatter of episodes."""
    folder, summary = scored
    by_policy = [policy.returns for policy in Record.load(folder, summary.run_id).policies]
    assert summary.std_return == pytest.approx(np.sqrt(np.mean(np.var(by_policy, axis=1))))
    assert summary.std_return < np.std(by_policy)
    apart = [[0.0, 0.0], [10.0, 10.0]]
    assert replay.episode_interval(apart, apart) == (5.0, 5.0)
    low, high = replay.episode_interval([[0.0, 2.0]] * 2, [[0.0, 2.0]] * 2)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(1 / 4 + 1 / 4), rel=1e-3)


def test_copies_of_a_policy_are_told():
    assert notes.spread([1.0], ["a"]) == ""
    assert notes.spread([1.0, 3.0], ["a", "b"]) == "Its 2 policies have 1 to 3."
    assert notes.spread([1.0, 3.0, 2.0], ["a"] * 3).endswith("1 to 3. They are copies of 1.")


def test_a_worker_that_sends_other_than_a_score_for_each_seed_has_not_answered():
    score = scoring.Score(evaluate_nothing(), "00", "00")
    for count in (0, 1, COUNT + 1):
        answer = Measurement(Training(1.0), (score,) * count), {}
        with pytest.raises(cluster._StrangeAnswerError, match=f"{count} scores where 3 are"):
            cluster._checked(answer, COUNT)
    answer = Measurement(Training(1.0), (score,) * COUNT), {}
    assert cluster._checked(answer, COUNT)[0] is answer[0]


def test_all_policies_of_a_run_share_the_time_that_one_would_have(tmp_path, monkeypatch):
    limits = []

    def score(artifact, task_id, episodes, place, limit):
        limits.append(limit)
        return scoring.Score(evaluate_nothing(), "00", "00")

    monkeypatch.setattr(scoring, "score", score)
    order = Order(Assignment(TASK, "native", SEED, 1.0, 4), EPISODES, sandbox.NONE)
    training = Training(1.0, num_seeds=4, policies=("a", "b", "c", "d"))
    sites._scored(training, order, tmp_path, lambda text: None)
    assert limits == [scoring.EVALUATION_LIMIT / 4] * 4


def test_each_policy_of_a_run_is_scored_again(scored, monkeypatch):
    folder, summary = scored
    record = Record.load(folder, summary.run_id)
    asked = []

    def again(artifact, task_id, seeds, simulator, place):
        asked.append(artifact.digest)
        return played(artifact, seeds)

    monkeypatch.setattr(scoring, "evaluate_apart", again)
    assert verify._scores_again(record, folder)
    assert asked == [policy.artifact().digest for policy in record.policies]
    worse = json.loads(json.dumps(record.details))
    worse["policies"][-1]["episode_returns"][0] += 1
    assert not verify._scores_again(dataclasses.replace(record, details=worse), folder)


def test_a_file_cannot_hand_over_one_policy_for_all(scored):
    trial = trial_of(COUNT)
    with pytest.raises(RuntimeError, match=r"has 3 seeds.*trial\.publish_each"):
        trial.publish(lambda params, obs: obs @ params, jnp.zeros((4, 1)))
    with pytest.raises(PolicyError, match=r"of 3 policies take [\d,]+ bytes; 67,108"):
        trial.publish_each(lambda params, obs: obs @ params, np.zeros((3, 2**23), np.float32))
    with pytest.raises(PolicyError, match=r"shape \(2, 4, 1\) are not those of 3 policies"):
        trial.publish_each(lambda params, obs: obs @ params, jnp.zeros((2, 4, 1)))


@pytest.mark.parametrize("count", [1, COUNT])
def test_policies_of_all_seeds_come_in_one_message(count):
    ours, theirs = socket.socketpair()
    trial = trial_of(count, channel=theirs)
    params, carry = jnp.arange(4.0 * count).reshape(count, 4, 1), jnp.ones((count, 2))

    def act(params, carry, obs):
        return obs @ params, carry

    seen = Training(60.0, clock_start=0.0, num_seeds=count)
    for number in (1, 2):  # the second time without the program
        trial.publish_each(act, params, carry)
        header, payload = wire.receive(ours)
        assert (wire.read(header, Publish).program_bytes > 0) == (number == 1)
        seen.take(header, payload, 1.0)
        assert seen.published == number
    for k, artifact in enumerate(seen.policies):
        assert artifact.program == seen.policies[0].program
        with np.load(io.BytesIO(artifact.params)) as arrays:
            np.testing.assert_array_equal(arrays["param_000"], params[k])
            np.testing.assert_array_equal(arrays["carry_000"], carry[k])
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "policies of 1 seeds, not of 3"),
        ({"params_bytes": [1]}, "policies of 2 seeds, not of 3"),
        ({"params_bytes": [1, 1, 1]}, "policies of 4 seeds, not of 3"),
        ({"params_bytes": [4, 4]}, "a payload of 6 bytes with parts of"),
        ({"params_bytes": [-1, 1]}, "a payload of 6 bytes with parts of"),
        ({"params_bytes": [True, 1]}, "params_bytes"),
    ],
)
def test_fewer_or_more_policies_than_seeds_are_none(told, message):
    seen = Training(60.0, clock_start=0.0, num_seeds=COUNT)
    seen.take({"kind": "publish", "program_bytes": 2, "params_bytes": [1, 2]}, b"prabbc", 1.0)
    before = seen.policies
    assert [one.params for one in before] == [b"a", b"bb", b"c"]
    with pytest.raises(wire.WireError, match=message):
        seen.take({"kind": "publish", "program_bytes": 2} | told, b"prabbc", 2.0)
    assert (seen.policies, seen.published) == (before, 1)


def test_one_policy_that_is_refused_fails_the_run(tmp_path, monkeypatch):
    """A file that is good from one seed alone has no score, or the mean of all."""
    training = Training(1.0, num_seeds=2, policies=("good", "bad"))
    order = Order(Assignment(TASK, "native", SEED, 1.0, 2), EPISODES, sandbox.NONE)

    def score(artifact, task_id, episodes, place, limit):
        if artifact == "bad":
            raise TaskError("NaN.")
        return scoring.Score(None, "00", "00")

    monkeypatch.setattr(scoring, "score", score)
    said = []
    with pytest.raises(TaskError, match=r"^Policy 2 of 2: NaN\."):
        sites._scored(training, order, tmp_path, said.append)
    assert said == [f"policy {n} of 2: evaluating {EPISODES} episodes" for n in (1, 2)]


def test_what_is_logged_of_each_seed_is_reported_as_its_mean():
    ours, theirs = socket.socketpair()
    trial = trial_of(COUNT, channel=theirs)
    nan = float("nan")
    trial.log(1, a=jnp.array([1.0, nan, 3.0]), b=np.full(COUNT, nan), c=4)
    told = wire.read(wire.receive(ours)[0], Log).metrics
    assert (told["a"], told["c"], np.isnan(told["b"])) == (2.0, 4.0, True)
    trial.log(1, **{DIVERGED: [1, 0, 2], "d": [5.0]})
    assert wire.read(wire.receive(ours)[0], Log).metrics == {DIVERGED: 3.0, "d": 5.0}
    with pytest.raises(ValueError, match=r"given a of shape \(2,\).*or one for each of 3 seeds"):
        trial.log(1, a=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"given a of shape \(2,\): one number is needed\."):
        trial_of(1).log(1, a=[1.0, 2.0])
    ours.close()
    theirs.close()


def test_workers_send_the_policies_of_all_seeds_back():
    for name in ("policy/policy.bin", "policy-1/params.npz", f"policy-{MAX_SEEDS - 1}/policy.bin"):
        assert cluster.SENT.fullmatch(name)
    for name in ("policy-1", "policy-123/policy.bin", "policy-a/b", "policy-1/../b", "policy-1/.b"):
        assert not cluster.SENT.fullmatch(name)
    assert 2 * MAX_SEEDS + 2 <= cluster.MOST_FILES


def test_a_ledger_without_the_column_holds_no_run_of_several_seeds(tmp_path):
    path = tmp_path / LEDGER
    path.write_text("\t".join(HEADERS[-2]) + "\n")
    assert Ledger(path).append(run_row("r0")).runs()[-1].num_seeds == 1
    with pytest.raises(LedgerError, match="did not record num_seeds"):
        Ledger(path).append(run_row("r1", num_seeds=2))
    path = tmp_path / "other.tsv"
    assert Ledger(path).append(run_row("r0", num_seeds=2)).runs()[-1].num_seeds == 2


@pytest.fixture
def side_by_side_branch(root):
    """A branch whose trainings have several seeds, and the orders of its runs."""
    orders = []

    def score(order, text):
        orders.append(order)
        return float(text.split()[2]) + len(orders) % 2

    conditions = dataclasses.replace(HALF_CHEETAH, num_seeds=COUNT)
    site = FakeSite(score=score)
    contest = Contest(create(root, "tag"), conditions, sandbox.available(), site=site)
    contest.measure()
    return contest, orders


def test_the_score_of_a_run_is_the_mean_of_its_policies(side_by_side_branch):
    """The site gives each policy another score: the first one alone would be one lower."""
    contest, orders = side_by_side_branch
    assert {row.avg_return for row in contest.read().runs} == {0.0, 1.0}
    assert len(orders) > 1


def test_a_place_of_a_confirmation_is_a_process_and_not_a_seed(side_by_side_branch):
    """Seeds of one process share what happens to it: lots are drawn over what does not."""
    contest, _ = side_by_side_branch
    contest.challenge("an edit", b"SKILL = 9\n")
    assert contest.advance(closing=True, asked=True)
    entries = Ledger(contest.branch.root / LEDGER).read().entries
    (begun,) = [row for row in entries if isinstance(row, ConfirmationBegun)]
    runs = [row for row in contest.read().runs if row.role == Role.CONFIRMATION]
    assert {row.num_seeds for row in runs} == {COUNT}
    assert len({row.replicate for row in runs}) == len(runs)
    places = [is_lead for block in begun.lots.blocks for is_lead in block]
    ran = [row.commit == row.challenger for row in runs]
    assert ran == [bool(is_lead) for is_lead in places[: len(ran)]]


def test_the_number_of_seeds_is_a_condition_of_a_branch(side_by_side_branch, monkeypatch):
    """The same for all files, and told before each run: no file and no edit chooses it."""
    contest, orders = side_by_side_branch
    assert len(orders) == len(contest.read().runs) == search.BASELINE_RUNS  # one row a process
    assert contest.read().conditions.num_seeds == COUNT
    contest.challenge("an edit", b"SKILL = 9\n")
    assert {order.assignment.num_seeds for order in orders} == {COUNT}
    entries = Ledger(contest.branch.root / LEDGER).read().entries
    begun = [row for row in entries if getattr(row, "begun", False)]
    assert {row.num_seeds for row in begun} == {COUNT}
    told = brief._variables(contest.conditions)
    assert told["AUTORL_SEEDS"] == str(COUNT)
    assert "`trial.publish_each`" in brief._side_by_side(COUNT)
    assert brief._side_by_side(1) == ""
    monkeypatch.chdir(contest.branch.root)
    assert check._conditions(None, None, None, False, None).num_seeds == COUNT
    assert check._conditions(None, None, None, False, 1).num_seeds == 1
    with pytest.raises(InputError, match="another --seeds has no effect"):
        options.check_conditions(contest, "tag", None, None, None, seeds=COUNT + 1)
    options.check_conditions(contest, "tag", None, None, None, seeds=COUNT)


def test_several_seeds_are_for_accelerators(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(instrument, "accelerators", list)
    assert [options.check_seeds(count) for count in (None, 1)] == [1, 1]
    with pytest.raises(InputError, match="--seeds 2 needs an accelerator"):
        options.check_seeds(2)
    monkeypatch.setattr(instrument, "accelerators", lambda: ["NVIDIA H100"])
    assert options.check_seeds(2) == 2
    (tmp_path / LEDGER).write_text("\t".join(HEADERS[-2]) + "\n")
    with pytest.raises(InputError, match=r"begun by an earlier harness\. Move it"):
        options.check_seeds(2)
