"""A simulated night with a lead: what it counts, and that it does what its rule says."""

import itertools
import math
import random
import statistics
import subprocess
import sys

import pytest

from harness.judgement import chance, search, simulation
from harness.judgement.chance import Conditions, Hand, Mix
from tests.conftest import ROOT

NOISES = {
    "gaussian": chance.gaussian,
    "lognormal": chance.lognormal,
    "a tenth stalls": chance.bimodal(0.1),
    "half of them stall": chance.bimodal(0.5),
}

SIGNAL = ((0.25, 0.75), (0.5, 0.88))

BASELINE = (1.0, -1.0, 0.5, -0.5)


def told(*noise):
    """A draw of this noise, one after the other, and none afterwards."""
    there = itertools.chain(noise, itertools.repeat(0.0))
    return lambda generator: next(there)


def ahead(noise, effects, runs=math.inf, **others):
    return simulation.ahead(told(*noise), effects, random.Random(0), runs, **others)


def test_a_harmful_edit_costs_one_run():
    assert len(BASELINE) == search.BASELINE_RUNS
    night = ahead((*BASELINE, 0.1), [-5.0])
    assert (night.challengers, night.kept, night.runs) == (1, [], 4 + 1)
    assert (night.errors, night.morning) == ([0.0], 0.0)


def test_a_lead_that_was_run_once_more_is_known_by_all_its_runs():
    night = ahead((*BASELINE, *[0.0] * search.LONG_ASIDE, 2.5), [-5.0] * search.LONG_ASIDE, runs=60)
    assert night.runs == 4 + search.LONG_ASIDE + 1
    assert (night.errors, night.morning) == ([0.0], pytest.approx(0.5))


def test_a_great_edit_is_looked_at_twice_and_proved_side_by_side():
    """Sixteen runs: four, two of the edit, four pairs of which it is the best of 70 ways, two."""
    proof = (0.3, -0.2, 0.1, 0.4, -0.3, 0.2, 0.0, -0.1)
    night = ahead((*BASELINE, 0.2, -0.1, *proof, 0.5, 0.1), [6.0], runs=16)
    assert (night.challengers, night.kept, night.runs) == (1, [6.0], 16)
    assert night.gain == 6.0
    assert night.errors == pytest.approx([0.0, 0.3])
    assert night.morning == pytest.approx(0.3)


def test_an_edit_that_was_lucky_twice_is_not_proved():
    proof = (0.3, -0.2, 0.1, 0.4, -0.3, 0.2, 0.0, -0.1)
    night = ahead((*BASELINE, 2.5, 2.4, *proof, 0.5, 0.1), [0.0], runs=16)
    assert night.kept == []
    assert night.runs == 4 + 2 + 8
    assert night.morning == 0.0


def test_edits_are_made_on_the_lead():
    night = ahead((*BASELINE, *[0.1] * 40), [3.0, 3.0], runs=40)
    assert night.gain == 6.0  # proved together, or one after the other


@pytest.mark.parametrize("signal", [(), SIGNAL])
@pytest.mark.parametrize("better", [0.05, 0.6])
@pytest.mark.parametrize("runs", [16, 23, 40])
def test_a_night_keeps_to_its_runs(runs, better, signal):
    for seed in range(12):
        generator = random.Random(seed)
        mix = Mix(better=better, least=1.0, most=3.0)
        draw = chance.bimodal(0.3) if seed % 2 else chance.gaussian
        night = simulation.ahead(draw, mix.effects(generator), generator, runs, signal=signal)
        assert search.BASELINE_RUNS < night.runs <= runs
        assert night.stopped == 0 or signal


def test_stopped_runs_leave_time_for_more_edits():
    count = {}
    for signal in ((), SIGNAL):
        generator = random.Random(1)
        effects = Mix().effects(generator)
        night = simulation.ahead(
            chance.gaussian, effects, generator, 100, UNDISTURBED, signal=signal
        )
        count[signal] = night.challengers
        assert bool(night.stopped) == bool(signal)
        assert (night.runs % 1 == 0) or signal
    assert count[SIGNAL] > 1.3 * count[()]


UNDISTURBED = Conditions()


def nights(count, effects, runs=math.inf, draw=chance.gaussian, **others):
    generator = random.Random(2)
    return [
        simulation.ahead(draw, effects(generator), generator, runs, **others) for _ in range(count)
    ]


@pytest.mark.slow
def test_estimates_are_right_on_average_when_made_and_in_the_morning():
    played = nights(120, Mix(better=0.2).effects, 40, chance.lognormal, signal=SIGNAL)
    assert sum(len(night.kept) for night in played) > 60
    made = [error for night in played for error in night.errors[1:]]
    for errors in (made, [night.morning for night in played]):
        assert statistics.fmean(errors) == pytest.approx(
            0, abs=4 * statistics.stdev(errors) / math.sqrt(len(errors))
        )


@pytest.mark.slow
@pytest.mark.parametrize("conditions", [UNDISTURBED, Conditions(step=0.5), Conditions(rise=0.01)])
def test_of_nothing_little_is_kept_also_by_a_machine_that_becomes_faster(conditions):
    """Few nights: the figures of `docs/keep-rule.md` come from thousands."""
    played = nights(60, lambda _: [0.0] * 40, conditions=conditions, signal=SIGNAL)
    assert all(night.challengers == 40 for night in played)
    assert statistics.fmean(night.false_keeps for night in played) < 0.25


@pytest.mark.slow
def test_what_is_far_better_is_nearly_always_proved():
    place = itertools.cycle(range(40))
    played = nights(40, lambda _: [4.0 * (i == p) for p in [next(place)] for i in range(40)])
    assert statistics.fmean(night.gain == 4.0 for night in played) > 0.9


def test_the_step_of_a_drift_comes_after_the_baseline():
    drift = Conditions(step=0.5).drift
    shifts = [drift(made) for made in range(search.BASELINE_RUNS + 2)]
    assert shifts == [0.0] * search.BASELINE_RUNS + [0.5] * 2
    night = ahead(BASELINE, [9.0], runs=16, conditions=Conditions(step=0.5))
    assert night.errors == pytest.approx([0.0, 0.5])


def test_the_greedy_rule_drifts_too():
    still = simulation.greedy(told(), [0.0] * 20, random.Random(0))
    rising = simulation.greedy(
        told(), [0.0] * 20, random.Random(0), conditions=Conditions(rise=0.01)
    )
    assert (still.false_keeps, rising.false_keeps) == (0, 20)


def test_an_incumbent_that_fails_beside_the_lead_makes_no_keep():
    """Each failed run counts as the highest of its block; without the failures it is a keep."""
    proof = [0.3, -0.2, 0.1, 0.4, -0.3, 0.2, 0.0, -0.1]
    hand = Hand("beside", high=False, limit=math.inf, most=math.inf, fails=True)
    for conditions, kept in ((UNDISTURBED, [6.0]), (Conditions(hand=hand), [])):
        noise = (*BASELINE, 0.2, -0.1, *proof, 0.5, 0.1)
        assert ahead(noise, [6.0], runs=16, conditions=conditions).kept == kept


def test_who_cuts_off_a_run_of_a_confirmation_has_to_show_more():
    """One of nine runs: the best of 70 ways is not rare enough for eight ways to pick it."""
    hand = Hand("beside", high=True, limit=-9.0, most=1, foresight=1.0)
    noise = (*BASELINE, 0.2, -0.1, *[0.1, -0.1] * 5)
    assert ahead(noise, [6.0], runs=17, conditions=Conditions(hand=hand)).kept == []
    assert ahead(noise, [6.0], runs=17).kept == [6.0]


def test_the_greedy_rule_keeps_as_much_of_nothing_as_theory_says():
    generator = random.Random(1)
    kept = [
        simulation.greedy(chance.gaussian, [0.0] * 40, generator).false_keeps for _ in range(2000)
    ]
    expected = sum(1 / i for i in range(2, 42))
    assert statistics.fmean(kept) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("name", NOISES)
def test_simulated_noise_is_standardised(name):
    generator = random.Random(1)
    values = [NOISES[name](generator) for _ in range(100_000)]
    assert statistics.fmean(values) == pytest.approx(0, abs=0.03)
    assert statistics.pstdev(values) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--drift", "step", "0.5"],
        ["--signal", "0.25:0.75", "--signal", "0.5:0.88", "--drift", "rise", "1"],
    ],
)
def test_the_simulation_reads_a_file_of_scores(tmp_path, options):
    scores, generator = tmp_path / "scores", random.Random(5)
    scores.write_text("\n".join(str(3000 + 100 * generator.gauss(0, 1)) for _ in range(30)))
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "simulate_nights.py", "--noise", scores,
         "--shift", "4", "--nights", "20", "--runs", "40", *options],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    block = dict(line.split(": ") for line in done.stdout.splitlines())
    for key in ("false_keeps_per_night", "detection_rate", "runs_per_challenger",
                "final_true_gain", "challengers_per_night", "estimate_error",
                "morning_estimate_error"):  # fmt: skip
        low, high = map(float, block[f"{key}_95"].split())
        assert low <= float(block[key]) <= high
        assert f"greedy_{key}" in block
    assert float(block["detection_rate"]) > 0.7


@pytest.mark.parametrize("noise", ["gauss", "bimodal:2", "missing", "bimodal:x"])
def test_a_noise_that_is_none_is_told(noise):
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "simulate_nights.py", "--noise", noise],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"--noise {noise}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [["--drift", "up", "1"], ["--signal", "0.5"], ["--signal", "0.5:2"], ["--runs", "3"]],
)
def test_an_option_that_is_none_is_told(wrong):
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "simulate_nights.py", *wrong],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert wrong[0] in done.stderr
    assert "Traceback" not in done.stderr
