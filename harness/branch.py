"""The experiment branch in git: its tip is the incumbent, and what was tried stays reachable.

A challenger is committed *beside* the branch: a commit whose parent is the tip and whose tree is
the tip's with another training file. The branch moves when it is kept, by one step, and never
otherwise; no working tree is switched, nothing is reset, and of the user's files only `EDITABLE` is
ever written.

    refs/heads/autorl/TAG                        the incumbent
    refs/autorl/TAG/trial/COMMIT                 a challenger on trial
    refs/autorl/TAG/discarded/RUN_ID             what was not kept, by its last run
    refs/autorl/TAG/kept/COMMIT                  what was kept on top of a later commit
"""

import contextlib
import os
import re
import subprocess
import tempfile
from pathlib import Path

from harness import words
from harness.errors import InputError
from harness.integrity import EDITABLE

PREFIX = "autorl/"

IDENTITY = {"NAME": "autorl", "EMAIL": "autorl@localhost"}
"""Who commits where the user has told git no name."""


class Branch:
    """One experiment branch of a checkout.

    Attributes:
      root: the checkout.
      tag: its name without `PREFIX`.
    """

    def __init__(self, root: Path, tag: str) -> None:
        self.root = root
        self.tag = tag
        self._head = f"refs/heads/{PREFIX}{tag}"
        self._trial = f"refs/autorl/{tag}/trial/"

    @property
    def name(self) -> str:
        """As git shows it."""
        return PREFIX + self.tag

    @property
    def exists(self) -> bool:
        """Whether it has been begun."""
        with contextlib.suppress(subprocess.CalledProcessError):
            return bool(_git(self.root, "rev-parse", "--verify", "--quiet", self._head))
        return False

    def log(self) -> list[str]:
        """Its commits, the tip first."""
        return _git(self.root, "rev-list", self._head).split()

    @property
    def tip(self) -> str:
        """The commit of the incumbent."""
        return _git(self.root, "rev-parse", self._head)

    @property
    def trials(self) -> list[str]:
        """The commits on trial; none between trials."""
        return _git(self.root, "for-each-ref", "--format=%(objectname)", self._trial).split()

    @property
    def edit(self) -> bytes:
        """The training file as it stands in the working tree."""
        return (self.root / EDITABLE).read_bytes()

    def write(self, edit: bytes) -> None:
        """Replace the training file of the working tree, whole or not at all."""
        temporary = self.root / "runs" / "train.py.new"  # ignored by git, and on the same disk
        temporary.parent.mkdir(exist_ok=True)
        temporary.write_bytes(edit)
        temporary.replace(self.root / EDITABLE)

    def edit_of(self, commit: str) -> bytes:
        """The training file of a commit, or of the `tip`."""
        name = self.tip if commit == "tip" else commit
        return _raw(self.root, "show", f"{name}:{EDITABLE}")

    def follows_tip(self, commit: str) -> bool:
        """Whether a commit's parent is the tip: somebody may have committed since it was made."""
        return _git(self.root, "rev-parse", f"{commit}^") == self.tip

    def propose(self, edit: bytes, message: str) -> str:
        """Commit a training file beside the branch and put it on trial; the commit."""
        commit = self._commit(edit, message)
        _git(self.root, "update-ref", self._trial + commit, commit)
        return commit

    def keep(self, commit: str) -> None:
        """Make a challenger the incumbent, on top of what others have committed since.

        Args:
          commit: the challenger.
        """
        if self.edit_of("tip") != self.edit_of(commit):
            tip, new = self.tip, commit
            if self.edit == self.edit_of(tip):  # the edit came from elsewhere
                self.write(self.edit_of(commit))
            if not self.follows_tip(commit):
                message = _git(self.root, "log", "-1", "--format=%B", commit)
                new = self._commit(self.edit_of(commit), message)
            _git(self.root, "update-ref", "-m", "autorl: keep", self._head, new, tip)
        if commit not in self.log():  # the ledger names this one: it must not be lost
            _git(self.root, "update-ref", f"refs/autorl/{self.tag}/kept/{commit}", commit)
        self._settle(commit)

    def discard(self, commit: str, run_id: str) -> None:
        """Leave the branch as it is and put the incumbent's file back.

        The working tree's file is put back only if it is still the challenger's: what somebody has
        begun to write since is theirs.

        Args:
          commit: the challenger; it stays reachable.
          run_id: of its last run, the name under which it does.
        """
        _git(self.root, "update-ref", f"refs/autorl/{self.tag}/discarded/{run_id}", commit)
        if self.edit == self.edit_of(commit):
            self.write(self.edit_of("tip"))
        self._settle(commit)

    def _commit(self, edit: bytes, message: str) -> str:
        """A commit on top of the tip, with another training file."""
        tip = self.tip
        blob = _git(self.root, "hash-object", "-w", "--stdin", data=edit)
        with tempfile.TemporaryDirectory(prefix="autorl-index-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            _git(self.root, "read-tree", tip, variables=index)
            entry = f"100644,{blob},{EDITABLE}"
            _git(self.root, "update-index", "--add", "--cacheinfo", entry, variables=index)
            tree = _git(self.root, "write-tree", variables=index)
        author, text = self._author(), words.plain(message).encode()
        return _git(
            self.root, "commit-tree", tree, "-p", tip, "-F", "-", data=text, variables=author
        )

    def _settle(self, commit: str) -> None:
        """The index as the tip has it, and the trial over: the last step of both outcomes."""
        if current(self.root) == self.tag:
            _git(self.root, "reset", "--quiet", "--", EDITABLE)
        _git(self.root, "update-ref", "-d", self._trial + commit)

    def _author(self) -> dict[str, str]:
        """Variables that name an author where git knows none."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _git(self.root, "var", "GIT_COMMITTER_IDENT")
            return {}
        roles = ("AUTHOR", "COMMITTER")
        return {f"GIT_{role}_{key}": value for role in roles for key, value in IDENTITY.items()}


def create(root: Path, tag: str) -> Branch:
    """Make the branch from what is checked out and switch to it; files stay as they are.

    Raises:
      InputError: the name is taken or none, or this is no git checkout with a commit.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", tag) or tag.endswith((".", ".lock")):
        raise InputError(f"{tag!r} cannot be part of a branch name; try letters and digits.")
    try:
        head = _git(root, "rev-parse", "--verify", "HEAD")
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            "An experiment branch needs a git checkout with at least one commit: git init, git "
            "add --all, git commit."
        ) from error
    branch = Branch(root, tag)
    try:
        _git(root, "update-ref", branch._head, head, "0" * len(head))
    except subprocess.CalledProcessError as error:
        raise InputError(
            f"There is a branch {branch.name} already: git switch {branch.name} goes on with it, "
            "another tag begins anew."
        ) from error
    _git(root, "symbolic-ref", "-m", "autorl: init", "HEAD", branch._head)
    return branch


def current(root: Path) -> str | None:
    """The tag of the experiment branch that is checked out; None on other branches."""
    try:
        name = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def _git(
    root: Path, *arguments: str, data: bytes = b"", variables: dict[str, str] | None = None
) -> str:
    """One git command; its output without the last line end."""
    return _raw(root, *arguments, data=data, variables=variables).decode(errors="replace").strip()


def _raw(
    root: Path, *arguments: str, data: bytes = b"", variables: dict[str, str] | None = None
) -> bytes:
    return subprocess.run(
        ["git", *arguments], cwd=root, input=data, capture_output=True, check=True,
        env={**os.environ, **(variables or {})},
    ).stdout  # fmt: skip
