"""A branch whose lead runs ahead of its proof: every kill, several slots, and what may go wrong.

Scores follow from the file, the role and the place of a run, so that two branches measure the same.
"""

import contextlib
import dataclasses
import itertools
import math
import random
import threading
import time

import pytest

from harness.checkout.branch import Branch, create
from harness.confinement import sandbox
from harness.errors import InputError, TrainingError, WorkerError
from harness.judgement import confirmation, contest, search
from harness.judgement.contest import Contest
from harness.judgement.history import RUNS_PER_END, Conditions, History
from harness.judgement.rulings import LOSSES
from harness.places import EDITABLE, LEDGER
from harness.record.entries import ConfirmationBegun, Role, Run, SetBack, Status, Verdict
from harness.record.ledger import Ledger
from harness.tasks import anchors
from tests.conftest import HALF_CHEETAH, git, rows, run_row
from tests.fake_site import FakeSite, KilledError

LUCKY = 9
"""By how much a file with this word scores better on trial than side by side."""


def repeatable(**options):
    """A place where a run has the score of its file, its role and its place."""
    here = threading.local()

    def score(order, text):
        row, words = here.row, text.split()
        if "crash" in words or f"crash-{row.role}" in words:
            raise TrainingError("as the file wants it")
        luck = LUCKY if "lucky" in words and row.role == Role.CHALLENGER else 0
        drawn = random.Random(repr((text, row.role.value, row.replicate)))
        return float(words[2]) + luck + drawn.gauss(0, 1)

    site = FakeSite(score=score, **options)
    site.before = lambda row: setattr(here, "row", row)
    return site


@pytest.fixture(autouse=True)
def _same_lots(monkeypatch):
    """Lots that fall the same way in all branches."""
    monkeypatch.setattr(contest, "_shuffled", lambda places: [*places[::2], *places[1::2]])


def begun(root, site=None, conditions=HALF_CHEETAH):
    """A branch with a measured baseline."""
    made = Contest(create(root, "tag"), conditions, sandbox.NONE, site=site or repeatable())
    made.measure()
    return made


def again(root, site, conditions=HALF_CHEETAH):
    """The same branch for another process."""
    return Contest(Branch(root, "tag"), conditions, sandbox.NONE, site=site)


def file(skill, *words):
    return " ".join(["SKILL =", str(skill), *words, "\n"]).encode()


def lead_at(ongoing, *skills):
    """Edits that are accepted, one after the other."""
    for skill in skills:
        assert ongoing.challenge(f"skill {skill}", file(skill)).verdict == Verdict.ACCEPT


def entries(root, kind):
    return [entry for entry in Ledger(root / LEDGER).read().entries if isinstance(entry, kind)]


def beside(root):
    """The runs of confirmations that have ended."""
    return [row for row in rows(root) if row.role == Role.CONFIRMATION]


def state(root):
    """Where a branch is, with files in the place of commits and nothing that is drawn."""
    branch = Branch(root, "tag")

    def text(name):
        return branch.edit_of(name).decode()

    past = contest.known(branch)
    there = past.progress()
    runs = [
        (text(row.commit), row.role, row.replicate, row.avg_return, row.verdict, row.reason)
        for row in past.runs
        if not row.status.cut_off
    ]
    return {
        "runs": runs,
        "lots": [(row.lots.number, row.lots.blocks) for row in entries(root, ConfirmationBegun)],
        "falls": [(text(row.challenger), row.reason) for row in entries(root, SetBack)],
        "incumbent": (text(there.incumbent), text("tip"), past.fresh()),
        "lead": ([text(name) for name in there.stack], [text(name) for name in branch.stack()]),
        "shown": branch.edit().decode(),
        "on trial": branch.trials(),
        "open": Ledger(root / LEDGER).read().open(),
    }


EDITS = [
    file(4), file(-5), file(4.2), file(4.1, "lucky"), file(-9), file(12), file(-2), file(13)
]  # fmt: skip
"""A night with everything: the first lead is proved, a lucky one is not, the last ones are."""


def script(ongoing):
    """The night, or the rest of it."""
    ongoing.settle()
    ongoing.measure()
    for number, edit in enumerate(EDITS):
        ongoing.advance()
        last = [row for row in rows(ongoing.branch.root) if row.description == str(number)]
        if not any(row.verdict.final for row in last):
            with contextlib.suppress(InputError):
                ongoing.challenge(str(number), edit)
    ongoing.advance()
    ongoing.advance(50, closing=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the night comes to where nobody kills anything."""
    root = committed(tmp_path_factory.mktemp("undisturbed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "_shuffled", lambda places: [*places[::2], *places[1::2]])
        patch.setattr(search, "CONFIRM", 3.0)
        script(begun(root))
        return state(root)


def committed(folder):
    (folder / "agent_space").mkdir()
    (folder / EDITABLE).write_bytes(file(0))
    (folder / ".gitignore").write_text("/runs/\n/results.tsv\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(folder, *arguments)
    return folder


def test_x(undisturbed):
    import pprint
    pprint.pprint(undisturbed, width=220)
    assert 0
