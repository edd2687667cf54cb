"""The search: how runs scatter, what is believed of a file, and what that is worth."""

import itertools
import math
import random
import time

import numpy as np
import pytest
from scipy import stats

from harness.judgement import belief, confirmation, noise, search
from harness.judgement.search import File, Outlook

GENERATOR = random.Random(3)


def normal(count, mean=0.0, deviation=1.0):
    return [GENERATOR.gauss(mean, deviation) for _ in range(count)]


UNIT = noise.fit([[-1.0, 0.2, 1.1, -0.4, 0.6, -0.5]])


def distance(found, truth):
    """How far two densities over the grid are apart: 0 where they are the same, 1 at most."""
    return 0.5 * np.abs(found - truth).sum() * noise.FINENESS


def test_normal_scatter_is_recovered():
    found = noise.fit([normal(4, mean, 50.0) for mean in range(0, 3000, 100)])
    assert found.deviation == pytest.approx(50, rel=0.15)
    assert distance(found.density, stats.norm.pdf(noise.GRID)) < 0.12


def test_smoothing_makes_a_density_no_wider():
    """Of what was seen; what is assumed beside it has heavy tails."""
    found, count = noise.fit([normal(40, mean) for mean in (0.0, 50.0, 9.0)]), 120
    assumed = noise.PRIOR_RUNS * noise._assumed()
    seen = ((found.density - noise.FLOOR) * (noise.PRIOR_RUNS + count) - assumed) / count
    variance = (seen * noise.GRID**2).sum() * noise.FINENESS
    assert variance == pytest.approx(1, abs=0.01)


def test_two_heaps_are_recovered():
    scores = [GENERATOR.gauss(0, 1) - 10 * (i % 10 < 3) for i in range(120)]
    found = noise.fit([scores])
    low, high = ((centre + 3.0) / found.deviation for centre in (-10.0, 0.0))
    heaps, valley = found.likelihood(np.array([low, high])), found.likelihood(np.array([-0.4]))
    assert heaps.min() > 3 * valley[0]
    assert heaps[1] / heaps[0] == pytest.approx(0.7 / 0.3, rel=0.4)


def test_with_little_known_tails_are_thought_to_be_heavy():
    few, many = noise.fit([normal(2)]), noise.fit([normal(120)])
    assert few.likelihood(np.array([5.0])) > 5 * many.likelihood(np.array([5.0]))


@pytest.mark.parametrize("groups", [[normal(2)], [normal(9), normal(3)], [[0.0] * 9 + [1e6]]])
def test_a_density_is_one_in_all_besides_its_floor(groups):
    found = noise.fit(groups)
    whole = found.density.sum() * noise.FINENESS - noise.FLOOR * len(noise.GRID) * noise.FINENESS
    assert whole == pytest.approx(1, abs=0.01)
    assert found.density.min() >= noise.FLOOR


def test_scatter_is_that_around_the_true_value_and_not_around_the_few_runs_mean():
    pairs = [[mean + a, mean - a] for mean, a in ((0.0, 3.0), (100.0, 3.0))]
    assert noise.fit(pairs).deviation == pytest.approx(3 * math.sqrt(2))


def test_a_density_has_no_unit_and_a_deviation_has_that_of_scores():
    scores = normal(9)
    one, other = noise.fit([scores]), noise.fit([[500 + 20 * score for score in scores]])
    assert other.deviation == pytest.approx(20 * one.deviation)
    assert other.density == pytest.approx(one.density)


def test_single_runs_say_nothing_and_neither_does_the_order_within_a_file():
    scores = normal(6)
    one = noise.fit([scores, normal(1, 99.0)])
    other = noise.fit([normal(1, -50.0), scores[::-1]])
    assert one.deviation == pytest.approx(other.deviation)
    assert one.density == pytest.approx(other.density)
    with pytest.raises(ValueError, match="no file has two runs"):
        noise.fit([[1.0], [2.0]])


def test_the_files_that_came_last_are_remembered():
    late = [normal(4) for _ in range(noise.DIFFERENCES // 4)]
    assert noise.fit([normal(50, 0, 9.0), *late]).deviation == noise.fit(late).deviation


@pytest.mark.parametrize("value", [0.0, 1000.1, -3e9])
def test_scores_that_do_not_differ_are_no_error(value):
    found = noise.fit([[value] * 4])
    assert 0 < found.deviation <= 1e-8 * max(1.0, abs(value))
    files = {"0": File("0", None, (value,) * 4), "1": File("1", "0", (value,), 1)}
    outlook = Outlook(files, "0", ())
    assert math.isfinite(outlook.gain("1"))
    better = outlook.with_file(File("1", "0", (value + 1 + abs(value),), 1))
    assert better.gain("1") > outlook.gain("1")


def posterior(scores, parent):
    """The expected value of an edit after runs of its parent and its own, sum by sum."""
    values, effects = belief.VALUES, belief.EFFECTS
    chance = dict(zip(effects.round(6), belief._effects(), strict=True))

    def fits(value, runs):
        said = [UNIT.likelihood(np.array([(score - value) / UNIT.deviation]))[0] for score in runs]
        return math.prod(said)

    before = {v: math.exp(-0.5 * (v / belief.WIDE) ** 2) * fits(v, parent) for v in values}
    weights = {
        v: fits(v, scores) * sum(w * chance.get(round(v - u, 6), 0.0) for u, w in before.items())
        for v in values
    }
    return sum(v * w for v, w in weights.items()) / sum(weights.values())


@pytest.mark.parametrize("scores", [(), (0.7,), (2.0, 1.1), (-1.5,)])
def test_a_belief_is_that_of_bayes(scores):
    parent = (0.1, -0.3, 0.4)
    there = belief.unknown()
    for score in parent:
        there = belief.seen(there, score, UNIT, 1.0)
    there = belief.edited(there)
    for score in scores:
        there = belief.seen(there, score, UNIT, 1.0)
    assert there.sum() == pytest.approx(1)
    assert belief.mean(there) == pytest.approx(posterior(scores, parent), abs=1e-6)


def test_edits_are_thought_to_do_what_the_shares_say():
    chance = belief._effects()
    assert chance.sum() == pytest.approx(1)
    low, high = belief.IMPROVEMENT
    better = (low <= belief.EFFECTS) & (high >= belief.EFFECTS)
    assert chance[better].sum() == pytest.approx(belief.GOOD - belief.GREAT)
    assert chance[np.abs(belief.EFFECTS) < 1e-6].sum() == pytest.approx(belief.IDLE)
    assert chance[high < belief.EFFECTS].sum() == pytest.approx(belief.GREAT)


FILES = {"0": File("0", None, (0.3, -0.8, 1.0, -0.5, 0.1, -0.1))}


def outlook(*scores, looks=None):
    """An incumbent with six runs, and an edit of it with these."""
    edit = File("1", "0", scores, len(scores) if looks is None else looks)
    return Outlook({**FILES, "1": edit}, "0", ())


@pytest.mark.parametrize("far", [6.0, 20.0, 1e3, 1e12])
def test_a_score_that_is_far_off_counts_as_far_and_is_not_overlooked(far):
    fixed = outlook(0.0)  # its noise: else the scores of the edit are the noise
    one, two = (fixed.with_file(File("1", "0", (far,) * n, n)) for n in (1, 2))
    assert one.gain("1") > outlook(1.0).gain("1")
    assert search.is_accepted(one, "1") is not False
    assert search.is_accepted(two, "1") is True
    worse = fixed.with_file(File("1", "0", (-far,), 1))
    assert worse.gain("1") < outlook(-1.0).gain("1")
    assert search.second_look(worse, ["1"], {}) is None


@pytest.mark.parametrize("ahead", [9.0, 12.0, 30.0, 300.0])
def test_beside_a_lead_that_is_far_ahead_edits_are_told_apart(ahead):
    """It is not proved yet, and edits are made on it."""
    scatter = (0.3, -0.8, 1.0, -0.5, 0.1, -0.1)
    files = {
        "0": File("0", None, tuple(100.0 + one for one in scatter)),
        "1": File("1", "0", tuple(100.0 + ahead + one for one in scatter), 4),
    }

    def edit(gain, looks=2, simpler=False):
        scores = tuple(100.0 + ahead + gain + one for one in (0.2, -0.2)[:looks])
        made = File("2", "1", scores, looks, simpler)
        return Outlook({**files, "2": made}, "0", ["1"])

    gains = [edit(gain).gain("2") for gain in (-200.0, -5.0, -1.0, 0.0, 1.0, 3.0, 200.0)]
    assert gains == sorted(gains)
    assert gains[-1] > gains[-2] > gains[-3] > search.ACCEPT > gains[3]
    assert search.is_accepted(edit(3.0), "2") is True
    assert search.is_accepted(edit(0.0), "2") is False
    # As good, and simpler: not what is far worse, though far better than the incumbent.
    assert search.is_accepted(edit(0.0, simpler=True), "2") is True
    assert search.is_accepted(edit(-5.0, simpler=True), "2") is False
    there = edit(0.0)
    assert there.ahead() > search.CONFIRM
    assert there.origin + there.unit * there.value("1") == pytest.approx(100 + ahead, abs=0.5)
    assert there.bar() == pytest.approx(100.0 + ahead + 0.9 * search.ACCEPT * there.unit, abs=0.5)


def test_a_lead_that_was_lucky_once_is_not_far_ahead():
    """Its runs side by side have been as the incumbent's."""
    assert belief.origin([1.0, -1.0], [60.0, 0.2, -0.1, 0.3], 1.0) == 0.0
    assert belief.origin([1.0, -1.0], [60.0, 60.0], 1.0) > 0.0
    assert belief.origin([1.0, -1.0], [], 1.0) == 0.0


def test_an_edit_leads_after_two_good_runs_and_not_after_one():
    assert search.is_accepted(outlook(2.5), "1") is None
    assert search.is_accepted(outlook(2.5, 2.1), "1") is True


def test_an_edit_that_is_no_better_is_set_aside_at_once():
    assert search.is_accepted(outlook(-1.0), "1") is False


def test_no_edit_is_looked_at_for_ever():
    for score in np.arange(-1.0, 3.0, 0.25):
        assert search.is_accepted(outlook(*[score] * search.LOOKS), "1") is not None


def test_a_second_look_goes_to_the_best_that_was_set_aside():
    files = FILES | {
        "bad": File("bad", "0", (-2.0,), 1),
        "near": File("near", "0", (0.6,), 1),
        "nearer": File("nearer", "0", (0.8,), 1),
        "often": File("often", "0", (0.9,) * search.MOST_SECOND_LOOKS, search.MOST_SECOND_LOOKS),
        "stopped": File("stopped", "0"),
    }
    there = Outlook(files, "0", ())
    low = {"stopped": there.origin - 0.1}
    assert search.second_look(there, list(files)[1:], low) == "nearer"
    assert search.second_look(there, ["bad", "stopped", "near"], low) == "near"
    assert search.second_look(there, ["bad", "often"], low) is None
    assert search.second_look(there, [], low) is None


def test_a_stopped_edit_is_looked_at_again_for_what_its_report_lets_hope():
    there = Outlook(FILES | {"1": File("1", "0", (0.6,), 1), "2": File("2", "0")}, "0", ())
    for hope, best in ((-0.1, "1"), (3.0, "2")):
        assert search.second_look(there, ["1", "2"], {"2": there.origin + hope}) == best
    assert search.second_look(there, ["2"], {"2": there.origin - 3.0}) is None


def stacked(*means, runs=3):
    """An incumbent and edits on top of each other, each with runs around a mean."""
    files = dict(FILES)
    for number, mean in enumerate(means, start=1):
        scores = tuple(mean + 0.3 * (i - (runs - 1) / 2) for i in range(runs))
        files[str(number)] = File(str(number), str(number - 1), scores, runs)
    return Outlook(files, "0", [str(number + 1) for number in range(len(means))])


def test_a_lead_falls_back_to_where_it_would_still_be_made_the_lead():
    assert search.falls(stacked()) == 0
    assert search.falls(stacked(2.0, 3.0)) == 0
    assert search.falls(stacked(-0.5)) == 1
    assert search.falls(stacked(2.5, -1.0, -1.0)) == 2
    assert search.falls(stacked(-1.5, -1.5, -1.5)) == 3


def test_a_confirmation_is_due_where_the_lead_is_far_ahead_and_when_the_night_ends():
    level = confirmation.level(1, [])
    ahead, far = stacked(1.5), stacked(2.0, 4.0, 6.0, 8.0)
    assert not search.is_due(ahead, 100, False, level)
    assert search.is_due(ahead, 100, True, level)
    assert search.is_due(far, 100, False, level)
    assert not search.is_due(stacked(), 100, True, level)
    assert not search.is_due(stacked(-1.0), 100, True, level)


@pytest.mark.parametrize("closing", [True, False])
def test_a_confirmation_is_begun_only_with_the_time_for_it_and_where_it_can_keep(closing):
    far = stacked(2.0, 4.0, 6.0, 8.0)
    numbers = (1, 2, 5, 14, 15, 100, 1000)
    begun = 0
    for left, number in itertools.product([*np.arange(0, 40, 0.25), math.inf], numbers):
        level = confirmation.level(number, [])
        design = search.pairs(left, closing, level)
        if search.is_due(far, left, closing, level):
            begun += 1
            assert 2 * sum(design) + search.ESTIMATE_RUNS <= left
            assert confirmation.can_keep(design, level)
    assert begun
    for number in numbers:  # there is no end of it
        assert search.is_due(far, 100, closing, confirmation.level(number, []))


def test_a_night_that_ends_puts_what_is_left_into_its_last_confirmation():
    first, further, most = search.CLOSING_PAIRS
    for left in np.arange(2 * first + search.ESTIMATE_RUNS, 60, 0.5):
        design = search.pairs(left, True, 0.1)
        assert sum(design) == min(most, (left - search.ESTIMATE_RUNS) // 2)
        assert max(design) <= max(first, further) + 1


def test_a_confirmation_is_made_sharp_for_a_jump_within_bounds():
    least, most = search.JUMP
    assert search.jump(stacked(-1.0)) == pytest.approx(least * stacked(-1.0).unit)
    assert search.jump(stacked(3.0, 6.0)) == pytest.approx(most * stacked(3.0, 6.0).unit)


def test_a_confirmation_goes_on_while_there_is_hope():
    assert search.keeps_on(stacked(1.0))
    assert not search.keeps_on(stacked(-2.0))


def test_the_bar_of_a_first_run_lies_above_the_lead_by_less_than_is_asked():
    there = stacked(2.0)
    lead = there.origin + there.unit * there.value(there.lead)
    assert lead < there.bar() <= lead + there.unit * search.ACCEPT


def test_figures_are_from_the_incumbent_in_deviations():
    moved = {
        name: File(name, file.made_on, tuple(100 + 7 * s for s in file.scores), file.looks)
        for name, file in stacked(1.0, 2.0).files.items()
    }
    here, there = stacked(1.0, 2.0), Outlook(moved, "0", ["1", "2"])
    assert there.unit == pytest.approx(7 * here.unit)
    assert there.gain("1") == pytest.approx(here.gain("1"))
    assert there.ahead() == pytest.approx(here.ahead())


def test_what_is_believed_does_not_depend_on_what_was_asked_before():
    """A night that goes on after a kill decides as it would have."""
    chain = stacked(*np.arange(0.3, 9.0, 0.3), runs=1)
    names = list(chain.files)
    forward = {name: chain.value(name) for name in names}
    other = stacked(*np.arange(0.3, 9.0, 0.3), runs=1)
    backward = {name: other.value(name) for name in reversed(names)}
    assert forward == backward


def test_other_runs_of_a_file_change_what_is_believed_of_its_edits():
    there = stacked(1.0, 2.0)
    before = there.value("2")
    lucky = there.with_file(File("1", "0", (4.0, 4.1, 4.2), 3))
    assert lucky.value("2") > before
    assert there.value("2") == before


def test_a_branch_of_thousands_of_edits_is_thought_through_in_a_moment():
    files, lead = dict(FILES), "0"
    stack = []
    for number in range(1, 2000):
        name = str(number)
        files[name] = File(name, lead, tuple(normal(1 + (number % 5 == 0))), 1)
        if number % 200 == 0:
            stack.append(name)
            lead = name
    begun = time.perf_counter()
    there = Outlook(files, "0", stack)
    search.second_look(there, [name for name in files if name not in (*stack, "0")], {})
    search.falls(there)
    assert time.perf_counter() - begun < 1.5


@pytest.mark.parametrize("number", [1, 2, 4, 10, 100])
def test_an_edit_of_two_runs_leaves_enough_for_a_proof(number):
    level = confirmation.level(number, ())
    left = search.reserve(level) - search.LOOKS
    pairs = search.pairs(left, True, level)
    assert confirmation.can_keep(pairs, level)
    assert 2 * sum(pairs) + search.ESTIMATE_RUNS <= left


def test_without_a_lead_a_night_uses_its_last_run():
    assert not search.is_over((), 1, 0.01)
    assert search.is_over((), 0.9, 0.01)
    assert search.is_over(("edit",), search.RESERVE - 1, confirmation.level(1, ()))
    assert not search.is_over(("edit",), search.RESERVE, confirmation.level(1, ()))
