"""An experiment branch: its tip is the incumbent, nothing is lost, and a kill changes nothing.

Everything is real but training and evaluation: a training file says itself what it is worth.
"""

import random
import subprocess

import pytest

from harness.checkout.beginning import create
from harness.checkout.branch import Branch, current
from harness.errors import IncumbentError, InputError, IntegrityError, TrainingError
from harness.judgement import estimate, experiment, search
from harness.judgement.batches import FAILURES_IN_A_ROW
from harness.judgement.contest import Contest, known, resume
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Renewed
from harness.record.ledger import Ledger
from tests.conftest import HALF_CHEETAH, git, rows
from tests.fake_site import KilledError

RUNS = 20
"""For a confirmation that closes a night."""


@pytest.fixture
def contest(root, site):
    """A branch with a measured baseline."""
    made = Contest(create(root, "test"), HALF_CHEETAH, "none", site=site)
    made.measure()
    return made


def edit(root, skill, word=""):
    """An idea, in the working tree."""
    (root / EDITABLE).write_text(f"SKILL = {skill} {word}\n")


def refs(root):
    listing = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/autorl"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return dict(line.split() for line in listing.splitlines())


def test_a_branch_begins_where_the_user_is_and_changes_no_file(root):
    (root / EDITABLE).write_text("SKILL = 1 # not committed\n")
    branch = create(root, "nov23")
    assert current(root) == "nov23"
    assert branch.edit() == b"SKILL = 1 # not committed\n"
    assert branch.edit_of("tip") == b"SKILL = 0\n"


OTHER = b"SKILL = 3\n"


def test_a_branch_can_begin_with_another_file_which_is_its_baseline(root, site):
    branch = create(root, "test")
    for _ in range(2):
        branch.begin_with(OTHER, "Begin from other.py")
    assert branch.edit_of("tip") == branch.edit() == OTHER
    assert [branch.message(commit) for commit in branch.log()] == ["Begin from other.py", "start"]
    status = ("git", "status", "--porcelain")
    assert subprocess.run(status, cwd=root, capture_output=True, check=True).stdout == b""
    contest = Contest(branch, HALF_CHEETAH, "none", site=site)
    contest.settle()
    contest.measure()
    assert contest.settle() == []
    assert {branch.edit_of(run.commit) for run in contest.read().runs} == {OTHER}


def test_a_file_that_nobody_committed_is_not_lost_to_a_beginning(root):
    branch = create(root, "test")
    edit(root, 7)
    with pytest.raises(InputError, match="is not as it was committed"):
        branch.begin_with(OTHER, "Begin from other.py")
    assert branch.edit() == b"SKILL = 7 \n"
    assert branch.edit_of("tip") == b"SKILL = 0\n"


@pytest.mark.parametrize("place", ["write", "_commit", "_update"])
def test_a_kill_in_the_middle_of_a_beginning_is_made_good(root, monkeypatch, place):
    branch = create(root, "test")
    kill_at(monkeypatch, place)
    with pytest.raises(KilledError):
        branch.begin_with(OTHER, "Begin from other.py")
    branch.begin_with(OTHER, "Begin from other.py")
    branch.check_unworked()
    assert branch.edit_of("tip") == branch.edit() == OTHER
    assert branch.trials() == []


def test_a_branch_name_is_checked_and_never_taken_twice(root):
    create(root, "one")
    with pytest.raises(InputError, match="There is a branch autorl/one already"):
        create(root, "one")
    with pytest.raises(InputError, match="cannot be part of a branch name"):
        create(root, "../main")


@pytest.mark.parametrize("skill", [5, -5], ids=["accepted", "discarded"])
def test_a_branch_that_was_worked_on_is_not_measured_without_its_rows(root, contest, site, skill):
    edit(root, skill)
    contest.challenge("tried")
    (root / LEDGER).rename(root / "notes.tsv")
    (root / "runs").rename(root.parent / "runs")
    assert "begins anew" in Ledger(root / LEDGER).renew()
    edit(root, 10)
    again = Contest(contest.branch, HALF_CHEETAH, "none", site=site)
    ways = (
        again.settle,
        lambda: again.challenge("from one again"),
        lambda: resume(root, str, experiment.run),
    )
    for way in ways:
        with pytest.raises(InputError, match=r"no row of it.*Restore it.*another tag"):
            way()
    assert [type(row) for row in Ledger(root / LEDGER).rows()] == [Renewed]
    Contest(create(root, "another"), HALF_CHEETAH, "none", site=site).settle()


def test_a_name_whose_challengers_are_there_is_not_begun_anew(root, contest):
    edit(root, -5)
    contest.challenge("worse")
    git(root, "switch", "-q", "--detach")
    git(root, "branch", "-D", "autorl/test")
    (root / LEDGER).unlink()
    with pytest.raises(InputError, match="Challengers were tried on autorl/test"):
        create(root, "test")


def test_outside_git_no_branch_can_begin(tmp_path):
    with pytest.raises(InputError, match="git init"):
        create(tmp_path, "one")


def test_the_baseline_is_measured_as_often_as_the_rule_needs(root, contest):
    assert len(rows(root)) == search.BASELINE_RUNS
    assert {row.role for row in rows(root)} == {"incumbent"}
    assert len({row.seed for row in rows(root)}) == search.BASELINE_RUNS
    assert contest.measure() == known(contest.branch).fresh()
    assert len(rows(root)) == search.BASELINE_RUNS


def test_a_better_edit_leads_and_is_kept_and_measured_anew_once_it_is_proved(root, contest):
    before = contest.branch.tip()
    edit(root, 5)
    outcome = contest.challenge("five more")
    assert outcome.verdict == "accept"
    assert f"({len(outcome.scores)} runs) against" in outcome.reason
    assert (contest.branch.tip(), contest.branch.stack()) == (before, [outcome.challenger])
    assert contest.branch.edit() == contest.branch.edit_of("lead") == b"SKILL = 5 \n"
    assert contest.branch.edit_of("tip") == b"SKILL = 0\n"
    said = contest.advance(RUNS, closing=True)
    assert said[-1].endswith("proved.")
    assert (contest.branch.tip(), contest.branch.stack()) == (outcome.challenger, [])
    fresh = contest.read().fresh()
    assert len(fresh) == search.ESTIMATE_RUNS
    decided = [row.avg_return for row in rows(root) if row.role != "estimate"]
    assert not set(fresh) & set(decided)  # no winner's curse in the estimate
    assert subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True,
                          check=True).stdout == b""  # fmt: skip
    (kept,) = [row for row in rows(root) if row.status == "keep"]
    assert (kept.role, kept.challenger, kept.reason) == (
        "confirmation", outcome.challenger[:12], said[-1]
    )  # fmt: skip
    assert refs(root) == {}


def test_a_worse_edit_is_set_back_and_stays_reachable(root, contest):
    before = contest.branch.tip()
    edit(root, -5)
    outcome = contest.challenge("five less")
    assert (outcome.verdict, contest.branch.tip()) == ("discard", before)
    assert contest.branch.edit() == b"SKILL = 0\n"
    row = rows(root)[-1]
    assert (row.status, row.verdict, row.description) == ("discard", "discard", "five less")
    assert refs(root) == {f"refs/autorl/test/discarded/{row.run_id}": outcome.challenger}
    assert contest.branch.edit_of(outcome.challenger) == b"SKILL = -5 \n"


def test_a_crash_is_a_discard_with_its_own_status(root, contest):
    edit(root, 5, "crash")
    with pytest.raises(TrainingError):
        contest.challenge("breaks")
    row = rows(root)[-1]
    assert (row.status, row.verdict) == ("crash", "discard")
    assert row.reason == "Replicate 1 ended as crash. as the file wants it"
    assert contest.branch.edit() == b"SKILL = 0\n"


def test_the_incumbent_itself_is_no_challenger(root, contest):
    with pytest.raises(InputError, match="nothing to try"):
        contest.challenge("")


def test_tampering_during_a_run_is_told_in_a_row_and_costs_no_edit(
    root, contest, site, monkeypatch
):
    edit(root, 5)
    with monkeypatch.context() as patched:
        patched.setattr(site, "before", lambda row: (root / "README.md").write_text("no rules\n"))
        with pytest.raises(IntegrityError, match=r"README\.md.*git restore"):
            contest.challenge("five more")
    assert (rows(root)[-1].status, rows(root)[-1].verdict) == ("tampered", "none")
    assert contest.branch.edit() == b"SKILL = 5 \n"
    git(root, "restore", "README.md")
    assert contest.challenge("five more").verdict == "accept"


def test_a_human_and_their_tools_may_write_beside_a_trial(root, contest, site):
    def meanwhile(row):
        (root / "program.md").write_text("be bold\n")
        (root / "nohup.out").write_text("turn 1\n")
        (root / ".~lock.results.tsv#").write_text("me,host,1\n")

    edit(root, 5)
    site.before = meanwhile
    assert contest.challenge("five more").verdict == "accept"
    assert (root / "program.md").read_text() == "be bold\n"
    assert (root / "nohup.out").exists()


def test_what_is_refused_before_the_clock_leaves_no_row_and_no_folder(root, contest):
    count, folders = len(rows(root)), len([*(root / "runs").iterdir()])
    edit(root, 5)
    (root / "numpy.py").write_text("cheat = True\n")
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"numpy\.py\. Delete it"):
            contest.challenge("five more")
    assert (len(rows(root)), len([*(root / "runs").iterdir()])) == (count, folders)


def test_what_a_person_commits_between_challengers_is_accepted(root, contest):
    (root / "program.md").write_text("be bold\n")
    git(root, "commit", "-qam", "another direction")
    edit(root, 5)
    assert contest.challenge("five more").verdict == "accept"
    assert (root / "program.md").read_text() == "be bold\n"


@pytest.mark.slow
def test_a_keep_goes_on_top_of_what_was_committed_during_the_trial(root, contest, site):
    runs = []

    def run(request):
        if len(runs) == 1:
            (root / "program.md").write_text("be bold\n")
            git(root, "commit", "-qm", "another direction", "program.md")
        runs.append(None)
        return experiment.run(request)

    edit(root, 5)
    outcome = Contest(contest.branch, HALF_CHEETAH, "none", run, site).challenge("five more")
    assert outcome.verdict == "accept"
    contest.advance(RUNS, closing=True)
    assert (root / "program.md").read_text() == "be bold\n"
    assert contest.branch.edit() == contest.branch.edit_of("tip") == b"SKILL = 5 \n"
    assert outcome.challenger in contest.branch.log()
    contest.settle()
    edit(root, 10)
    assert contest.challenge("five more again").verdict == "accept"


def test_a_training_file_that_was_committed_by_hand_is_not_taken_for_the_incumbent(root, contest):
    edit(root, 50)
    git(root, "commit", "-qam", "trust me")
    edit(root, 51)
    with pytest.raises(InputError, match="without having been judged"):
        contest.challenge("")


def test_both_outcomes_leave_a_clean_index_and_what_is_ignored(root, contest):
    (root / "notes").mkdir()
    (root / "notes" / "idea").write_text("keep me")
    edit(root, -5)
    git(root, "add", EDITABLE)
    contest.challenge("worse")
    edit(root, 5)
    git(root, "add", EDITABLE)
    contest.challenge("better")
    contest.advance(RUNS, closing=True)
    assert (root / "notes" / "idea").read_text() == "keep me"
    assert subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True,
                          check=True).stdout == b""  # fmt: skip


def test_what_is_written_meanwhile_is_not_overwritten(root, contest, site):
    edit(root, -5)
    site.before = lambda row: edit(root, 7)
    contest.challenge("worse")
    assert contest.branch.edit() == b"SKILL = 7 \n"


def kill_at(monkeypatch, place):
    """Die at the first call of a method of `Branch`; the way back to a whole world."""
    whole = getattr(Branch, place)

    def dies(*arguments, **options):
        monkeypatch.setattr(Branch, place, whole)
        raise KilledError

    monkeypatch.setattr(Branch, place, dies)


@pytest.mark.parametrize("place", ["discard", "write", "_settle"])
def test_a_kill_in_the_middle_of_a_revert_is_made_good(root, contest, monkeypatch, place):
    edit(root, -5)
    kill_at(monkeypatch, place)
    with pytest.raises(KilledError):
        contest.challenge("worse")
    count = len(rows(root))
    contest.settle()
    assert contest.branch.edit() == b"SKILL = 0\n"
    assert contest.branch.trials() == []
    assert list(refs(root)) == [f"refs/autorl/test/discarded/{rows(root)[-1].run_id}"]
    assert len(rows(root)) == count


@pytest.mark.parametrize("place", ["confirm", "_finish"])
def test_a_kill_in_the_middle_of_a_keep_is_made_good(root, contest, monkeypatch, place):
    edit(root, 5)
    contest.challenge("better")
    kill_at(monkeypatch, place)
    with pytest.raises(KilledError):
        contest.advance(RUNS, closing=True)
    assert [run.verdict for run in contest.settle()] == ["keep"]
    assert contest.branch.edit_of("tip") == b"SKILL = 5 \n"
    assert refs(root) == {}
    assert len(contest.measure()) == search.ESTIMATE_RUNS


def test_a_trial_that_was_killed_between_its_runs_goes_on_with_them(root, contest, site):
    seen = []
    edit(root, 5)
    with (
        site.killing(lambda row, score: seen.append(row) or len(seen) == 2),
        pytest.raises(KilledError),
    ):
        contest.challenge("better")
    on_trial = contest.branch.trials()
    assert [contest.challenge("better").challenger] == on_trial
    replicates = [r.replicate for r in rows(root) if r.role == "challenger" and r.scored]
    assert replicates == [i + 1 for i in range(len(replicates))]


def test_another_edit_ends_the_trial_of_the_one_before(root, contest, site):
    edit(root, 5)
    with site.killing(lambda row, score: True), pytest.raises(KilledError):
        contest.challenge("never measured")
    (first,) = contest.branch.trials()
    edit(root, -5)
    contest.challenge("worse")
    assert first in refs(root).values()


@pytest.mark.slow
def test_thirty_experiments_leave_branch_refs_files_and_ledger_consistent(
    root, contest, site, monkeypatch
):
    """Keeps, discards, crashes, tampering, kills: in an order that is drawn."""
    (root / "notes").mkdir()
    (root / "notes" / "idea").write_text("keep me")
    generator = random.Random(1)
    tried, skill = [], 0
    kinds = ["accept"] * 4 + ["discard"] * 12 + ["crash"] * 6 + ["tamper"] * 4 + ["kill"] * 4
    generator.shuffle(kinds)
    for kind in kinds:
        contest = Contest(contest.branch, HALF_CHEETAH, "none", site=site)  # as a new process
        if kind == "accept":
            skill += 5
        better = skill if kind == "accept" else skill - 5
        edit(root, better, "crash" if kind == "crash" else f"# {len(tried)}")
        text = contest.branch.edit()
        if kind == "tamper":
            (root / "README.md").write_text("no rules\n")
            with pytest.raises(IntegrityError):
                contest.challenge(kind)
            git(root, "restore", "README.md", EDITABLE)
            contest.settle()
        elif kind == "crash":
            with pytest.raises(TrainingError):
                contest.challenge(kind)
        elif kind == "kill":
            kill_at(monkeypatch, generator.choice(["discard", "write", "_settle"]))
            with pytest.raises(KilledError):
                contest.challenge(kind)
            contest.settle()
        else:
            assert contest.challenge(kind).verdict == kind
            contest.advance()
        if kind != "tamper":
            tried.append(text)
        assert float(contest.branch.edit().split()[2]) == skill
        assert contest.branch.edit() == contest.branch.edit_of("lead")
    contest.advance(RUNS, closing=True)
    assert contest.branch.edit() == contest.branch.edit_of("tip")
    reachable = [contest.branch.edit_of(commit) for commit in refs(root).values()]
    log = subprocess.run(["git", "rev-list", "autorl/test"], cwd=root, capture_output=True,
                         text=True, check=True).stdout.split()  # fmt: skip
    reachable += [contest.branch.edit_of(commit) for commit in log]
    assert set(tried) <= set(reachable)
    assert (root / "notes" / "idea").read_text() == "keep me"
    assert not [p for p in (root / "agent_space").iterdir() if p.name != "train.py"]
    Ledger(root / LEDGER).check()
    verdicts = [row for row in rows(root) if row.verdict in ("accept", "discard")]
    assert len(verdicts) == len(tried) == 26
    assert len(log) == 1 + sum(row.verdict == "accept" for row in verdicts)
    git(root, "fsck", "--strict")


def test_a_run_of_the_incumbent_that_fails_counts_as_its_lowest(root, site):
    def third_fails(row):
        if len(rows(root)) == 2:
            raise TrainingError("a bad seed")

    site.before = third_fails
    made = Contest(create(root, "test"), HALF_CHEETAH, "none", site=site)
    scores = made.measure()
    assert len(rows(root)) == len(scores) == search.BASELINE_RUNS
    assert [row.status for row in rows(root)].count("crash") == 1
    assert scores.count(min(scores)) == 2
    past = made.read()
    bar = past.files()[past.incumbent].scores  # whoever fails, or is made to, lowers no bar
    assert bar.count(max(scores)) == 2
    assert bar.count(min(scores)) == 1


def test_a_tag_that_is_called_as_a_commit_begins_changes_nothing(root):
    made = create(root, "test")
    first = made.tip()[:12]
    other = made.propose(b"SKILL = 1\n", "another file")
    git(root, "tag", first, other)
    told = subprocess.run(
        ["git", "rev-parse", first], cwd=root, check=True, capture_output=True, text=True
    )
    assert told.stdout.strip() == other  # git itself takes the tag
    assert made.edit_of(first) == b"SKILL = 0\n"
    with pytest.raises(InputError, match="is 0 commits"):
        made.edit_of("0123456789ab")


@pytest.mark.parametrize("kept", [True, False])
def test_the_working_tree_of_another_branch_is_left_alone(root, kept):
    git(root, "switch", "-q", "-c", "mine")
    made = create(root, "test")
    challenger = made.propose(b"SKILL = 1\n", "an edit")
    content = b"SKILL = 0\n" if kept else b"SKILL = 1\n"
    git(root, "switch", "-q", "mine")
    (root / EDITABLE).write_bytes(content)
    made.keep(challenger) if kept else made.discard(challenger, "run")
    assert (root / EDITABLE).read_bytes() == content
    assert made.edit_of("tip") == (b"SKILL = 1\n" if kept else b"SKILL = 0\n")


@pytest.mark.parametrize(("good", "tries"), [(0, 1), (1, FAILURES_IN_A_ROW)])
def test_a_baseline_that_only_fails_is_told(root, site, good, tries):
    """At once where it never had a score, after some tries where it had."""
    runs = []

    def fails(row):
        runs.append(row)
        if len(runs) > good:
            raise TrainingError("a bad file")

    site.before = fails
    with pytest.raises(IncumbentError, match=r"no edit is to blame\. a bad file"):
        Contest(create(root, "test"), HALF_CHEETAH, "none", site=site).measure()
    assert len(runs) == good + tries


def test_few_scores_are_shown_all_and_many_with_an_interval():
    assert estimate.told([1000.0, 2000.0]) == "1,500.00 (1,000.00, 2,000.00)"
    assert estimate.told([1.0, 2.0, 3.0, 4.0, 5.0]).endswith("to 4.96, 5 runs)")
