"""The proof: lots alone are kept no more often than the level says, whatever the machine does."""

import dataclasses
import itertools
import math
import random
import statistics

import numpy as np
import pytest
from scipy import stats

from harness.judgement import confirmation, noise
from harness.judgement.confirmation import Block, Design

NOISE = noise.fit([[0.3, -1.2, 0.8, 0.1, -0.4, 1.5, -0.9, 0.2]])
GENERATOR = random.Random(5)

PAIRS = 2, 2, 1
"""Of a design with 72 ways, which can all be tried."""

SCORES = {
    "normal": [GENERATOR.gauss(0, 1) for _ in range(10)],
    "some equal": [3.0, 3.0, 1.0, 3.0, 1.0, 1.0, 3.0, 1.0, 3.0, 3.0],
    "all equal": [1000.1] * 10,
    "rising": [0.5 * place for place in range(10)],
    "falling": [-(1.5**place) for place in range(10)],
    "faster from the second block on": [*(GENERATOR.gauss(0, 1) for _ in range(4)),
                                        *(GENERATOR.gauss(50, 1) for _ in range(6))],
    "some stall": [GENERATOR.gauss(0, 0.2) - 4 * (place % 3 == 0) for place in range(10)],
    "one far off": [*(GENERATOR.gauss(0, 1) for _ in range(9)), 1e7],
}  # fmt: skip
"""What a machine may do to ten runs, in their order."""


def design(level, pairs=PAIRS, **others):
    return Design(level, pairs, 1.0, NOISE, **others)


def halves(pairs):
    """All ways to give half of the places of a block to the lead."""
    places = range(2 * pairs)
    return [
        tuple(place in chosen for place in places)
        for chosen in itertools.combinations(places, pairs)
    ]


def lots(pairs=PAIRS):
    """All ways to hand out the places of a design."""
    return list(itertools.product(*map(halves, pairs)))


def blocks(scores, lot):
    """The blocks of a confirmation in which runs scored so, in their order."""
    found, at = [], 0
    for lead in lot:
        found.append(Block(tuple(scores[at : at + len(lead)]), lead))
        at += len(lead)
    return found


def kept_at(made, scores, lot):
    """The look at which a confirmation is kept, counted from 1; None if at none."""
    there = blocks(scores, lot)
    looks = (confirmation.look(made, there[:count]) for count in range(1, len(there) + 1))
    return next((count for count, said in enumerate(looks, start=1) if said.kept), None)


def reference(made, scores):
    """The look at which each way is kept, one way after the other, from the rule's description."""
    ways, found = lots(made.pairs), {}
    sums, means = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    at = done = 0
    for count, pairs in enumerate(made.pairs, start=1):
        block = scores[at : at + 2 * pairs]
        worth = confirmation.evidence(np.array(block), made.jump, made.noise)
        for way in ways:
            sums[way] += sum(w for w, lead in zip(worth, way[count - 1], strict=True) if lead)
            means[way] += sum(
                score if lead else -score for score, lead in zip(block, way[count - 1], strict=True)
            )
        at, done = at + 2 * pairs, done + pairs
        share = (done / sum(made.pairs)) ** confirmation.SPENDING
        allowed = made.level / made.picks * (1.0 if count == len(made.pairs) else share)
        open_ways = [way for way in ways if way not in found and means[way] > 1e-9]
        before = len(found)
        for way in open_ways:
            as_good = sum(sums[other] >= sums[way] - 1e-9 for other in open_ways)
            if before + as_good <= allowed * len(ways) + 1e-9:
                found[way] = count
    return found


@pytest.mark.parametrize("level", [0.03, 0.0766, 0.2])
@pytest.mark.parametrize("name", SCORES)
def test_of_all_lots_no_more_are_kept_over_all_looks_than_the_level_says(name, level):
    made = design(level)
    kept = [lot for lot in lots() if kept_at(made, SCORES[name], lot) is not None]
    assert len(kept) <= level * len(lots())


@pytest.mark.parametrize("pairs", [PAIRS, (2, 1, 1, 1), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("level", [0.03, 0.0766, 0.2])
@pytest.mark.parametrize("name", ["normal", "some equal", "rising", "some stall"])
def test_the_looks_keep_what_the_rule_says_counted_way_by_way(name, level, pairs):
    made = design(level, pairs)
    expected = reference(made, SCORES[name])
    found = {lot: kept_at(made, SCORES[name], lot) for lot in lots(pairs)}
    assert found == {lot: expected.get(lot) for lot in lots(pairs)}


@pytest.mark.parametrize("seed", range(3))
def test_where_the_density_alone_is_asked_those_ahead_on_average_compete_and_no_others(
    seed, monkeypatch
):
    monkeypatch.setattr(confirmation, "SHAPE_WEIGHT", 1.0)
    generator = random.Random(seed)
    heaps = noise.fit([[generator.gauss(0, 0.3) - 4 * (place % 3 == 0) for place in range(30)]])
    made = dataclasses.replace(design(0.2), noise=heaps, jump=heaps.deviation)
    scores = [generator.gauss(0, 0.5) + 30 * (place in (2, 5)) for place in range(10)]
    expected = reference(made, scores)
    assert {lot: kept_at(made, scores, lot) for lot in lots()} == {
        lot: expected.get(lot) for lot in lots()
    }


def test_a_level_is_used_up_where_no_two_ways_are_alike():
    made = design(0.2)
    kept = [lot for lot in lots() if kept_at(made, SCORES["normal"], lot) is not None]
    assert len(kept) == math.floor(0.2 * len(lots()))


def test_equal_scores_are_no_evidence():
    assert all(kept_at(design(0.2), SCORES["all equal"], lot) is None for lot in lots())


@pytest.mark.parametrize("seed", range(5))
def test_without_the_density_one_block_is_scipys_permutation_test(seed, monkeypatch):
    monkeypatch.setattr(confirmation, "SHAPE_WEIGHT", 0.0)
    generator = np.random.default_rng(seed)
    lead, incumbent = generator.normal(2, 1, 4), generator.normal(0, 1, 4)
    expected = stats.permutation_test(
        (lead, incumbent), lambda x, y: statistics.fmean(x) - statistics.fmean(y),
        alternative="greater", n_resamples=np.inf, vectorized=False,
    )  # fmt: skip
    said = confirmation.look(
        design(0.01, (4,)), [Block((*lead, *incumbent), (True,) * 4 + (False,) * 4)]
    )
    assert lead.mean() > incumbent.mean()
    assert said.chance == pytest.approx(expected.pvalue)


def test_who_becomes_faster_between_blocks_changes_nothing():
    lot, scores = lots()[17], SCORES["normal"]
    moved = [score + 100 * (place >= 4) - 30 * (place >= 8) for place, score in enumerate(scores)]
    for count in (1, 2, 3):
        still = confirmation.look(design(0.01), blocks(scores, lot)[:count])
        shifted = confirmation.look(design(0.01), blocks(moved, lot)[:count])
        assert shifted.chance == pytest.approx(still.chance)


@pytest.mark.parametrize("name", SCORES)
def test_of_two_files_at_most_one_is_better_by_the_same_block(name):
    made = design(0.2, (4,))
    for lead in halves(4):
        scores = SCORES[name][:8]
        other = tuple(not flag for flag in lead)
        both = [confirmation.look(made, [Block(tuple(scores), who)]).kept for who in (lead, other)]
        assert not all(both)


@pytest.mark.parametrize("name", SCORES)
def test_a_lead_that_is_worse_on_average_is_never_kept(name):
    for lot in lots():
        count = kept_at(design(0.2), SCORES[name], lot) or 0
        there = blocks(SCORES[name], lot)[:count]
        seen = [pair for block in there for pair in zip(block.scores, block.lead, strict=True)]
        assert not seen or math.fsum(score if lead else -score for score, lead in seen) > 0


def test_a_lead_that_is_far_better_is_kept_as_soon_as_the_level_allows_it():
    lot = lots((3, 2, 2))[100]
    scores = [10.0 * lead + GENERATOR.gauss(0, 1) for block in lot for lead in block]
    assert kept_at(design(0.0766, (3, 2, 2)), scores, lot) == 1  # the best of 20 ways
    assert kept_at(design(0.02, (3, 2, 2)), scores, lot) == 2  # of 120
    assert kept_at(design(0.002, (3, 2, 2)), scores, lot) == 3  # of 720


def test_a_night_that_is_cut_short_has_what_was_due_by_then_and_no_more():
    lot = lots()[0]
    looks = [
        confirmation.look(design(0.02), blocks(SCORES["normal"], lot)[:n]).allowed
        for n in (1, 2, 3)
    ]
    shares = [(2 / 5) ** confirmation.SPENDING, (4 / 5) ** confirmation.SPENDING, 1.0]
    assert looks == pytest.approx([0.02 * share for share in shares])


def test_who_could_have_picked_the_runs_has_to_show_more():
    again = confirmation.picks(10, 1)
    assert again == 10
    for name, scores in SCORES.items():
        picked = dataclasses.replace(design(0.2), picks=again)
        for lot in lots()[::5]:
            assert kept_at(picked, scores, lot) == kept_at(design(0.02), scores, lot), name


@pytest.mark.parametrize(("runs", "again"), itertools.product((1, 3, 5), (0, 1, 2)))
def test_runs_can_be_picked_in_as_many_ways_as_ends_are_spread_over_them(runs, again):
    spread = itertools.combinations_with_replacement(range(runs), again)
    assert confirmation.picks(runs, again) == len(list(spread))


def test_a_test_knows_scores_and_not_whose_they_are():
    """What a run says is the same in each order of the block's runs."""
    scores = np.array(SCORES["some stall"])
    order = np.random.default_rng(1).permutation(10)
    said = confirmation.evidence(scores, 1.5, NOISE)
    assert confirmation.evidence(scores[order], 1.5, NOISE) == pytest.approx(said[order])
    assert said.sum() == pytest.approx(0)
    assert confirmation.evidence(scores + 5, 1.5, NOISE) == pytest.approx(said)


def test_random_ways_say_about_what_all_ways_say(monkeypatch):
    lot = lots((3, 2, 2))[333]
    scores = [lead + GENERATOR.gauss(0, 1) for block in lot for lead in block]
    there = blocks(scores, lot)
    exact = confirmation.look(design(1e-9, (3, 2, 2)), there).chance
    assert 0.005 < exact < 0.5
    monkeypatch.setattr(confirmation, "EXACT_UP_TO", 100)
    monkeypatch.setattr(confirmation, "SAMPLED", (9_999, 9_999))
    few = [
        confirmation.look(design(1e-9, (3, 2, 2), seed=seed), there).chance for seed in (1, 1, 2)
    ]
    assert few[0] == few[1] != few[2]
    for chance in few:
        assert chance == pytest.approx(exact, abs=4 * math.sqrt(exact / 10_000))


def test_with_random_ways_too_lots_are_kept_no_more_often_than_the_level_says(monkeypatch):
    monkeypatch.setattr(confirmation, "EXACT_UP_TO", 0)
    monkeypatch.setattr(confirmation, "SAMPLED", (199, 199))
    ways = lots((3, 3))
    scores = [GENERATOR.gauss(0, 1) + 0.3 * place for place in range(12)]
    kept = sum(
        kept_at(design(0.1, (3, 3), seed=seed), scores, lot) is not None
        for seed, lot in enumerate(ways)
    )
    assert 0.05 < kept / len(ways) < 0.1 + 3 * math.sqrt(0.09 / len(ways))


def test_what_was_seen_is_among_the_random_ways(monkeypatch):
    monkeypatch.setattr(confirmation, "EXACT_UP_TO", 0)
    monkeypatch.setattr(confirmation, "SAMPLED", (99, 99))
    scores, lot = ([9.0] * 4 + [0.0] * 4) * 2, ((True,) * 4 + (False,) * 4,) * 2
    said = confirmation.look(design(1e-9, (4, 4)), blocks(scores, lot))
    assert said.chance == 1 / 100  # the best of 4,900 ways is none of 99 random ones


def test_the_finer_a_level_the_more_random_ways_are_drawn():
    least, most = confirmation.SAMPLED
    counts = [confirmation._samples(design(level)) for level in (0.1, 1e-4, 1e-30)]
    assert counts == [least, math.ceil(confirmation.GRAINS / 1e-4), most]


@pytest.mark.parametrize("pairs", [(3,), (2, 2), (3, 2, 2)])
def test_a_design_can_keep_what_its_best_way_is_rare_enough_for(pairs):
    ways = math.prod(math.comb(2 * one, one) for one in pairs)
    lot = [halves(one)[0] for one in pairs]
    scores = [10.0 * lead + GENERATOR.gauss(0, 0.1) for block in lot for lead in block]
    for level, possible in ((1 / ways, True), (0.99 / ways, False)):
        assert confirmation.can_keep(pairs, level) == possible
        assert (kept_at(design(level, pairs), scores, lot) is not None) == possible


@pytest.mark.parametrize(
    "foreign",
    [
        [],
        [Block((1.0, 2.0), (True, False))],
        [Block((1.0, 2.0, 3.0, 4.0), (True, True, True, False))],
        [*blocks(SCORES["normal"], lots()[0]), Block((1.0, 2.0), (True, False))],
    ],
)
def test_blocks_of_another_design_are_refused(foreign):
    with pytest.raises(ValueError, match="in \\(2, 2, 1\\)"):
        confirmation.look(design(0.1), foreign)


def test_all_levels_of_a_branch_without_a_keep_add_up_to_the_budget():
    total = sum(confirmation.level(number, []) for number in range(1, 100_001))
    assert 0.99 * confirmation.BUDGET < total < confirmation.BUDGET


@pytest.mark.parametrize("seed", range(5))
def test_each_keep_adds_the_budget_once_more_and_none_is_ever_above_it(seed):
    generator, keeps, total = random.Random(seed), [], 0.0
    for number in range(1, 1500):
        level = confirmation.level(number, keeps)
        assert 0 < level <= confirmation.BUDGET
        total += level
        assert total <= confirmation.BUDGET * (1 + len(keeps))
        if generator.random() < 0.1 * seed:
            keeps.append(number)


def test_levels_go_on_for_ever_and_rise_after_a_keep():
    assert confirmation.level(10**9, []) > 0
    assert confirmation.level(21, [20]) > confirmation.level(1, [])
    levels = [confirmation.level(number, [5]) for number in range(6, 100)]
    assert levels == sorted(levels, reverse=True)
