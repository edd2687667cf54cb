"""How many runs it takes to prove an improvement."""

import random

import pytest

from harness.judgement import chance, confirmation, noise, power, search

LEVEL = confirmation.level(1, [])


@pytest.fixture(scope="module")
def spread():
    generator = random.Random(1)
    return noise.fit([[generator.gauss(0, 3) for _ in range(20)]])


def test_a_larger_improvement_takes_fewer_runs(spread):
    small, large = (power.enough(s, spread, chance.gaussian, LEVEL) for s in (1.5, 3.0))
    assert search.CLOSING_PAIRS[0] <= large < small <= search.CLOSING_PAIRS[2]


def test_a_stricter_level_takes_more_runs(spread):
    first, later = (power.enough(2.0, spread, chance.gaussian, level) for level in (LEVEL, 0.01))
    assert first < later


def test_what_changes_nothing_is_proved_no_more_often_than_the_level_says(spread):
    """200 confirmations: three standard deviations above the level."""
    rate = power.rate(0.0, 7, spread, chance.gaussian, LEVEL)
    assert rate <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / power.TRIALS) ** 0.5
    assert power.enough(0.0, spread, chance.gaussian, LEVEL) is None
