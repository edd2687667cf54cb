"""The keep rule: its test, its levels, its hurdles, and what they do in simulated nights."""

import dataclasses
import itertools
import math
import random
import statistics

import numpy as np
import pytest
from scipy import stats

from harness.judgement import simulation, verdict
from harness.judgement.simulation import Conditions, Hand
from harness.judgement.verdict import Look

NOISES = {
    "gaussian": simulation.gaussian,
    "lognormal": simulation.lognormal,
    "a tenth stalls": simulation.bimodal(0.1),
    "half of them stall": simulation.bimodal(0.5),
}


def draws(shift, count, seed):
    return list(np.random.default_rng(seed).normal(shift, 1, count))


@pytest.mark.parametrize("seed", range(5))
def test_the_p_value_is_that_of_scipys_permutation_test(seed):
    challenger, incumbent = draws(0.7, 4, seed), draws(0, 9, seed + 100)
    reference = stats.permutation_test(
        (challenger, incumbent), lambda x, y: statistics.fmean(x) - statistics.fmean(y),
        alternative="greater", n_resamples=np.inf, vectorized=False,
    )  # fmt: skip
    assert verdict.p_value(challenger, incumbent) == pytest.approx(reference.pvalue)


def test_a_sampled_p_value_is_near_the_exact_one_and_always_the_same(monkeypatch):
    challenger, incumbent = draws(0.7, 6, 1), draws(0, 14, 2)
    sampled = verdict.p_value(challenger, incumbent)
    assert sampled == verdict.p_value(challenger, incumbent)
    monkeypatch.setattr(verdict, "EXACT_UP_TO", 10**6)
    verdict._choices.cache_clear()
    exact = verdict.p_value(challenger, incumbent)
    verdict._choices.cache_clear()
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact / verdict.RESAMPLES))


def test_equal_scores_are_no_evidence():
    assert verdict.p_value([500.0] * 4, [500.0] * 10) == 1
    assert verdict.judge([500.0], [500.0] * 10, [], 1).step == "discard"


def test_a_branch_can_spend_its_errors_only_once_however_long_it_lives():
    first = sum(verdict.alpha(number) for number in range(1, verdict.NIGHT_LENGTH + 1))
    later = sum(verdict.alpha(number) for number in range(verdict.NIGHT_LENGTH + 1, 100_000))
    assert first == pytest.approx(verdict.FALSE_KEEPS)
    assert later < verdict.FALSE_KEEPS


NUMBERS = (1, 40, 41, 317, 400, 1000)
"""Of challengers, to whom some look at so few runs as ten of the incumbent's allows something."""

LATE = 10**6
"""Of a challenger who needs thirty: among ten and five there is no p-value so small."""


@pytest.mark.parametrize(("number", "before"), itertools.product(NUMBERS, (10, 30)))
def test_looks_spend_a_challengers_share_and_no_more(number, before):
    levels = verdict.look_levels(number, (Look(before),) * verdict.MAX_REPLICATES)
    share = verdict.LOOKS_OVERLAP * verdict.alpha(number)
    assert len(levels) == verdict.MAX_REPLICATES
    assert all(level >= 0 for level in levels)
    assert 0.8 * share < sum(levels) <= share * (1 + 1e-9)


@pytest.mark.slow
def test_a_challenger_whose_share_no_p_value_reaches_is_not_kept_and_spends_nothing():
    share = verdict.LOOKS_OVERLAP * verdict.alpha(LATE)
    for before, reaches in ((10, False), (30, True)):
        finest = 1 / math.comb(before + 5 + 12, 12)  # of the last look: with five runs beside it
        assert (finest <= share) == reaches
        levels = verdict.look_levels(LATE, (Look(before),) * verdict.MAX_REPLICATES)
        assert sum(levels) == pytest.approx(finest if reaches else 0)
        said = verdict.judge(draws(50, 12, 1), draws(0, before, 2), draws(0, 5, 3), LATE)
        assert said.step == ("keep" if reaches else "discard")


@pytest.mark.parametrize("number", NUMBERS)
def test_looks_spend_no_more_where_the_incumbent_changes_between_them(number):
    generator, share = random.Random(number), verdict.LOOKS_OVERLAP * verdict.alpha(number)
    for _ in range(200):
        looks = tuple(
            Look(generator.randrange(4, 31), verdict.picks(12, generator.randrange(3)))
            for _ in range(verdict.MAX_REPLICATES)
        )
        levels = verdict.look_levels(number, looks)
        assert all(level >= 0 for level in levels)
        spent = sum(level * look.picks for level, look in zip(levels, looks, strict=True))
        assert 0.7 * share < spent <= share * (1 + 1e-9)
        assert verdict.look_levels(number, looks[:7]) == levels[:7]


@pytest.mark.parametrize("number", [*NUMBERS, LATE])
def test_whoever_is_far_better_is_kept_however_many_came_before(number):
    challenger, before = draws(50, 12, 1), draws(0, 30, 2)
    beside = draws(0, 5, 3)
    steps = (verdict.judge(challenger[:n], before, beside, number).step for n in range(1, 13))
    assert "keep" in steps


def test_a_fine_p_value_is_that_of_all_rearrangements():
    """Each counted one by one, against the count by halves."""
    for count, others, shift in ((5, 15, 2.5), (6, 13, 2.0), (9, 9, 1.5)):
        challenger, incumbent = draws(shift, count, 1), draws(0, others, 2)
        runs = [*challenger, *incumbent]
        least = sum(challenger) - 1e-9
        ways = math.comb(count + others, count)
        assert ways > verdict.EXACT_UP_TO
        as_good = sum(sum(some) >= least for some in itertools.combinations(runs, count))
        assert verdict.p_value(challenger, incumbent, 1e-6) == as_good / ways


def test_runs_can_be_picked_in_as_many_ways_as_ends_are_spread_over_them():
    for runs, again in itertools.product((1, 3, 5), (0, 1, 2)):
        spread = itertools.combinations_with_replacement(range(runs), again)
        assert verdict.picks(runs, again) == len(list(spread))


def test_a_run_that_was_made_again_has_to_show_more():
    incumbent, challenger = draws(0, 10, 3), [9.0] * 4
    assert verdict.judge(challenger, incumbent, [0.0], 1).step == "keep"
    looks = [Look(10)] * 3
    again = verdict.judge(challenger, incumbent, [0.0], 1, looks, verdict.picks(4, 1))
    assert again.step == "incumbent"
    more = verdict.judge([9.0] * 6, incumbent, [0.0] * 2, 1, None, verdict.picks(6, 1))
    assert more.step == "keep"


def test_a_verdict_counts_what_earlier_looks_have_spent():
    incumbent, challenger = draws(0, 11, 3), [9.0] * 4
    of_eleven = verdict.judge(challenger, incumbent, [0.0], 1)
    after_a_look_at_ten = verdict.judge(
        challenger, incumbent, [0.0], 1, [Look(11), Look(11), Look(10)]
    )
    assert "with 0.0016 allowed" in of_eleven.reason
    assert "with 0.0011 allowed" in after_a_look_at_ten.reason


def test_a_look_that_can_keep_has_a_level_that_a_p_value_can_reach():
    for count, level in enumerate(verdict.look_levels(1, (Look(10),) * 12), start=1):
        runs = 10 + (count - 1) // verdict.RUNS_PER_REMEASUREMENT
        best = verdict.p_value([9.0] * count, [float(i) / 100 for i in range(runs)])
        assert level == 0 or best <= level


def test_a_challenger_is_run_again_only_while_it_is_ahead():
    incumbent = [float(i) for i in range(10)]
    mean, spread = statistics.fmean(incumbent), statistics.stdev(incumbent)
    hurdle = mean + verdict.HURDLES[0] * spread
    assert verdict.judge([hurdle - 0.01], incumbent, [], 1).step == "discard"
    assert verdict.judge([hurdle + 0.01], incumbent, [], 1).step == "challenger"


def test_a_freak_run_of_the_incumbent_does_not_end_every_challenger():
    incumbent = [*draws(0, 11, 3), 1000.0]
    assert 50 < statistics.fmean(incumbent) < 100
    assert verdict.judge([90.0], incumbent, [], 1).step == "challenger"


def test_the_incumbent_is_measured_again_beside_a_challenger():
    incumbent = draws(0, 10, 3)
    steps, challenger, beside = [], [1.5], []
    for value in (1.2, 1.4, 1.1):
        said = verdict.judge(challenger, incumbent, beside, 1)
        steps.append(said.step)
        (beside if said.step == "incumbent" else challenger).append(value)
    assert steps == ["challenger", "incumbent", "challenger"]


def test_a_verdict_says_why():
    incumbent = draws(0, 10, 3)
    lost = verdict.judge([-1.0], incumbent, [], 1)
    assert lost.reason.startswith("-1 in 1 run against ")
    assert "is needed to continue" in lost.reason
    won = verdict.judge([9.0] * 4, incumbent, [0.0], 1)
    assert won.step == "keep"
    assert "p = 0.00073 with" in won.reason


def test_a_challenger_that_cannot_be_told_apart_ends_at_the_cap():
    incumbent = [float(i % 3) for i in range(10)]
    challenger = [2.7, 1.6] * (verdict.MAX_REPLICATES // 2)
    said = verdict.judge(challenger, incumbent, [1.0, 2.0, 2.4, 2.4, 2.4], 1)
    assert said.step == "discard"
    assert "p = 0.0078 with 0.0012 allowed: not shown to be better in 12 runs" in said.reason


def kept_of_nothing(conditions, count):
    generator = random.Random(1)
    quiet = [0.0] * verdict.NIGHT_LENGTH
    played = [
        simulation.sequential(simulation.gaussian, quiet, generator, conditions=conditions)
        for _ in range(count)
    ]
    return statistics.fmean(night.false_keeps for night in played)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hand", "most", "gain"),
    [
        (Hand("challenger", high=False, limit=0.5), 2, 0.8),
        (Hand("beside", high=True, limit=0.0), 2, 0.3),
    ],
)
def test_who_ends_runs_gains_where_that_is_free_and_not_under_the_rule(hand, most, gain):
    """Thirty nights each: the figures of `docs/keep-rule.md` come from hundreds."""
    always = dataclasses.replace(hand, most=math.inf)
    assert kept_of_nothing(Conditions(hand=always, free=True), 30) > gain
    bounded = dataclasses.replace(hand, most=most)
    assert kept_of_nothing(Conditions(hand=bounded), 30) < verdict.FALSE_KEEPS + 0.1


def test_an_incumbent_that_fails_where_it_is_low_is_measured_no_higher():
    hand = Hand("fresh", high=False, limit=0.0, most=math.inf, fails=True)
    errors = {}
    for free in (True, False):
        generator, conditions = random.Random(1), Conditions(hand=hand, free=free)
        played = [
            simulation.sequential(simulation.gaussian, [5.0], generator, conditions=conditions)
            for _ in range(60)
        ]
        errors[free] = statistics.fmean(n.errors[-1] for n in played if n.last_kept)
    assert errors[True] > 0.4
    assert errors[False] < 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NOISES)
def test_of_nothing_little_is_kept_and_of_two_deviations_most(name):
    """Few nights: the figures of `docs/keep-rule.md` come from thousands."""
    generator = random.Random(1)
    idle = [simulation.sequential(NOISES[name], [0.0] * 40, generator) for _ in range(100)]
    kept = statistics.fmean(night.false_keeps for night in idle)
    assert kept < verdict.FALSE_KEEPS + 3 * math.sqrt(verdict.FALSE_KEEPS / 100)
    assert statistics.fmean(night.runs / 40 for night in idle) < 2.5
    assert simulation.detection(NOISES[name], 2.0, 150, generator) > 0.7
