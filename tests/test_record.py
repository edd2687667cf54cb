"""The checkout is what was committed, and the record is what was written."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness import places, replay, verify
from harness.checkout import integrity
from harness.checkout.beginning import create
from harness.checkout.integrity import Guard
from harness.confinement import sandbox
from harness.errors import InputError, IntegrityError, LedgerError, StandstillError
from harness.judgement import experiment, search
from harness.judgement.contest import Contest
from harness.judgement.history import History
from harness.measurement import instrument, training
from harness.record.entries import Role, Verdict
from harness.record.ledger import Ledger
from harness.record.runs import Record
from harness.record.snapshot import HEADERS
from harness.system import machine
from tests.conftest import (
    HALF_CHEETAH,
    ROOT,
    TRAIN_FILES,
    command,
    git,
    rows,
    run_row,
    summary_block,
)
from tests.fake_site import FakeSite, KilledError


@pytest.fixture
def committed(checkout):
    """A checkout in which everything is committed."""
    (checkout / ".gitignore").write_text("/runs/\n/results.tsv\n")
    (checkout / "program.md").write_text("be honest")
    (checkout / "README.md").write_text("one\ntwo\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(checkout, *arguments)
    return checkout


def test_train_py_and_what_is_ignored_may_differ(committed):
    (committed / "agent_space" / "train.py").write_text("# an idea")
    (committed / "results.tsv").write_text("")
    (committed / "runs").mkdir()
    (committed / "runs" / "notes").write_text("")
    Guard(committed).check()


def hide(folder):
    git(folder, "update-index", "--assume-unchanged", "README.md")
    (folder / "README.md").write_text("keep everything")


def hide_in_ignored_folder(folder):
    (folder / "sitecustomize").mkdir()
    (folder / "sitecustomize" / ".gitignore").write_text("*\n")
    (folder / "sitecustomize" / "__init__.py").write_text("cheat = True")


def hide_in_index(folder):
    (folder / "numpy.py").write_text("cheat = True")
    git(folder, "add", "numpy.py")


def link(folder):
    (folder / "runs").mkdir()
    (folder / "numpy").symlink_to("runs")


@pytest.mark.parametrize(
    ("tamper", "path"),
    [
        (lambda folder: (folder / "README.md").write_text("keep everything"), "README.md"),
        (lambda folder: (folder / "README.md").unlink(), "README.md"),
        (lambda folder: (folder / "numpy.py").write_text("cheat = True"), "numpy.py"),
        (lambda folder: (folder / "numpy.pyc").write_text("cheat = True"), "numpy.pyc"),
        (lambda folder: (folder / ".gitignore").write_text("*"), ".gitignore"),
        (hide, "README.md"),
        (hide_in_ignored_folder, "sitecustomize/__init__.py"),
        (hide_in_index, "numpy.py"),
        (link, "numpy"),
    ],
    ids=[
        "changed",
        "removed",
        "added",
        "bytecode",
        "ignore file",
        "hidden from git's index",
        "a folder that ignores itself",
        "hidden in git's index",
        "link",
    ],
)
def test_any_other_difference_is_listed(committed, tamper, path):
    tamper(committed)
    with pytest.raises(IntegrityError, match=path):
        Guard(committed).check()


@pytest.mark.parametrize(
    "path",
    [".claude/settings.local.json", ".~lock.results.tsv#", "nohup.out", "night.log", "core.1234",
     "scripts/.ipynb_checkpoints/plot-checkpoint.py", "uv.lock", ".codex/config", ".envrc",
     ".python-version", "agent_space/.train.py.swp", "#program.md#", "notes.txt"],
)  # fmt: skip
def test_what_python_cannot_import_may_lie_about(committed, path):
    (committed / path).parent.mkdir(parents=True, exist_ok=True)
    (committed / path).write_text("{}")
    Guard(committed).check()
    assert integrity.put_back(committed, committed / "runs" / "tampered") == []


def test_links_in_the_place_of_folders_of_ours_and_of_locks_are_no_tampering(committed, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in (".venv", "runs"):
        (committed / name).symlink_to(tmp_path / "elsewhere")
    (committed / "agent_space" / ".#train.py").symlink_to("me@host.1")
    Guard(committed).check()


def test_a_run_may_see_of_a_checkout_what_is_committed(committed):
    (committed / "weights.npz").write_text("learned earlier")
    (committed / "agent_space" / "notes.txt").write_text("learned earlier")
    listed = integrity.listed(committed)
    assert "README.md" in listed
    assert not {"weights.npz", "agent_space/notes.txt", *integrity.FREE} & set(listed)
    assert integrity.listed(committed / "agent_space") is None


def test_the_human_edits_the_program_when_they_like(committed):
    guard = Guard(committed)
    (committed / "program.md").write_text("be bold")
    guard.check()
    assert integrity.put_back(committed, committed / "runs" / "tampered") == []
    assert (committed / "program.md").read_text() == "be bold"


def test_lines_that_end_as_in_windows_are_the_same_lines(committed):
    """As a clone with core.autocrlf=true has them; git itself calls that clean."""
    for path in ("README.md", ".gitignore"):
        file = committed / path
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    Guard(committed).check()
    (committed / "README.md").write_bytes(b"one\r\n2\r\n")
    with pytest.raises(IntegrityError, match=r"README\.md"):
        Guard(committed).check()


def test_what_changes_during_a_run_is_listed_too(committed):
    guard = Guard(committed)
    guard.check()
    (committed / "README.md").write_text("keep everything")
    git(committed, "commit", "-qam", "as if nothing had happened")
    with pytest.raises(IntegrityError, match=r"README\.md"):
        guard.check()


def test_a_repository_inside_the_checkout_is_found_and_put_away(committed):
    (committed / "numpy").mkdir()
    (committed / "numpy" / "__init__.py").write_text("")
    git(committed / "numpy", "init", "-q")
    with pytest.raises(IntegrityError, match="numpy/"):
        Guard(committed).check()
    assert integrity.put_back(committed, committed / "runs" / "tampered") == ["numpy/"]
    assert (committed / "runs" / "tampered" / "numpy" / "__init__.py").exists()
    Guard(committed).check()


def test_what_was_tampered_with_is_put_back_and_a_copy_kept(committed):
    (committed / "README.md").write_text("keep everything")
    (committed / "numpy.py").write_text("cheat = True")
    (committed / "agent_space" / "train.py").write_text("# an idea")
    git(committed, "add", "README.md", "numpy.py")
    changed = integrity.put_back(committed, committed / "runs" / "tampered")
    assert changed == ["README.md", "numpy.py"]
    Guard(committed).check()
    assert (committed / "README.md").read_text() == "one\ntwo\n"
    assert (committed / "agent_space" / "train.py").read_text() == "# an idea"
    assert (committed / "runs" / "tampered" / "README.md").read_text() == "keep everything"
    git(committed, "diff", "--cached", "--exit-code")


def test_what_is_put_back_never_follows_a_link_out_of_the_checkout(committed, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (committed / "docs").mkdir()
    (committed / "docs" / "page.md").write_text("a page")
    git(committed, "add", "docs")
    git(committed, "commit", "-qm", "a page")
    shutil.rmtree(committed / "docs")
    (committed / "docs").symlink_to(elsewhere)
    changed = integrity.put_back(committed, committed / "runs" / "tampered")
    assert changed == ["docs", "docs/page.md"]
    assert (committed / "docs" / "page.md").read_text() == "a page"
    assert not (committed / "docs").is_symlink()
    assert not (elsewhere / "page.md").exists()


def test_what_a_person_commits_between_runs_is_accepted(committed):
    (committed / "README.md").write_text("be bold")
    git(committed, "commit", "-qam", "another direction")
    Guard(committed).check()


def test_a_tampered_checkout_gets_its_exit_code_and_nothing_is_started(harness_run, committed):
    (committed / "README.md").write_text("keep everything")
    done = harness_run("--train", TRAIN_FILES / "honest.py", "--budget", 1, "--episodes", 1)
    assert done.returncode == 7
    assert "Changed outside agent_space/train.py: README.md" in done.stderr
    assert Ledger(committed / "results.tsv").rows() == []
    assert not (committed / "runs").exists()


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A checkout with one scored run, and the run's id."""
    folder = tmp_path_factory.mktemp("scored")
    train = str(TRAIN_FILES / "honest.py")
    done = command(folder, "harness.run", "--train", train, "--budget", "1", "--episodes", "3")
    return folder, summary_block(done.stdout)["run_id"]


@pytest.mark.slow
def test_a_run_is_scored_again_to_the_last_bit(scored):
    folder, run_id = scored
    done = command(folder, "harness.verify", run_id)
    assert done.returncode == 0, done.stderr
    assert f"{run_id}: scored again, equal to the last bit" in done.stdout


@pytest.mark.parametrize(
    ("key", "forge", "message"),
    [
        ("avg_return", lambda value: value + 1000, "the average is not that of the episodes"),
        (
            "evaluation_nonce",
            lambda value: "00" * 32,
            "the episode seeds do not follow from policy",
        ),
        ("artifact_sha256", lambda value: "00" * 32, "the policy is not the one that was scored"),
    ],
)
def test_a_forged_summary_is_told(scored, key, forge, message):
    folder, run_id = scored
    path = folder / "runs" / run_id / "summary.json"
    whole = path.read_text()
    details = json.loads(whole)
    path.write_text(json.dumps({**details, key: forge(details[key])}))
    try:
        done = command(folder, "harness.verify")
        assert done.returncode == 5
        assert f"{run_id}: {message}" in done.stderr
    finally:
        path.write_text(whole)


def test_rows_that_were_cut_off_are_missed_by_their_folders(scored):
    """Whoever deletes the head as well leaves the folder of a run that no row names."""
    folder, run_id = scored
    ledger = Ledger(folder / "results.tsv")
    rows, end = ledger.path.read_bytes(), ledger.head.read()
    ledger.path.write_bytes(rows.splitlines(keepends=True)[0])
    ledger.head.path.unlink()
    try:
        done = command(folder, "harness.verify")
        assert done.returncode == 5
        assert f"{run_id}: has a score, and results.tsv has no row of it" in done.stderr
        assert "its end not known here" in done.stdout
    finally:
        ledger.path.write_bytes(rows)
        ledger.head.write(end)


@pytest.mark.slow
def test_a_replay_trains_again_and_says_whether_it_agrees(scored):
    folder, run_id = scored
    path = folder / "runs" / run_id / "summary.json"
    details = json.loads(path.read_text())
    assert details["startup_allowance"] == training.STARTUP_ALLOWANCE
    path.write_text(json.dumps(details | {"startup_allowance": 77.0}))  # as on a branch
    done = command(folder, "harness.replay", run_id)
    assert done.returncode == 0, done.stderr
    block = summary_block(done.stdout)
    again = json.loads((folder / "runs" / block["run_id"] / "summary.json").read_text())
    assert again["startup_allowance"] == 77.0
    returns = [one["episode_returns"] for one in (details, again)]
    middle, replayed = map(np.mean, returns)
    half = 1.959964 * np.sqrt(sum(np.var(some) / len(some) for some in returns))
    assert block["interval"].startswith(f"{middle - half:.2f} to {middle + half:.2f} (95%, from")
    assert block["within"] == ("yes" if abs(replayed - middle) <= half else "no")
    row = Ledger(folder / "results.tsv").rows()[-1]
    first = Ledger(folder / "results.tsv").rows()[0]
    assert (row.description, row.seed, row.comparable) == (f"replay of {run_id}", first.seed, False)


@pytest.mark.slow
def test_a_replay_is_confined_whatever_a_folder_from_elsewhere_says(scored):
    folder, run_id = scored
    copy = folder / "runs" / "20261126-000000-0badf00d"
    shutil.copytree(folder / "runs" / run_id, copy)
    details = json.loads((copy / "summary.json").read_text())
    boasted = {"sandbox": "none", "episode_returns": [1e6, 1e6 + 1, 1e6 + 2]}
    (copy / "summary.json").write_text(json.dumps(details | boasted))
    try:
        done = command(folder, "harness.replay", copy.name)
    finally:
        shutil.rmtree(copy)
    assert summary_block(done.stdout)["within"] == "no"
    assert Ledger(folder / "results.tsv").rows()[-1].sandbox == sandbox.available()


def test_of_two_instruments_a_replay_names_what_is_not_the_same():
    then, now = "aaa 2x cpu; jax 1, mujoco 3", "aaa 2x cpu; brax 2, jax 1, mujoco 3"
    assert replay._other(then, now) == "then nothing else; now brax 2"
    assert (
        replay._other("aaa 2x cpu; jax 1", "bbb 2x cpu; jax 2") == "then aaa, jax 1; now bbb, jax 2"
    )


def test_a_replay_is_compared_with_runs_of_its_own_instrument_only(tmp_path):
    book = Ledger(tmp_path / "results.tsv")
    tools = ["here", "elsewhere", "here", "elsewhere"]
    for number, tool in enumerate(tools):
        book.append(run_row(str(number), commit="a", avg_return=float(number), harness=tool))
    first = book.runs()[0]
    assert replay._siblings(tmp_path, first, "here") == [0.0, 2.0]
    assert replay._siblings(tmp_path, first, "elsewhere") == []


def baseline(startups, tasks=("A",), tool="here", **changes):
    """Rows of a branch whose first file has been measured."""
    usual = {
        "branch": "autorl/tag", "role": Role.INCUMBENT, "commit": "a", "challenger": "a",
        "objective": ",".join(tasks), "budget": 10.0, "episodes": 1, "harness": tool,
    }  # fmt: skip
    return [
        run_row(**usual | {"task": task, "startup": float(startup) if startup else None} | changes)
        for startup in startups
        for task in tasks
    ]


def allowance(made, task="A"):
    return History(made, "autorl/tag", "here").allowance(task)


def test_a_branchs_first_runs_lay_down_how_long_a_start_up_may_take():
    assert allowance(baseline(["11", "9", "8"])) is None
    first = baseline(["31", "9", "8", "10", "12"])  # the first one reads from the disk
    assert allowance(first) == 9 + 3
    assert allowance(first, "B") is None
    long = baseline(["31", "9", "8", "10", "12"], budget=720.0)
    assert allowance(long) == 9 + 0.05 * 720


def test_who_has_some_start_ups_last_longer_gains_nothing():
    assert allowance(baseline(["30", "30", "2.5", "2.5", "2.5", "2.5", "2.5"])) == 2.5 + 3


def test_nothing_that_comes_later_lengthens_it():
    first = baseline(["9", "9", "9", "9", "9", "9", "9", "9", "9", "9"])
    later = [
        *baseline(["90"] * 9, role=Role.CHALLENGER, commit="b", challenger="b"),
        *baseline(["90"] * 9, challenger="b"),  # the incumbent beside it
        *baseline(["90"] * 9, commit="b", challenger="b", verdict=Verdict.KEEP),
        *baseline(["90"] * 9),  # calibration
        *baseline(["90"] * 9, tool="elsewhere"),
    ]
    assert allowance([*first, *later]) == 9 + 3


def test_a_branch_from_before_start_ups_were_in_the_ledger_lays_none_down():
    assert allowance(baseline([""] * 10)) is None
    grown = [*baseline([""] * 10), *baseline(["9"] * 5, commit="b", challenger="b")]
    assert allowance(grown) == 9 + 3


def test_a_challengers_start_up_beyond_that_is_on_its_clock_and_in_the_reason(root):
    allowed = []

    def score(order, text):
        allowed.append(order.allowance)
        return float(text.split()[2])

    def starts_late(row, measured):
        trained = measured.training
        trained.clock_start = trained.begun + 2.0
        if row.role == "challenger":
            trained.allowance = allowed[-1]
            trained.excess, trained.startup_cpu_seconds = 7.5, 3.0

    site = FakeSite(score=score)
    site.after = starts_late
    contest = Contest(create(root, "tag"), HALF_CHEETAH, "none", site=site)
    (root / places.EDITABLE).write_text("SKILL = -9\n")
    contest.challenge("begins to train before its clock")
    assert allowed == [*[None] * search.BASELINE_RUNS, pytest.approx(5.0)]
    row = rows(root)[-1]
    assert row.verdict == "discard"
    assert row.reason.endswith(
        "Its start-up took 12.5 s, of which 5.0 are free (it used 3.0 s of processor time in "
        "these); the rest was on the clock."
    )


def damage(folder):
    """Change a row that is there."""
    path = folder / "results.tsv"
    path.write_bytes(path.read_bytes().replace(b"the incumbent", b"an incumbent", 1))


def test_a_score_outlives_a_ledger_that_is_damaged_while_it_is_made(root, site):
    contest = Contest(create(root, "tag"), HALF_CHEETAH, "none", site=site)
    contest.measure()
    site.before = lambda row: damage(root)
    (root / places.EDITABLE).write_text("SKILL = 9\n")
    there = set((root / "runs").iterdir())
    with pytest.raises(LedgerError, match="line 3") as caught:
        contest.challenge("better")
    (folder,) = set((root / "runs").iterdir()) - there
    assert str(folder) in str(caught.value)
    assert json.loads((folder / "summary.json").read_text())["avg_return"] > 5


def test_what_ended_a_run_outlives_a_ledger_that_is_damaged_meanwhile(root, site):
    contest = Contest(create(root, "tag"), HALF_CHEETAH, "none", site=site)
    contest.measure()

    site.before = lambda row: damage(root)
    (root / places.EDITABLE).write_text("SKILL = 9 crash\n")
    there = set((root / "runs").iterdir())
    with pytest.raises(LedgerError, match="line 3") as caught:
        contest.challenge("better")
    (folder,) = set((root / "runs").iterdir()) - there
    assert str(folder) in str(caught.value)
    assert (folder / "error.txt").read_text() == "as the file wants it\n"


@pytest.mark.slow
def test_a_run_during_which_we_stood_still_is_made_again(root, site):
    contest = Contest(create(root, "tag"), HALF_CHEETAH, "none", site=site)
    still = [3, 6]  # one of the incumbent's and one challenger's

    def stands_still(row):
        if len(rows(root)) in still:
            still.remove(len(rows(root)))
            raise StandstillError("The harness stood still for 42.0 s.")

    site.before = stands_still
    (root / places.EDITABLE).write_text("SKILL = 9\n")
    assert contest.challenge("better").verdict == "accept"
    assert still == []
    lost = [row for row in rows(root) if not row.scored]
    assert [(row.status, row.verdict) for row in lost] == [("interrupted", "none")] * 2


def test_the_summary_says_what_the_row_says(root, site):
    contest = Contest(create(root, "tag"), HALF_CHEETAH, "none", site=site)
    (root / places.EDITABLE).write_text("SKILL = -9\n")
    contest.challenge("worse")
    row = rows(root)[-1]
    details = json.loads((root / "runs" / row.run_id / "summary.json").read_text())
    assert (row.verdict, row.reason) == (details["verdict"], details["reason"])
    assert row.verdict == "discard"
    assert row.startup == round(details["startup_seconds"], 2)


def test_an_environment_that_changes_the_folder_moves_no_record(root, site, monkeypatch, tmp_path):
    asked = []

    def ask(request):
        asked.append(request)
        raise KilledError

    usual = Contest(create(root, "tag"), HALF_CHEETAH, "none", ask, site)
    with pytest.raises(KilledError):
        usual.measure()
    monkeypatch.chdir(root)
    site.before = lambda row: monkeypatch.chdir(tmp_path)
    summary = experiment.run(dataclasses.replace(asked[0], root=Path()))
    (row,) = rows(root)
    assert row.run_id == summary.run_id
    assert (root / "runs" / row.run_id / "summary.json").exists()
    assert not (tmp_path / "results.tsv").exists()


def test_a_ledger_from_before_a_column_is_read_and_goes_on_without_it(tmp_path):
    header = "\t".join(HEADERS[2]) + "\n"
    path = tmp_path / "results.tsv"
    path.write_text(header)
    book = Ledger(path)
    assert book.rows() == []
    for number in range(2):
        book.append(run_row(f"{number}", startup=3.1))
    assert [(row.run_id, row.startup) for row in book.rows()] == [("0", None), ("1", None)]
    assert path.read_text().startswith(header)
    book.check()
    path.write_text(header.replace("harness\t", ""))
    with pytest.raises(LedgerError, match="line 1"):
        book.rows()


def test_the_ledgers_of_the_evidence_are_read():
    paths = [
        p for p in (ROOT / "docs" / "evidence").rglob("*.tsv") if "\treason\t" in p.read_text()
    ]
    assert len(paths) > 50
    assert all(Ledger(path).rows() for path in paths)


def test_what_is_not_here_as_it_was_when_a_run_was_scored_is_named():
    details = {"versions": machine.versions(), "machine": instrument.where()}
    assert verify._elsewhere(details) == ""
    assert verify._elsewhere({}) == ""
    older = {"versions": details["versions"] | {"jax": "0.0.1"}, "machine": "arm, 1x Old, Linux-1"}
    assert verify._elsewhere(older) == "; it was scored with jax 0.0.1, arm, 1x Old"


def test_a_run_without_a_score_is_told_with_its_reason(tmp_path):
    (tmp_path / "runs" / "r").mkdir(parents=True)
    (tmp_path / "runs" / "r" / "error.txt").write_text("as the file wants it")
    with pytest.raises(InputError, match=r"has no score: .*error\.txt says why"):
        Record.load(tmp_path, "r")


@pytest.mark.parametrize("module", ["harness.replay", "harness.verify"])
def test_a_run_that_is_not_there_is_told(scored, module):
    done = command(scored[0], module, "../elsewhere")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_prediction_interval_is_students():
    """By hand: mean 2, deviation 1, three runs: t(0.975, 2) = 4.3027 × √(4/3)."""
    low, high = replay.prediction_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.96830, 2 + 4.96830), abs=1e-4)


def test_a_harness_that_was_changed_since_the_process_began_is_listed(committed, monkeypatch):
    Guard(committed).check()
    changed = integrity.harness_files() | {"verdict.py": "another"}
    monkeypatch.setattr(integrity, "harness_files", lambda: changed)
    with pytest.raises(IntegrityError, match=r"verdict\.py"):
        Guard(committed).check()


def test_a_harness_from_a_checkout_is_named_by_its_commit(committed, monkeypatch):
    (committed / "harness").mkdir()
    (committed / "harness" / "verdict.py").write_text("KEEP = False\n")
    git(committed, "add", "harness")
    git(committed, "commit", "-qm", "a harness")
    monkeypatch.setattr(integrity, "PACKAGE", committed / "harness")
    (committed / "README.md").write_text("not the harness")
    name = integrity.harness_commit()
    assert name == integrity.commit(committed)[0].rstrip("+")
    (committed / "harness" / "verdict.py").write_text("KEEP = True\n")
    assert integrity.harness_commit() == f"{name}+"
    monkeypatch.setattr(integrity, "PACKAGE", committed / "runs" / "harness")
    assert integrity.harness_commit() == "-"


def test_a_git_that_fails_is_not_taken_for_a_missing_one(committed):
    (committed / ".git" / "config").write_text("no config")
    with pytest.raises(InputError, match=r"git cannot read this checkout: .*config"):
        Guard(committed)
