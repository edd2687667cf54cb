"""A lead runs ahead of the incumbent: accepted edits stack up, fall back, and are confirmed.

Nothing is lost, what was begun is finished after a kill, and a working tree's new edit is its own.
"""

import subprocess
import threading

import pytest

from harness.checkout import git as commands
from harness.checkout.beginning import create
from harness.checkout.branch import Branch
from harness.errors import InputError
from harness.night import agents
from harness.night.brief import Brief
from harness.places import EDITABLE
from harness.record.entries import Ending
from tests.conftest import git
from tests.fake_site import KilledError
from tests.test_git import asked

LEAD = "refs/autorl/test/lead"
MODIFIED = f"M {EDITABLE}"
"""What git says of a working tree that shows a lead."""


@pytest.fixture
def branch(root):
    """A branch on which nothing was tried."""
    return create(root, "test")


def file(skill):
    """A training file."""
    return f"SKILL = {skill}\n".encode()


def offer(branch, skill):
    """A challenger that somebody has written into the working tree."""
    (branch.root / EDITABLE).write_bytes(file(skill))
    return branch.propose(file(skill), f"skill {skill}")


def accept(branch, *skills):
    """Accepted edits, one after the other; the commits of their challengers."""
    made = []
    for skill in skills:
        made.append(offer(branch, skill))
        branch.accept(made[-1])
    return made


def commit(branch, text="be bold"):
    """Somebody's commit on the branch; its name."""
    (branch.root / "program.md").write_text(f"{text}\n")
    git(branch.root, "commit", "-qm", text, "program.md")
    return asked(branch.root, "rev-parse", "HEAD")


def refs(branch):
    """What the harness has named in git, by what follows `refs/autorl/test/`."""
    form = "--format=%(refname:lstrip=3) %(objectname)"
    return dict(
        line.split()
        for line in asked(branch.root, "for-each-ref", form, "refs/autorl/test/").splitlines()
    )


def subjects(branch, *what):
    """First lines of messages, the oldest first."""
    return asked(branch.root, "log", "--reverse", "--format=%s", *what).splitlines()


def test_where_nothing_was_accepted_the_incumbent_leads(branch):
    now = branch.read()
    assert now.lead == now.tip == branch.tip()
    assert branch.stack() == []
    assert branch.edit_of("lead") == file(0)
    assert branch.follows_lead(offer(branch, 1))


def test_an_accepted_edit_leads_and_the_branch_stays_where_it_is(branch):
    tip = branch.tip()
    challenger = offer(branch, 1)
    assert branch.follows_lead(challenger)
    branch.accept(challenger)
    assert (branch.tip(), branch.read().lead) == (tip, challenger)
    assert refs(branch) == {"lead": challenger}
    assert branch.edit_of("lead") == branch.edit() == file(1)
    assert branch.edit_of("tip") == file(0)
    assert asked(branch.root, "status", "--porcelain") == MODIFIED
    assert not branch.follows_lead(challenger)


def test_accepted_edits_stack_up_one_commit_each(branch):
    made = accept(branch, 1, 2, 3)
    assert branch.stack() == made
    assert subjects(branch, f"autorl/test..{LEAD}") == ["skill 1", "skill 2", "skill 3"]
    for commit, before in zip(made, [branch.tip(), *made], strict=False):
        assert asked(branch.root, "rev-parse", f"{commit}^") == before


def test_an_edit_that_is_accepted_twice_is_one_edit(branch):
    first, second = accept(branch, 1, 2)
    branch.accept(first)
    branch.accept(second)
    assert branch.stack() == [first, second]


def test_a_discarded_edit_leaves_the_lead_and_its_file(branch):
    (lead,) = accept(branch, 1)
    challenger = offer(branch, -5)
    branch.discard(challenger, "run")
    assert refs(branch) == {"lead": lead, "discarded/run": challenger}
    assert branch.edit() == file(1)
    assert asked(branch.root, "status", "--porcelain") == MODIFIED


def test_an_edit_that_was_made_from_an_earlier_lead_is_accepted_on_top_of_the_present_one(branch):
    first, second = offer(branch, 1), offer(branch, 2)
    branch.accept(first)
    assert not branch.follows_lead(second)
    branch.accept(second)
    lead = branch.read().lead
    assert branch.stack() == [first, lead]
    assert branch.edit_of(lead) == file(2)
    assert subjects(branch, "-1", lead) == ["skill 2"]
    assert refs(branch) == {"lead": lead}
    assert second in asked(branch.root, "rev-list", lead).split()  # the ledger names this one


def test_a_challenger_of_a_lead_that_fell_back_is_accepted_on_what_is_left(branch):
    first, _ = accept(branch, 1, 2)
    third = offer(branch, 3)
    branch.set_back(1, "run")
    branch.accept(third)
    assert branch.stack() == [first, branch.read().lead]
    assert branch.edit_of("lead") == file(3)


@pytest.mark.parametrize(("count", "left"), [(1, 2), (2, 1), (3, 0), (9, 0)])
def test_a_lead_falls_back_by_some_edits_and_what_is_dropped_stays_reachable(branch, count, left):
    made = accept(branch, 1, 2, 3)
    for _ in range(2):  # the second time changes nothing
        branch.set_back(count, "run")
        assert branch.stack() == made[:left]
        named = {"discarded/run": made[-1], **({"lead": made[left - 1]} if left else {})}
        assert refs(branch) == named
        assert branch.edit() == branch.edit_of("lead") == file(left)
    assert asked(branch.root, "status", "--porcelain") == (MODIFIED if left else "")


def test_a_confirmation_moves_the_branch_over_all_edits(branch):
    made = accept(branch, 1, 2)
    start = branch.tip()
    for _ in range(2):
        branch.confirm(made[-1])
        assert branch.log() == [*reversed(made), start]
        assert branch.stack() == []
        assert refs(branch) == {}
        assert branch.edit() == branch.edit_of("tip") == branch.edit_of("lead") == file(2)
        assert asked(branch.root, "status", "--porcelain") == ""


@pytest.mark.parametrize("between", [False, True], ids=["alone", "with a commit between"])
def test_what_was_accepted_on_top_of_a_confirmed_lead_stays_lead(branch, between):
    made = accept(branch, 1, 2, 3)
    if between:
        commit(branch)
    for _ in range(2):
        branch.confirm(made[1])
        assert branch.stack() == made[2:]
        assert branch.edit_of("tip") == file(2)
        assert branch.edit() == branch.edit_of("lead") == file(3)
        assert asked(branch.root, "status", "--porcelain") == MODIFIED
    branch.confirm(made[2])
    assert branch.edit_of("tip") == file(3)
    assert refs(branch) == {}
    assert asked(branch.root, "status", "--porcelain") == ""


def test_a_confirmation_takes_along_what_was_committed_on_the_branch_since(branch):
    made = accept(branch, 1, 2)
    theirs = commit(branch)
    assert branch.stack() == made
    for _ in range(2):
        branch.confirm(made[-1])
        assert {theirs, *made} < {*branch.log()}
        assert asked(branch.root, "show", "HEAD:program.md") == "be bold"
        assert branch.edit_of("tip") == branch.edit() == file(2)
        assert branch.stack() == []
        assert refs(branch) == {}
        assert asked(branch.root, "status", "--porcelain") == ""
        edits = subjects(branch, "--first-parent", "autorl/test")
        assert edits == ["start", "skill 1", "skill 2", "Merge a confirmed lead"]


def test_an_edit_of_a_lead_has_what_was_committed_on_the_branch_since(branch):
    accept(branch, 1)
    theirs = commit(branch)
    accept(branch, 2)
    lead = branch.read().lead
    assert asked(branch.root, "show", f"{lead}:program.md") == "be bold"
    assert len(branch.stack()) == 2
    branch.confirm(lead)
    assert branch.tip() == lead  # nothing was left to be brought together
    assert theirs in branch.log()


@pytest.mark.parametrize("first", [True, False], ids=["before a lead", "beside a lead"])
def test_an_edit_is_accepted_after_a_commit_on_the_branch_during_its_trial(branch, first):
    if not first:
        accept(branch, 1)
    challenger = offer(branch, 2)
    theirs = commit(branch)
    branch.accept(challenger)
    assert branch.tip() == theirs
    assert branch.edit_of("lead") == branch.edit() == file(2)
    assert len(branch.stack()) == (1 if first else 2)
    branch.confirm(challenger)
    assert {theirs, challenger} < {*branch.log()}
    assert asked(branch.root, "show", "HEAD:program.md") == "be bold"
    assert asked(branch.root, "status", "--porcelain") == ""


def test_a_lead_is_confirmed_by_the_name_of_the_challenger_that_it_was(branch):
    first, second = offer(branch, 1), offer(branch, 2)
    branch.accept(first)
    branch.accept(second)
    lead = branch.read().lead
    assert lead != second
    branch.confirm(second[:12])  # as the ledger names it
    assert branch.tip() == lead
    assert {first, second} < {*branch.log()}


def test_a_confirmed_commit_confirms_nothing_that_was_accepted_since(branch):
    (first,) = accept(branch, 1)
    branch.confirm(first)
    theirs = commit(branch)
    made = accept(branch, 2)
    for name in (first, theirs, branch.tip()):
        branch.confirm(name)
        assert (branch.tip(), branch.stack()) == (theirs, made)


def test_a_confirmed_lead_whose_ref_is_gone_is_the_incumbent_all_the_same(branch):
    made = accept(branch, 1, 2)
    git(branch.root, "update-ref", "-d", LEAD)
    branch.confirm(made[-1])
    assert branch.tip() == made[-1]
    assert asked(branch.root, "status", "--porcelain") == ""


STEPS = {
    "accept": (2, lambda branch, made: branch.accept(made[2])),
    "accept on top": (2, lambda branch, made: branch.accept(made[3])),
    "discard": (3, lambda branch, made: branch.discard(made[2], "run")),
    "set back": (2, lambda branch, made: branch.set_back(1, "run")),
    "confirm": (0, lambda branch, made: branch.confirm(made[0])),
    "confirm all": (0, lambda branch, made: branch.confirm(made[1])),
}
"""What can be done with a lead of two edits while two others are on trial; and what the working
tree shows before, so that it has to be changed."""


def two_and_two(branch):
    """Two accepted edits, and two on trial: of the lead, and of the edit before."""
    (first,) = accept(branch, 1)
    late = offer(branch, 4)
    (second,) = accept(branch, 2)
    return [first, second, offer(branch, 3), late]


def look(branch):
    """All that can be seen of a branch but commits' names: one that is made again is another."""
    named = {name for name in refs(branch) if not name.startswith(("trial/", "made-"))}
    trials = sorted(branch.edit_of(trial) for trial in branch.trials())
    log = subjects(branch, "--exclude=refs/autorl/test/made-*", "--all")
    stack = [branch.edit_of(commit) for commit in branch.stack()]
    status = asked(branch.root, "status", "--porcelain")
    return branch.edit_of("tip"), stack, trials, sorted(log), named, status, branch.edit()


def kill_before(monkeypatch, owner, place):
    """Die at the first call of a function."""

    def dies(*arguments):
        raise KilledError

    monkeypatch.setattr(owner, place, dies)


def kill_after(monkeypatch, owner, place):
    """Die when a function has done what it does."""
    whole = getattr(owner, place)

    def dies(*arguments):
        whole(*arguments)
        raise KilledError

    monkeypatch.setattr(owner, place, dies)


KILLS = {
    "before the file": (kill_before, Branch, "write"),
    "before the commit": (kill_before, Branch, "_commit"),
    "before the index": (kill_before, commands, "stage"),
    "before the refs": (kill_before, Branch, "_update"),
    "after the refs": (kill_after, Branch, "_update"),
}
"""Where a process dies."""


@pytest.mark.parametrize("between", [False, True], ids=["alone", "with a commit between"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_killed_is_finished_by_the_next_try(branch, monkeypatch, step, between):
    made = two_and_two(branch)
    if between:
        commit(branch)
    shown, act = STEPS[step]
    begun = {name: asked(branch.root, "rev-parse", name) for name in ("HEAD", *all_refs(branch))}
    restore(branch, begun, shown)
    act(branch, made)
    done, died = look(branch), []
    for name, (kill, owner, place) in KILLS.items():
        restore(branch, begun, shown)
        with monkeypatch.context() as patched:
            kill(patched, owner, place)
            try:
                act(branch, made)
            except KilledError:
                died.append(name)
        again = Branch(branch.root, "test")  # as a new process
        if name == "after the refs":  # they are what says that nothing is left to be done
            assert look(again) == done
        act(again, made)
        assert look(again) == done, name
    commits = step == "accept on top" or (between and step.startswith("confirm"))
    assert died == [name for name in KILLS if commits or name != "before the commit"]


def all_refs(branch):
    return asked(branch.root, "for-each-ref", "--format=%(refname)").split()


def restore(branch, begun, shown):
    """All refs, the index and the training file as they were."""
    for name in all_refs(branch):
        if name not in begun:
            git(branch.root, "update-ref", "-d", name)
    for name, commit in begun.items():
        git(branch.root, "update-ref", name, commit)
    git(branch.root, "read-tree", "HEAD")
    branch.write(file(shown))


def test_git_that_was_killed_between_two_refs_is_made_good(branch):
    """It changes them in the order in which it is told them, and takes refs away at the end."""
    first, second = offer(branch, 1), offer(branch, 2)
    branch.accept(first)
    git(branch.root, "update-ref", f"refs/autorl/test/trial/{first}", first)
    branch.accept(second)  # as if both had been accepted before the kill
    lead = branch.read().lead
    git(branch.root, "update-ref", f"refs/autorl/test/trial/{second}", second)
    for again in (first, second, second, first):
        branch.accept(again)
        assert refs(branch).get("lead") == lead
    assert refs(branch) == {"lead": lead}
    git(branch.root, "update-ref", "refs/autorl/test/discarded/run", lead)
    branch.set_back(1, "run")
    assert branch.stack() == [first]
    git(branch.root, "update-ref", "refs/heads/autorl/test", first)
    branch.confirm(first)
    assert refs(branch) == {"discarded/run": lead}


@pytest.mark.parametrize("step", STEPS)
def test_an_edit_that_somebody_has_begun_is_never_overwritten(branch, step):
    made = two_and_two(branch)
    branch.write(file(99))
    STEPS[step][1](branch, made)
    assert branch.edit() == file(99)


@pytest.mark.parametrize("step", STEPS)
def test_the_working_tree_of_another_branch_is_left_alone(branch, step):
    git(branch.root, "branch", "mine")
    made = two_and_two(branch)
    git(branch.root, "restore", EDITABLE)
    git(branch.root, "switch", "-q", "mine")
    shown, act = STEPS[step]
    branch.write(file(shown))
    git(branch.root, "add", EDITABLE)
    before = asked(branch.root, "status", "--porcelain")
    act(branch, made)
    assert (asked(branch.root, "status", "--porcelain"), branch.edit()) == (before, file(shown))


def test_whoever_comes_back_to_the_branch_is_shown_its_lead(branch):
    accept(branch, 1)
    git(branch.root, "restore", EDITABLE)
    branch.show()
    assert branch.edit() == file(1)
    branch.write(file(99))
    branch.show()
    assert branch.edit() == file(99)
    git(branch.root, "restore", EDITABLE)
    git(branch.root, "switch", "-q", "-c", "mine")
    branch.show()
    assert branch.edit() == file(0)


@pytest.mark.parametrize("step", STEPS)
def test_the_index_keeps_what_the_branch_has(branch, step):
    made = two_and_two(branch)
    git(branch.root, "add", EDITABLE)
    STEPS[step][1](branch, made)
    assert asked(branch.root, "diff", "--cached", "--name-only") == ""


def test_lines_that_end_as_in_windows_make_no_edit_of_the_lead(root, tmp_path):
    clone = tmp_path / "windows"
    subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "-q", root, clone], check=True)
    git(clone, "config", "core.autocrlf", "true")
    branch = create(clone, "test")
    (clone / EDITABLE).write_bytes(b"SKILL = 1\r\n")
    challenger = branch.propose(branch.edit(), "skill 1")
    branch.accept(challenger)
    assert branch.edit() == branch.edit_of("lead")
    assert asked(clone, "status", "--porcelain") == MODIFIED
    branch.set_back(1, "run")  # the file is known by its lines, and the incumbent's comes back
    assert branch.edit() == branch.edit_of("tip")
    assert asked(clone, "status", "--porcelain") == ""
    (clone / EDITABLE).write_bytes(b"SKILL = 2\r\n")
    challenger = branch.propose(branch.edit(), "skill 2")
    branch.accept(challenger)
    branch.confirm(challenger)
    assert branch.edit_of("tip") == file(2)
    assert asked(clone, "status", "--porcelain") == ""


def test_tags_that_are_called_as_branch_and_lead_change_nothing(branch):
    for name in ("autorl/test", "lead"):
        git(branch.root, "tag", name)
    made = accept(branch, 1, 2)
    assert branch.stack() == made
    branch.confirm(made[-1])
    assert asked(branch.root, "rev-parse", "refs/heads/autorl/test") == made[-1]
    assert asked(branch.root, "rev-parse", "refs/tags/autorl/test") != made[-1]


def test_a_link_in_the_place_of_the_lead_moves_no_other_ref(branch):
    git(branch.root, "branch", "precious")
    precious = asked(branch.root, "rev-parse", "refs/heads/precious")
    for act in (lambda: accept(branch, 1), lambda: branch.set_back(1, "run")):
        git(branch.root, "symbolic-ref", LEAD, "refs/heads/precious")
        act()
        assert asked(branch.root, "rev-parse", "refs/heads/precious") == precious


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_lead_is_a_trace_of_what_was_tried(root, confirmed):
    git(root, "config", "core.logAllRefUpdates", "false")
    branch = create(root, "test")
    branch.check_unworked()
    (challenger,) = accept(branch, 1)
    if confirmed:
        branch.confirm(challenger)
        assert refs(branch) == {}
    with pytest.raises(InputError, match="Challengers were tried on autorl/test"):
        branch.check_unworked()


MOST = {"accept on top": 7, "set back": 4, "confirm": 6, "confirm all": 6}
"""Processes of a step; three of others."""


@pytest.mark.parametrize("step", [*STEPS, "propose"])
def test_a_step_starts_few_processes(branch, monkeypatch, step):
    """Each takes some milliseconds, and more where a repository is large."""
    made = two_and_two(branch)
    act = STEPS.get(step, (2, lambda branch, made: branch.propose(file(5), "skill 5")))[1]
    start, started = subprocess.run, []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **rest: started.append(command) or start(command, **rest)
    )
    act(branch, made)
    assert len(started) <= MOST.get(step, 3)


@pytest.mark.parametrize("shallow", [False, True])
def test_an_agent_s_clone_has_the_lead_and_what_was_tried(branch, tmp_path, shallow):
    """A lead is in no branch; and a shallow repository gives out nothing that has no name."""
    root = branch.root
    if shallow:
        commit(branch)
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{root}", "shallow")
        root = tmp_path / "shallow"
        git(root, "switch", "-q", "-c", "mine")
        git(root, "branch", "-D", "autorl/test")
        branch = create(root, "test")
        assert (root / ".git" / "shallow").exists()
    (lead,) = accept(branch, 1)
    branch.discard(offer(branch, -5), "run")
    discarded = f"git show refs/autorl/test/discarded/run:{EDITABLE}"
    looks = f"git log -1 --format=%s; cat {EDITABLE}; {discarded}; git remote; git diff --stat"
    shell, start = f"{looks}; echo SKILL = 2 > {EDITABLE}", branch.edit_of(lead)
    made = agents.call(shell, root, lead, start, Brief(""), 1, 60.0, threading.Event())
    assert made.detail.splitlines() == ["skill 1", "SKILL = 1", "SKILL = -5"]
    assert (made.status, made.edit) == (Ending.EDITED, file(2))
