"""The beginning of an experiment branch: whether one of a name can be made here, and making it."""

import contextlib
import re
from pathlib import Path

from harness.checkout import commits, git
from harness.checkout.branch import HEADS, PREFIX, Branch
from harness.errors import InputError


def create(root: Path, tag: str, first: bytes | None = None) -> Branch:
    """Make the branch from what is checked out and switch to it; files stay as they are.

    Args:
      root: the checkout.
      tag: of the branch.
      first: the training file that it is to begin with, by `Branch.begin_with`, if another one.

    Raises:
      InputError: as `check`.
    """
    branch, head = Branch(root, tag), check(root, tag, first)
    git.run(root, "update-ref", branch.head, head, "0" * len(head))
    git.run(root, "symbolic-ref", "-m", "autorl: init", "HEAD", branch.head)
    return branch


def check(root: Path, tag: str, first: bytes | None = None) -> str:
    """Make sure that a branch could be made; the commit from which.

    Raises:
      InputError: the name is taken or none, this is no git checkout with a commit, or a training
        file that nobody has committed would be lost to the first one.
    """
    branch, head = Branch(root, tag), _start(root)
    if first is not None:
        commits.check_replaceable(root, first)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", tag) or not git.is_name(root, branch.head):
        raise InputError(f"{tag!r} cannot be part of a branch name; try letters and digits.")
    if branch.exists():
        raise InputError(
            f"There is a branch {branch.name} already: git switch {branch.name} continues it, "
            "another tag begins a new one."
        )
    branch.check_unworked()
    folder = PREFIX.rstrip("/")
    if git.exists(root, HEADS + folder):
        raise InputError(
            f"There is a branch {folder}, and git cannot have one called {branch.name} with it: "
            f"git branch -m {folder} ANOTHER_NAME renames it."
        )
    return head


def _start(root: Path) -> str:
    """The commit that is checked out.

    Raises:
      InputError: there is none, or the repository is not this folder's own.
    """
    advice = "git init, git add --all, git commit"
    if git.is_own(root):
        with contextlib.suppress(git.GitError):
            return git.text(root, "rev-parse", "--verify", "HEAD^{commit}")
    elif (other := git.surrounding(root)) is not None:
        raise InputError(
            f"This folder is inside the repository of {other}, and an experiment branch would "
            f"belong to that one. Run from a checkout's own root, or give this folder a "
            f"repository: {advice}."
        )
    raise InputError(
        f"An experiment branch needs a git checkout with at least one commit: {advice}."
    )
