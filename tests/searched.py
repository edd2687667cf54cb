"""A branch on which everything has happened that a night can bring, made in no time.

In the words of its training files, `SKILL = x # truly y`: the search sees scores around x, and a
confirmation around y. So an edit can look better than it is.
"""

import contextlib
import dataclasses
import random
from pathlib import Path

from harness.checkout.beginning import create
from harness.confinement import sandbox
from harness.errors import TrainingError
from harness.judgement.contest import Contest
from harness.places import EDITABLE
from harness.record.entries import Role, Run
from tests.conftest import HALF_CHEETAH, git
from tests.fake_site import FakeSite

HOSTILE = '<script>alert("x")</script> & <b>bold</b>'
"""What the edit that crashes is called."""

SET_ASIDE, PROVED_BELOW, CRASHED, PROVED, SET_BACK, STOPPED, LEADS = range(1, 8)
"""Numbers of the experiments, by what becomes of them."""

EDITS = {
    SET_ASIDE: "-3 # truly -3",
    PROVED_BELOW: "6 # truly 6",
    CRASHED: "0 # truly 0 crash",
    PROVED: "12 # truly 12",
    SET_BACK: "17 # truly 8",
    STOPPED: "-9 # truly -9",
    LEADS: "15 # truly 15",
}
"""Of each experiment its file: what it seems to be worth, and what it is worth."""


def begun(folder: Path) -> Contest:
    """A branch with a baseline, in a new checkout."""
    (folder / "agent_space").mkdir(parents=True)
    (folder / EDITABLE).write_text("SKILL = 0 # truly 0\n")
    (folder / ".gitignore").write_text("/runs/\n/results.tsv\n/report/\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(folder, *arguments)
    noise, running = random.Random(0), []

    def score(order: object, text: str) -> float:
        words = text.split()
        if "crash" in words:
            raise TrainingError("as the file wants it")
        side_by_side = running[-1].role in (Role.CONFIRMATION, Role.ESTIMATE)
        return float(words[5 if side_by_side else 2]) + noise.gauss(0, 1)

    def remember(row: Run) -> None:
        running.append(row)

    site = FakeSite(score=score, reported=lambda text, score: score + noise.gauss(0, 0.3))
    site.before = remember
    conditions = dataclasses.replace(HALF_CHEETAH, budget=2.0, stopping=True)
    contest = Contest(create(folder, "night"), conditions, sandbox.NONE, site=site)
    contest.measure()
    return contest


def searched(folder: Path) -> Contest:
    """The branch, in a new checkout."""
    contest = begun(folder)
    for number, words in EDITS.items():
        with contextlib.suppress(TrainingError):
            message = HOSTILE if number == CRASHED else f"edit {number}"
            contest.challenge(message, f"SKILL = {words} # {number}\n".encode())
        if number in (PROVED, SET_BACK):
            contest.advance(closing=True)
    return contest
