"""git runs nothing for anybody, in the repository that is meant and no other one."""

import os
import subprocess
import threading
import time

import pytest

from harness.checkout import git, integrity
from harness.checkout.beginning import create
from harness.checkout.branch import Branch, current
from harness.checkout.integrity import Guard
from harness.errors import InputError
from harness.places import EDITABLE
from harness.system import programs
from tests.conftest import git as by_hand


def asked(folder, *arguments):
    """What a user's own git prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode().strip()


def branch_work(root, tmp_path):
    """All that the harness does with git: outcomes, a lead, a clone, a look at the files."""
    branch = create(root, "test")
    for skill, outcome in ((1, branch.keep), (2, lambda c: branch.discard(c, "run"))):
        (root / EDITABLE).write_text(f"SKILL = {skill}\n")
        outcome(branch.propose(branch.edit(), f"skill {skill}"))
    assert branch.edit() == branch.edit_of("tip") == b"SKILL = 1\n"
    first, *others = (branch.propose(f"SKILL = {skill}\n".encode(), "") for skill in (3, 4, 5))
    for challenger in (first, *others):
        branch.accept(challenger)
    branch.set_back(1, "back")
    git.clone(root, branch.read().lead, tmp_path / "clone")
    assert (tmp_path / "clone" / EDITABLE).read_bytes() == b"SKILL = 4\n"
    branch.confirm(first)
    assert branch.edit_of("tip") == b"SKILL = 3\n"
    branch.set_back(1, "again")
    assert branch.edit() == branch.edit_of("tip")
    Guard(root).check()
    (root / "README.md").write_text("no rules\n")
    assert "-the rules\n+no rules\n" in integrity.commit(root)[1]
    assert integrity.put_back(root, root / "runs" / "tampered") == ["README.md"]
    return branch


PROGRAMS = ("hook", "global-hook", "monitor", "filter", "textconv", "differ", "signer")
"""What a configuration can have git run."""


@pytest.fixture
def armed(root, tmp_path, monkeypatch):
    """A checkout and a home in which git is told to run programs, and the folder of their marks."""
    marks = tmp_path / "marks"
    marks.mkdir()
    scripts = {}
    for name in PROGRAMS:
        scripts[name] = tmp_path / f"{name}.sh"
        scripts[name].write_text(f"#!/bin/sh\ntouch {marks / name}\ncat\nexit 0\n")
        scripts[name].chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for folder, name in ((root / ".git" / "hooks", "hook"), (hooks, "global-hook")):
        folder.mkdir(exist_ok=True)
        for event in ("reference-transaction", "post-index-change", "post-checkout"):
            (folder / event).write_text(f"#!/bin/sh\ntouch {marks / name}\nexit 1\n")
            (folder / event).chmod(0o755)
    (root / ".git" / "info" / "attributes").write_text("* filter=evil diff=evil\n")
    local = {
        "core.fsmonitor": scripts["monitor"],
        "filter.evil.clean": scripts["filter"],
        "filter.evil.smudge": scripts["filter"],
        "diff.evil.textconv": scripts["textconv"],
        "diff.external": scripts["differ"],
        "gpg.program": scripts["signer"],
        "commit.gpgSign": "true",
        "log.showSignature": "true",
    }
    for name, value in local.items():
        by_hand(root, "config", name, str(value))
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[core]\n\thooksPath = {hooks}\n[user]\n\tname = Me\n\temail = me@localhost\n"
        "[clone]\n\tdefaultRemoteName = github\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    return marks


def test_no_program_that_a_configuration_names_is_run(root, tmp_path, armed):
    branch = branch_work(root, tmp_path)
    assert list(armed.iterdir()) == []
    assert asked(root, "-c", "log.showSignature=false", "log", "-1", "--format=%an <%ae>",
                 branch.tip()) == "Me <me@localhost>"  # fmt: skip


def test_the_programs_of_a_configuration_are_run_where_nothing_is_done_about_it(root, armed):
    """So that the test above could fail."""
    (root / EDITABLE).write_text("SKILL = 3\n")
    tree = asked(root, "rev-parse", "HEAD^{tree}")
    for arguments in (
        ("status",), ("diff", "HEAD"), ("diff", "--no-ext-diff", "HEAD"), ("add", EDITABLE),
        ("commit-tree", "-S", tree, "-m", "signed"), ("update-ref", "refs/x", "HEAD"),
        ("-c", f"core.hooksPath={root}/.git/hooks", "update-ref", "refs/x", "HEAD"),
    ):  # fmt: skip
        subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    assert {mark.name for mark in armed.iterdir()} == set(PROGRAMS)


@pytest.fixture
def theirs(tmp_path):
    """A repository with a remote, in which nothing of ours has any business."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for arguments in (("init", "-q", "-b", "main"), ("commit", "-q", "--allow-empty", "-m", "x"),
                      ("remote", "add", "origin", "/nowhere")):  # fmt: skip
        by_hand(folder, *arguments)
    return folder


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE",
                                  "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"])  # fmt: skip
def test_variables_of_a_hook_or_an_alias_lead_git_nowhere_else(
    root, tmp_path, theirs, monkeypatch, name
):
    values = {
        "GIT_DIR": theirs / ".git",
        "GIT_WORK_TREE": theirs,
        "GIT_INDEX_FILE": theirs / ".git" / "index",
        "GIT_OBJECT_DIRECTORY": theirs / ".git" / "objects",
        "GIT_COMMON_DIR": theirs / ".git",
    }
    before = {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()}
    monkeypatch.setenv(name, str(values[name]))
    branch_work(root, tmp_path)
    assert {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()} == before


def test_a_user_s_own_git_does_go_where_git_dir_says(root, theirs):
    """So that the test above could fail."""
    variables = {**os.environ, "GIT_DIR": str(theirs / ".git")}
    subprocess.run(["git", "remote", "remove", "origin"], cwd=root, env=variables, check=True)
    assert asked(theirs, "remote") == ""


def test_a_checkout_s_own_remote_and_head_stay_with_git_dir_set(root, tmp_path, monkeypatch):
    by_hand(root, "remote", "add", "origin", "/nowhere")
    branch = create(root, "test")
    monkeypatch.setenv("GIT_DIR", str(root / ".git"))
    git.clone(root, branch.tip(), tmp_path / "clone")
    monkeypatch.delenv("GIT_DIR")
    assert asked(root, "symbolic-ref", "HEAD") == "refs/heads/autorl/test"
    assert asked(root, "remote") == "origin"
    assert asked(tmp_path / "clone", "remote") == ""


def test_a_replaced_object_is_read_as_it_was_committed(root):
    blob = asked(root, "rev-parse", f"HEAD:{EDITABLE}")
    other = git.text(root, "hash-object", "-w", "--stdin", data=b"SKILL = 99\n")
    by_hand(root, "replace", blob, other)
    assert asked(root, "show", f"HEAD:{EDITABLE}") == "SKILL = 99"
    assert create(root, "test").edit_of("tip") == b"SKILL = 0\n"


def test_an_object_that_is_missing_is_fetched_from_nowhere(root, tmp_path):
    """A repository may say that it is a part of another one, and which program brings the rest."""
    mark = tmp_path / "mark"
    blob = asked(root, "rev-parse", f"HEAD:{EDITABLE}")
    (root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    for name, value in {
        "extensions.partialClone": "origin", "remote.origin.promisor": "true",
        "remote.origin.url": str(root), "remote.origin.uploadpack": f"touch {mark};",
        "core.repositoryFormatVersion": "1",
    }.items():  # fmt: skip
        by_hand(root, "config", name, value)
    with pytest.raises(git.GitError):
        git.run(root, "cat-file", "blob", blob)
    assert not mark.exists()
    subprocess.run(["git", "cat-file", "blob", blob], cwd=root, capture_output=True, check=False)
    assert mark.exists()


def test_another_git_that_holds_the_index_for_a_moment_is_waited_for(root, tmp_path):
    lock = root / ".git" / "index.lock"
    lock.touch()
    opener = threading.Thread(target=lambda: (time.sleep(0.4), lock.unlink()))
    opener.start()
    branch_work(root, tmp_path)
    opener.join()


def test_a_lock_that_nobody_takes_away_is_told_as_git_tells_it(root, monkeypatch):
    monkeypatch.setattr(git, "LOCK_PATIENCE", 0.0)
    (root / ".git" / "index.lock").touch()
    with pytest.raises(git.GitError) as raised:
        git.run(root, "update-index", "--force-remove", "x")
    assert "index.lock': File exists" in raised.value.said
    assert str(raised.value).startswith("git update-index --force-remove failed with exit code 128")


def test_a_tag_of_a_branch_s_name_changes_nothing(root, tmp_path):
    by_hand(root, "tag", "autorl/test")
    by_hand(root, "commit", "-q", "--allow-empty", "-m", "later")
    branch = create(root, "test")
    by_hand(root, "tag", "-f", "autorl/test", "HEAD~")
    assert current(root) == "test"
    assert branch.tip() == asked(root, "rev-parse", "HEAD")


def test_a_linked_worktree_is_a_checkout_of_its_own(root, tmp_path):
    by_hand(root, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "mine")
    before = asked(root, "symbolic-ref", "HEAD")
    branch_work(tmp_path / "tree", tmp_path)
    assert asked(root, "symbolic-ref", "HEAD") == before
    assert current(tmp_path / "tree") == "test"


def test_a_folder_in_another_repository_is_left_alone(root):
    folder = root / "vendored"
    folder.mkdir()
    before = asked(root, "symbolic-ref", "HEAD")
    with pytest.raises(InputError, match=f"is inside the repository of {root}"):
        create(folder, "mine")
    assert asked(root, "symbolic-ref", "HEAD") == before
    assert "refs/heads/autorl" not in asked(root, "for-each-ref")
    assert current(folder) is None
    assert integrity.commit(folder) == ("-", "")
    assert "is inside the repository of" in integrity.unguarded(folder)
    assert integrity.unguarded(root) == ""


@pytest.mark.parametrize("tag", ["a..b", "a.lock", "a.", "-a", "a b", "a/b", ""])
def test_a_name_that_git_does_not_take_is_told_so(root, tag):
    with pytest.raises(InputError, match="cannot be part of a branch name"):
        create(root, tag)


def test_a_branch_that_stands_in_the_way_is_named(root):
    by_hand(root, "branch", "autorl")
    with pytest.raises(InputError, match="There is a branch autorl, and git cannot have one"):
        create(root, "one")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_checkout_of_somebody_else_is_told_in_git_s_words(root, tmp_path, monkeypatch):
    for path in (root, root / ".git"):
        os.chown(path, 65534, 65534)
    with pytest.raises(InputError, match="dubious ownership"):
        create(root, "one")
    config = tmp_path / "gitconfig"
    config.write_text(f"[safe]\n\tdirectory = {root}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    git._trusted.cache_clear()
    try:
        assert create(root, "one").exists()
    finally:
        git._trusted.cache_clear()


def test_lines_that_end_as_in_windows_make_no_edit_of_the_incumbent(root, tmp_path):
    config = tmp_path / "gitconfig"
    clone = tmp_path / "windows"
    subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "-q", root, clone], check=True)
    by_hand(clone, "config", "core.autocrlf", "true")
    assert (clone / EDITABLE).read_bytes() == b"SKILL = 0\r\n"
    branch = create(clone, "test")
    assert branch.edit() == branch.edit_of("tip")
    Guard(clone).check()
    assert integrity.commit(clone)[1] == ""
    (clone / EDITABLE).write_bytes(b"SKILL = 1\r\n")
    branch.keep(branch.propose(branch.edit(), "one more"))
    assert asked(clone, "status", "--porcelain") == ""
    assert not config.exists()


def test_programs_are_never_taken_from_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    fake = tmp_path / ".venv" / "bin" / "git"
    fake.write_text("#!/bin/sh\nexit 0\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:.venv/bin:{os.environ['PATH']}")
    find = programs.find.__wrapped__
    assert subprocess.run(["git", "nonsense"], check=False).returncode == 0  # the fake is first
    assert find("git") not in (None, str(fake))
    monkeypatch.setenv("PATH", str(fake.parent))
    assert find("git") is None


def test_a_link_in_the_place_of_a_branch_s_refs_moves_no_other_ref(root):
    branch = create(root, "tag")
    by_hand(root, "branch", "precious")
    precious = asked(root, "rev-parse", "refs/heads/precious")
    first = branch.propose(b"SKILL = 1\n", "first")
    for name in (f"trial/{first}", f"discarded/{first}", "made"):
        by_hand(root, "symbolic-ref", f"refs/autorl/tag/{name}", "refs/heads/precious")
    branch.propose(b"SKILL = 2\n", "second")
    branch.discard(first, first)
    assert asked(root, "rev-parse", "refs/heads/precious") == precious
    assert asked(root, "rev-parse", f"refs/autorl/tag/discarded/{first}") == first


def test_a_commit_is_made_in_any_time_zone(root, monkeypatch):
    monkeypatch.setenv("TZ", "XXX-15")
    time.tzset()
    try:
        commit = create(root, "tag").propose(b"SKILL = 1\n", "far east")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "+1500" in asked(root, "cat-file", "commit", commit)


def test_a_branch_that_is_not_begun_does_not_exist(root):
    assert not Branch(root, "test").exists()
