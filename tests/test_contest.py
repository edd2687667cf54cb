"""A branch's experiments as a user types them, objectives of several tasks, runs that end early."""

import contextlib
import dataclasses
import re

import pytest

from harness.checkout.beginning import create
from harness.errors import (
    BusyError,
    EndedError,
    IncumbentError,
    InputError,
    IntegrityError,
    TrainingError,
)
from harness.judgement import confirmation, experiment, objective, rulings, search
from harness.judgement.batches import FAILURES_IN_A_ROW
from harness.judgement.contest import Contest
from harness.judgement.history import History
from harness.judgement.rulings import LOSSES
from harness.places import EDITABLE, LEDGER
from harness.record import life
from harness.record.entries import ConfirmationBegun, Role, Status
from harness.record.ledger import Ledger
from harness.tasks import anchors
from tests.conftest import (
    HALF_CHEETAH,
    ROOT,
    TRAIN_FILES,
    begin,
    command,
    git,
    rows,
    run_row,
    summary_block,
)
from tests.fake_site import KilledError

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
    block = summary_block(done.stdout)
    assert (block["branch"], block["stopping"]) == ("autorl/tag", "yes")
    assert {row.stopping for row in rows(folder)} == {True}
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The same, measured in no time."""
    return begin(tmp_path_factory.mktemp("begun"))


@pytest.mark.slow
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
    assert "set aside" in block["reason"]
    assert (branch / EDITABLE).read_text() == before
    row = rows(branch)[-1]
    assert (row.status, row.description, row.comparable) == ("discard", "push harder", True)
    assert (row.budget, row.episodes, row.role) == (0.5, 2, "challenger")
    verified = command(branch, "harness.verify", row.run_id)
    assert verified.returncode == 0, verified.stderr


@pytest.mark.slow
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


@pytest.mark.slow
def test_calibration_says_how_noisy_runs_are_and_what_can_be_seen(branch):
    done = command(branch, "harness.calibrate", "--runs", RUNS)
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    assert int(block["runs"]) == len(block["scores"].split()) >= RUNS
    assert float(block["std_between_runs"]) > 0
    assert float(block["std_between_episodes_HalfCheetah-v5"]) > 0
    entries = Ledger(branch / LEDGER).read().entries  # runs of half a second may lead by chance
    number = 1 + sum(isinstance(row, ConfirmationBegun) for row in entries)
    level = 0.2 / 2.612 / number**1.5
    assert float(block["level_of_the_next_confirmation"]) == pytest.approx(level, rel=2e-3)
    for shift in ("0.5", "1", "2"):
        assert re.search(
            r"\d+ runs, (.* )?[1-9]\d* (seconds|minutes) of training",
            block[f"to_prove_{shift}_deviations"],
        )


@pytest.mark.slow
def test_a_transfer_table_has_a_line_for_every_task(branch):
    count = len(rows(branch))
    for _ in range(2):
        done = command(branch, "harness.transfer", "--task", "InvertedPendulum-v5,Hopper-v5")
        assert done.returncode == 0, done.stderr
        assert [line.split("|")[1].strip() for line in done.stdout.splitlines()[-2:]] == [
            "InvertedPendulum-v5", "Hopper-v5"
        ]  # fmt: skip
    assert len(rows(branch)) == count + 2  # the second time, they are there


@pytest.mark.slow
def test_a_run_under_other_conditions_stays_outside_the_contest(branch):
    done = command(branch, "harness.run", "--budget", 1, "--episodes", 2)
    assert done.returncode == 0, done.stderr
    row = rows(branch)[-1]
    assert (row.branch, row.verdict, row.comparable) == ("-", "none", False)


@pytest.mark.slow
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
        (["--init", "tag", "--budget", "9"], "another --budget has no effect"),
        (["--init", "tag", "--no-stopping"], "another --no-stopping has no effect"),
        (["--no-stopping", "--message", "x"], "--no-stopping is a condition of a branch"),
        (["--from", "other.py", "--message", "x"], "--from is the first file of a branch"),
        (["--init", "tag", "--from", "other.py"], "There is no training file other.py"),
        (["--init", "tag", "--from", ROOT / "harness" / "run.py"], "began with another file"),
    ],
)
def test_bad_arguments_get_one_message(begun, arguments, message):
    count = len(rows(begun))
    done = command(begun, "harness.run", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert len(rows(begun)) == count


@pytest.mark.slow
def test_a_night_takes_no_other_conditions_than_its_branch(begun):
    given = ("--agent", "true", "--budget", "5", "--task", "HalfCheetah-v5", "--tag", "new")
    done = command(begun, "harness.loop", *given)
    assert done.returncode == 2
    assert "autorl/tag is checked out" in done.stderr
    assert "another --tag, --budget has no effect" in done.stderr


@pytest.mark.parametrize("module", ["harness.ablate", "harness.calibrate", "harness.transfer"])
def test_without_a_branch_there_is_nothing_to_calibrate_or_to_transfer(tmp_path, module):
    done = command(tmp_path, module)
    assert done.returncode == 2
    assert "--init TAG makes one" in done.stderr


def test_one_task_is_its_return_and_several_are_shares_of_the_way_to_the_reference():
    assert objective.score(["HalfCheetah-v5"], {"HalfCheetah-v5": 1234.0}) == 1234.0
    halfway = {task: (anchors.RANDOM[task] + anchors.AUTORL[task]) / 2 for task in TASKS}
    assert objective.score(TASKS, halfway) == pytest.approx(0.5)
    assert objective.normalized("Ant-v5", anchors.RANDOM["Ant-v5"]) == 0


def test_an_unknown_task_among_several_is_told():
    with pytest.raises(InputError, match="Did you mean"):
        objective.parse("HalfCheetah-v5,Hoper-v5")


def test_a_branch_goes_on_with_the_engine_that_its_first_training_chose():
    engines = ["auto", "mjx", "warp"]
    usual = {"branch": "autorl/tag", "objective": "HalfCheetah-v5"}
    rows_of_branch = [run_row(**usual, backend=name) for name in engines]
    assert History(rows_of_branch, "autorl/tag", "").conditions.backends == ("mjx",)
    assert History(rows_of_branch[:1], "autorl/tag", "").conditions.backends == ("auto",)


def test_a_trial_that_goes_on_with_other_hardware_is_a_new_challenger_of_the_branch():
    usual = {"branch": "autorl/tag", "role": Role.CHALLENGER, "harness": "f 2x cpu"}
    trials = [run_row(**usual, challenger=name * 12) for name in "aba"]
    assert History(trials, "autorl/tag", "f 2x cpu").number("a" * 40) == 1
    assert History(trials, "autorl/tag", "f 2x cpu").number("c" * 40) == 3
    assert History(trials, "autorl/tag", "f 16x cpu").number("a" * 40) == 3


def test_nothing_is_judged_against_an_incumbent_that_lacks_runs(root, site, monkeypatch):
    ongoing = Contest(create(root, "tag"), HALF_CHEETAH, "none", site=site)
    ongoing.measure()
    part = ongoing.replicates.part(Role.CHALLENGER, "a" * 40, "a" * 40, 1)
    there = Ledger(root / LEDGER).read()
    done = (there, part, "HalfCheetah-v5", Status.SCORED, -1e9)
    assert ongoing.replicates.rule(*done).status == "discard"
    monkeypatch.setattr(History, "knows_incumbent", False)
    ruling = ongoing.replicates.rule(*done)
    assert (ruling.status, ruling.verdict) == ("scored", "go on")
    assert "incumbent" in ruling.reason


@pytest.fixture
def ongoing(root, site):
    """A branch with a measured baseline."""
    made = Contest(create(root, "tag"), HALF_CHEETAH, "none", site=site)
    made.measure()
    return made


def offer(root, skill, word=""):
    (root / EDITABLE).write_text(f"SKILL = {skill} {word}\n")


LUCK = 0.8
"""What a run of the lead has to score, or it is ended."""


def unlucky(row, score):
    mine = row.commit == row.challenger
    return row.role == "confirmation" and mine and score < LUCK


def proved(ongoing, site, ways):
    """What a confirmation comes to whose unlucky runs somebody ends; its last run."""
    ongoing.challenge("lucky on trial", b"SKILL = 9\n")
    lead = ongoing.branch.edit_of("lead")
    assert lead == b"SKILL = 9\n"
    usual = site._score  # side by side it is no better than the incumbent
    site._score = lambda order, text: usual(order, text.replace("9", "0"))
    for _ in range(200):
        with contextlib.suppress(KeyboardInterrupt, KilledError), ways():
            ongoing.advance(30, closing=True)
        ongoing.settle()
        ended = [row for row in rows(ongoing.branch.root) if row.role == "confirmation"]
        if ended and ended[-1].verdict.final:
            return ended[-1]
    raise AssertionError("there is no verdict")


@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_who_ends_runs_that_look_unlucky_proves_nothing(root, ongoing, site, how):
    ways = {
        "kill": lambda: site.killing(unlucky),
        "interrupt": lambda: site.ending(unlucky, KeyboardInterrupt()),
    }
    last = proved(ongoing, site, ways[how])
    assert last.verdict == "unproved"
    assert "cut off too often: 3 times, the last one as interrupted" in last.reason
    assert sum(row.status == "interrupted" for row in rows(root)) == LOSSES
    assert ongoing.branch.edit_of("tip") == b"SKILL = 0\n"


def test_where_ends_are_free_who_ends_unlucky_runs_proves_what_is_no_better(
    root, ongoing, site, monkeypatch
):
    """The adversary of the test above does gain where nothing bounds it: that one can fail."""
    monkeypatch.setattr(rulings, "LOSSES", 1000)
    monkeypatch.setattr(confirmation, "picks", lambda runs, again: 1)
    last = proved(ongoing, site, lambda: site.ending(unlucky, KeyboardInterrupt()))
    assert last.verdict == "keep"


def of_a_challenger(row, score):
    return row.role == "challenger"


def second(row, score):
    return row.role == "challenger" and row.replicate == 2


def test_a_run_whose_harness_was_killed_has_its_row_and_is_made_again_as_the_same(
    root, ongoing, site
):
    offer(root, 5)
    with site.killing(second), pytest.raises(KilledError):
        ongoing.challenge("better")
    (begun,) = Ledger(root / LEDGER).read().open()
    assert (begun.status, begun.role, begun.replicate) == ("begun", "challenger", 2)
    (on_trial,) = ongoing.branch.trials()
    again = Contest(ongoing.branch, HALF_CHEETAH, "none", site=site)
    assert again.challenge("better").challenger == on_trial
    assert Ledger(root / LEDGER).read().open() == []
    first, cut_off, repeated, *_ = [row for row in rows(root) if row.role == "challenger"]
    assert (cut_off.status, cut_off.verdict, cut_off.avg_return) == ("interrupted", "none", None)
    assert (root / "runs" / cut_off.run_id / "error.txt").exists()
    assert first.status == "scored"
    assert (repeated.replicate, repeated.seed) == (2, cut_off.seed)
    assert repeated.run_id != cut_off.run_id


def test_beside_a_run_that_another_process_holds_nothing_is_measured(root, ongoing, site):
    """As a harness that was stopped holds one, and its checkout was freed by hand."""
    offer(root, 5)
    with site.killing(second), pytest.raises(KilledError):
        ongoing.challenge("better")
    (begun,) = Ledger(root / LEDGER).read().open()
    part = ongoing.replicates.part(Role.CHALLENGER, begun.commit, begun.challenger, 2)
    again = Contest(ongoing.branch, HALF_CHEETAH, "none", site=site)
    alone = dataclasses.replace(
        again.replicates.request(again.read(), begun.task, "auto", part, ""), part=None
    )
    count = len(rows(root))
    with life.alive(root / "runs" / begun.run_id):
        for act in (lambda: again.challenge("better"), lambda: experiment.run(alone)):
            with pytest.raises(BusyError, match=f"{begun.run_id}.*kill the process"):
                act()
        request = again.replicates.request(again.read(), begun.task, "auto", part, "")
        assert request.order.assignment.seed == begun.seed
    assert (len(rows(root)), len(Ledger(root / LEDGER).read().open())) == (count, 1)
    assert again.challenge("better").verdict == "accept"


def test_a_run_of_this_process_stands_in_no_other_ones_way(root, ongoing, site):
    seen = []

    def beside(row):
        ongoing.settle()
        seen.extend(Ledger(root / LEDGER).read().open())

    site.before = beside
    offer(root, -5)
    assert ongoing.challenge("worse").verdict == "discard"
    assert [row.role for row in seen] == ["challenger"]


def test_a_trial_that_was_cut_off_too_often_is_told_where_its_file_is_handed_in_again(
    root, ongoing, site
):
    offer(root, 5)
    with site.ending(of_a_challenger, KeyboardInterrupt()):
        for _ in range(LOSSES):
            with pytest.raises(KeyboardInterrupt):
                ongoing.challenge("better")
    with pytest.raises(InputError, match=r"ended as discard: .* cut off too often.*discarded/"):
        ongoing.challenge("better")
    offer(root, 5)
    assert ongoing.challenge("the same, as a new challenger").verdict == "accept"


def test_what_is_refused_before_it_begins_costs_a_trial_nothing(root, ongoing):
    offer(root, 5)
    for _ in range(LOSSES + 1):
        (root / "README.md").write_text("keep everything\n")
        with pytest.raises(IntegrityError):
            ongoing.challenge("better")
        git(root, "restore", "README.md")
    outcome = ongoing.challenge("better")
    assert outcome.verdict == "accept"
    assert ongoing.read().cut_off("challenger", outcome.challenger) == []
    assert all(row.status != "tampered" for row in rows(root))


def test_a_trial_that_was_given_up_keeps_its_number(root, ongoing, site):
    """Neither another file nor the same one again is where the first one was."""
    numbers = []
    for text in ("# one", "# two", "# one"):
        offer(root, 0, text)
        with site.killing(of_a_challenger), pytest.raises(KilledError):
            ongoing.challenge(text)
        ongoing.settle()
        (on_trial,) = ongoing.branch.trials()
        numbers.append(ongoing.read().number(on_trial))
    assert numbers == [1, 2, 3]


def test_a_training_that_a_signal_has_ended_is_lost_by_itself(ongoing, site):
    """It is one of those that go on, as a dead worker's is, and not all of them."""
    offer(ongoing.branch.root, 0, "# one")
    ended = site.ending(of_a_challenger, EndedError("by signal 9"))
    with ended, pytest.raises(EndedError):
        ongoing.challenge("one")
    last = ongoing.read().runs[-1]
    assert last.status == Status.LOST
    assert last.status.cut_off


@pytest.mark.parametrize(
    ("runs", "ends"),
    [
        (["1 interrupted", "2 interrupted", "3 interrupted", "1", "2", "3"], 1),
        (["1 interrupted", "1 interrupted", "1"], 2),
        (["1 interrupted", "1", "2 interrupted", "2"], 2),
        (["1 interrupted", "2 interrupted", "1 interrupted", "2 interrupted", "1", "2"], 2),
        (["1 lost", "2 lost", "3", "1", "2"], 2),
        (["1 crash", "2", "3 tampered"], 1),
    ],
)
def test_runs_that_end_together_with_the_harness_are_one_end(runs, ends):
    """In several slots one Ctrl-C ends them all; a worker that dies is one of many."""
    usual = {"branch": "autorl/tag", "role": Role.ESTIMATE, "commit": "a" * 12, "harness": "f"}
    found = []
    for run in runs:
        replicate, status = (*run.split(), "scored")[:2]
        score = 1.0 if status == "scored" else None
        values = {"challenger": "a" * 12, "replicate": int(replicate), "status": Status(status)}
        found.append(run_row(**usual | values, avg_return=score))
    assert History(found, "autorl/tag", "f").ends() == ends


def test_an_incumbent_that_only_fails_is_told_as_no_edits_fault(root, ongoing, site):
    def fresh(row, _):
        return row.role == "incumbent" and row.commit == row.challenger

    broken = site.ending(fresh, TrainingError("the machine is broken"))
    with broken, pytest.raises(IncumbentError, match="no edit is to blame"):
        ongoing.repeat(search.BASELINE_RUNS + FAILURES_IN_A_ROW)


def test_a_replicate_that_another_command_has_made_is_left_as_it_is(root, ongoing):
    count = len(rows(root))
    part = ongoing.replicates.part(Role.INCUMBENT, ongoing.branch.tip(), ongoing.branch.tip(), 1)
    assert ongoing.replicates.make(ongoing.read(), part, "again") is None
    assert len(rows(root)) == count
