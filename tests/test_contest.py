"""A branch's experiments as a user types them, and objectives of several tasks."""

import pytest

from harness import experiment, ledger, objective, sandbox, scoring, verdict
from harness.branch import create
from harness.contest import Contest
from harness.errors import InputError
from harness.evaluate import Evaluation
from harness.history import Conditions, History
from harness.integrity import EDITABLE
from harness.ledger import Row
from harness.measurement import Measurement
from harness.tasks import anchors
from harness.training import Training
from tests.conftest import HALF_CHEETAH, TRAIN_FILES, command, git, rows, summary_block

TASKS = ("HalfCheetah-v5", "Hopper-v5")
RUNS = 11


@pytest.fixture(scope="module")
def branch(tmp_path_factory):
    """A checkout on an experiment branch, its baseline measured by the real command."""
    folder = tmp_path_factory.mktemp("branch")
    (folder / "agent_space").mkdir()
    (folder / EDITABLE).write_bytes((TRAIN_FILES / "honest.py").read_bytes())
    (folder / ".gitignore").write_text("/runs/\n/results.tsv\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(folder, *arguments)
    done = command(folder, "harness.run", "--init", "tag", "--budget", 0.5, "--episodes", 2)
    assert done.returncode == 0, done.stderr
    assert summary_block(done.stdout)["branch"] == "autorl/tag"
    return folder


def test_a_worse_edit_gets_one_run_and_its_reason(branch):
    before = (branch / EDITABLE).read_text()
    (branch / EDITABLE).write_text(before.replace("action_size, 0.1", "action_size, 0.9"))
    done = command(branch, "harness.run", "--message", "push harder")
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    assert (block["verdict"], block["replicates"], block["branch"]) == (
        "discard",
        "1",
        "autorl/tag",
    )
    assert "is needed to go on" in block["reason"]
    assert (branch / EDITABLE).read_text() == before
    row = rows(branch)[-1]
    assert (row.status, row.description, row.comparable) == ("discard", "push harder", "yes")
    assert (row.budget, row.episodes, row.role) == ("0.5", "2", "challenger")
    verified = command(branch, "harness.verify", row.run_id)
    assert verified.returncode == 0, verified.stderr


def test_edits_that_change_nothing_go_through_the_whole_machinery(branch):
    count = len(rows(branch))
    committed = (branch / EDITABLE).read_text()
    (branch / EDITABLE).write_text("an edit under way")
    done = command(branch, "harness.run", "--aa", 2)
    assert done.returncode == 0, done.stderr
    assert (branch / EDITABLE).read_text() == "an edit under way"
    (branch / EDITABLE).write_text(committed)
    assert summary_block(done.stdout)["challengers"] == "2"
    tried = {row.challenger for row in rows(branch)[count:] if row.role == "challenger"}
    assert len(tried) == 2


def test_calibration_says_how_noisy_runs_are_and_what_can_be_seen(branch):
    done = command(branch, "harness.calibrate", "--runs", RUNS)
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    assert int(block["runs"]) == len(block["scores"].split()) >= RUNS
    assert float(block["std_between_runs"]) > 0
    assert float(block["std_between_episodes_HalfCheetah-v5"]) > 0
    assert "smallest_detectable_improvement" in block
    assert "of at most 12" in block["replicates"]


def test_a_transfer_table_has_a_line_for_every_task(branch):
    count = len(rows(branch))
    for _ in range(2):
        done = command(branch, "harness.transfer", "--task", "InvertedPendulum-v5,Hopper-v5")
        assert done.returncode == 0, done.stderr
        assert [line.split("|")[1].strip() for line in done.stdout.splitlines()[-2:]] == [
            "InvertedPendulum-v5", "Hopper-v5"
        ]  # fmt: skip
    assert len(rows(branch)) == count + 2  # the second time, they are there


def test_a_run_under_other_conditions_stays_outside_the_contest(branch):
    done = command(branch, "harness.run", "--budget", 1, "--episodes", 2)
    assert done.returncode == 0, done.stderr
    row = rows(branch)[-1]
    assert (row.branch, row.verdict, row.comparable) == ("-", "none", "no")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--init", "tag", "--seed", "1"], "--init takes no --seed"),
        (["--init", "a b"], "cannot be part of a branch name"),
        (["--message", "nothing new"], "nothing to try"),
        (["--task", "Hopper-v5,Hopper-v5", "--init", "x"], "names a task twice"),
        (["--task", "Hopper-v5,CartPole-v1", "--init", "x"], "CartPole-v1 cannot be one of"),
        (["--task", "Hopper-v5,Walker2d-v5"], "give --init"),
        (["--task", "Hopper-v5", "--aa", "2"], "--aa needs an experiment branch"),
        (["--init", "tag", "--budget", "9"], "another --budget would change nothing"),
    ],
)
def test_bad_arguments_get_one_message(branch, arguments, message):
    count = len(rows(branch))
    done = command(branch, "harness.run", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert len(rows(branch)) == count


def test_a_night_takes_no_other_conditions_than_its_branch(branch):
    given = ("--agent", "true", "--budget", "5", "--task", "HalfCheetah-v5", "--tag", "new")
    done = command(branch, "harness.loop", *given)
    assert done.returncode == 2
    assert "autorl/tag is checked out" in done.stderr
    assert "another --tag, --budget would change nothing" in done.stderr


@pytest.mark.parametrize("module", ["harness.calibrate", "harness.transfer"])
def test_without_a_branch_there_is_nothing_to_calibrate_or_to_transfer(tmp_path, module):
    done = command(tmp_path, module)
    assert done.returncode == 2
    assert "--init TAG makes one" in done.stderr


def test_one_task_is_its_return_and_several_are_shares_of_the_way_to_the_reference():
    assert objective.score(["HalfCheetah-v5"], {"HalfCheetah-v5": 1234.0}) == 1234.0
    halfway = {task: (anchors.RANDOM[task] + anchors.AUTORL[task]) / 2 for task in TASKS}
    assert objective.score(TASKS, halfway) == pytest.approx(0.5)
    assert objective.normalised("Ant-v5", anchors.RANDOM["Ant-v5"]) == 0


def test_an_unknown_task_among_several_is_told():
    with pytest.raises(InputError, match="Did you mean"):
        objective.parse("HalfCheetah-v5,Hoper-v5")


def test_a_replicate_of_several_tasks_is_judged_when_all_are_there(tmp_path, monkeypatch):
    """Training and evaluation are replaced by returns that are twice the reference's."""

    def measure(this, watch, announce):
        request = this.request
        value = anchors.AUTORL[request.task_id] * (2 if b"better" in request.source else 1)
        value *= 1 + this.seed % 1000 / 10_000
        score = scoring.Score(Evaluation([value], [1], [0], 0.0), "00", "00")
        return Measurement(Training(1.0), score)

    monkeypatch.setattr(experiment, "_measure", measure)
    (tmp_path / "agent_space").mkdir()
    (tmp_path / EDITABLE).write_text("first")
    (tmp_path / ".gitignore").write_text("/runs/\n/results.tsv\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(tmp_path, *arguments)
    conditions = Conditions(TASKS, ("auto", "auto"), 1.0, 1, sandbox=sandbox.NONE)
    contest = Contest(create(tmp_path, "several"), conditions, "none")
    assert len(contest.measure()) == verdict.BASELINE_RUNS
    assert len(rows(tmp_path)) == 2 * verdict.BASELINE_RUNS
    assert contest.history.conditions == conditions
    (tmp_path / EDITABLE).write_text("better")
    outcome = contest.challenge("twice as good")
    assert outcome.verdict == "keep"
    assert min(outcome.scores) > 1.9
    mine = [row for row in rows(tmp_path) if row.role == "challenger"]
    assert [row.task for row in mine] == list(TASKS) * len(outcome.scores)
    assert {row.verdict for row in mine[::2]} == {"go on"}


def test_a_trial_that_goes_on_with_other_hardware_is_a_new_challenger_of_the_branch():
    usual = dict.fromkeys(ledger.COLUMNS, "-") | {"branch": "autorl/tag", "role": "challenger"}
    trials = [Row(**usual | {"challenger": name * 12, "harness": "f 2x cpu"}) for name in "aba"]
    assert History(trials, "autorl/tag", "f 2x cpu").number("a" * 40) == 1
    assert History(trials, "autorl/tag", "f 2x cpu").number("c" * 40) == 3
    assert History(trials, "autorl/tag", "f 16x cpu").number("a" * 40) == 3


def test_nothing_is_judged_against_an_incumbent_that_lacks_runs(root, monkeypatch):
    ongoing = Contest(create(root, "tag"), HALF_CHEETAH, "none")
    ongoing.measure()
    part = ongoing._part("challenger", "a" * 40, "a" * 40, 1)
    assert ongoing._rule(part, "HalfCheetah-v5", "scored", -1e9).status == "discard"
    monkeypatch.setattr(History, "missing", lambda self: [5])
    ruling = ongoing._rule(part, "HalfCheetah-v5", "scored", -1e9)
    assert (ruling.status, ruling.verdict) == ("scored", "go on")
    assert "incumbent" in ruling.reason
