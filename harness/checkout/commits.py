"""Commits of an experiment branch: how two differ, and what one says of the training file."""

import dataclasses
import functools
from pathlib import Path

from harness.checkout import git
from harness.checkout.integrity import plain
from harness.errors import InputError
from harness.places import EDITABLE


@dataclasses.dataclass(frozen=True)
class Distance:
    """How a lead and a tip differ.

    Attributes:
      behind: whether the tip is missing in the lead's history.
      steps: the lead's commits up to what both have, each with its parents; the oldest first.
    """

    behind: bool
    steps: tuple[tuple[str, ...], ...]

    def step(self, challenger: str) -> str | None:
        """The commit by which a challenger came in, itself or another one; None if none did."""
        return next((one[0] for one in self.steps if challenger in one), None)


def data(content: bytes) -> bytes:
    """Content in a stream of `git fast-import`."""
    return b"data %d\n%b\n" % (len(content), content)


@functools.cache
def distance(root: Path, tip: str, lead: str) -> Distance:
    """How two commits differ, by their first parents."""
    if tip == lead:
        return Distance(False, ())
    order = ("--left-right", "--first-parent", "--topo-order", "--reverse", "--format=%m %H %P")
    lines = git.text(root, "rev-list", *order, f"{tip}...{lead}").splitlines()
    sides = [line.split() for line in lines if not line.startswith("commit ")]
    steps = tuple(tuple(commits) for side, *commits in sides if side == ">")
    return Distance(len(steps) < len(sides), steps)


@functools.cache
def entry(root: Path, commit: str) -> tuple[str, str]:
    """Mode and object name of a commit's training file."""
    mode, _, blob, *_ = git.text(root, "ls-tree", commit, EDITABLE).split()
    return mode, blob


def check_replaceable(root: Path, edit: bytes) -> None:
    """Make sure that nothing is lost where a file takes the place of the training file.

    Raises:
      InputError: that is neither the commit's that is checked out nor already the file.
    """
    there = plain((root / EDITABLE).read_bytes())
    if there not in (edit, plain(git.run(root, "cat-file", "blob", f"HEAD:{EDITABLE}"))):
        raise InputError(
            f"{EDITABLE} is not as it was committed, and another file is to take its place: commit "
            f"it, take its changes back (git restore {EDITABLE}), or switch to where the branch is "
            "to begin (git switch main)."
        )
