"""Rates in reasons: what a file costs in speed, and a machine that does something else."""

import pytest

from harness.checkout.beginning import create
from harness.judgement import pace
from harness.judgement.contest import Contest
from tests.conftest import HALF_CHEETAH, rows

UPDATE = 4096


@pytest.mark.parametrize(
    ("rate", "other", "told"),
    [(100, 124, False), (100, 125, True), (125, 100, True), (0, 100, False), (100, 0, False)],
)
def test_rates_that_differ_by_a_quarter_are_told(rate, other, told):
    assert pace.differ(rate, other) == told


@pytest.fixture
def ongoing(root, site):
    """A branch that makes 10,000 steps a second, or what `site.rate` says by a run's row."""
    site.rate = lambda row: 10_000

    def trained(row, measured):
        rate = site.rate(row)
        measured.training.curve = [(float(t), rate * t, {}) for t in (1, 2)]

    site.after = trained
    made = Contest(create(root, "tag"), HALF_CHEETAH, "none", site=site)
    made.measure()
    return made


def tried(ongoing, root, skill):
    """The reasons of the runs that an edit has caused."""
    before = len(rows(root))
    ongoing.challenge("edit", f"SKILL = {skill} # {before}\n".encode())
    return [(row.role, row.reason) for row in rows(root)[before:]]


def test_the_rates_of_an_edit_and_its_incumbent_are_told_where_they_differ(ongoing, root, site):
    ((_, same),) = tried(ongoing, root, -9)
    assert "steps/s" not in same
    site.rate = lambda row: 4_000
    ((_, slow),) = tried(ongoing, root, -9)
    assert slow.endswith("It made 4,000 steps/s, the incumbent's runs 10,000.")


def test_a_machine_that_has_other_work_shows_in_the_reasons_of_both_sides(ongoing, root, site):
    site.rate = lambda row: 10_000 if row.replicate == 1 and row.role == "challenger" else 5_000
    reasons = tried(ongoing, root, 9)
    told = "arlier runs of its file 10,000: the machine had other work then, or has it now."
    second = next(reason for role, reason in reasons[1:] if role == "challenger")
    assert second.endswith(f"It made 5,000 steps/s, the incumbent's runs 10,000. E{told}")
    ongoing.advance(20, closing=True)
    proof = [row for row in rows(root) if row.role == "confirmation"]
    beside = next(row.reason for row in proof if row.commit != row.challenger)
    assert beside.endswith(f"It made 5,000 steps/s, e{told}")
