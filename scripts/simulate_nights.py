"""The keep rule and autoRL's greedy rule over many simulated nights.

    python scripts/simulate_nights.py [--noise gaussian|lognormal|bimodal:SHARE|FILE] [--shift S]

Three kinds of nights, each under both rules, all figures in standard deviations of the noise:

- 40 challengers that change nothing: `false_keeps_per_night`, and `runs_per_challenger` (every run
  is counted, the incumbent's own included);
- the same, but one of them, at a random place, is truly better by `--shift`: `detection_rate` is
  how often that one is kept;
- a mix of edits (`--better` and so on), begun until `--runs` runs are made: the incumbent's
  `final_true_gain`; `estimate_error` of the estimates that were reported, each when it was made
  (those of one night are not independent, its interval is too narrow), and `morning_estimate_error`
  of the one that stands at the end.

FILE holds one run's score a line: measured runs of one unchanged file. Greedy's figures have the
prefix `greedy_`; `KEY_95` is the 95 % interval of KEY. `chance_keeps_per_night` is what the greedy
rule keeps of nothing by theory.

    python scripts/simulate_nights.py --selective [--nights 300]

What runs are worth that end, or are slowed, in favour of a result; nothing is better. For each case
`false_keeps_per_night` under the rule and, with `free_`, where they were made again for nothing;
`estimate_error` of an incumbent that was just kept for being truly better by five deviations.
"""

import argparse
import dataclasses
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.judgement import simulation, verdict
from harness.judgement.simulation import Conditions, Draw, Hand, Mix, Night

Rule = Callable[..., Night]

ALWAYS = math.inf
SELECTIVE = {
    "nothing": Conditions(),
    "challenger's runs, below 0, two a trial": Conditions(
        hand=Hand("challenger", high=False, limit=0.0)
    ),
    "challenger's runs, below 0.5, two a trial": Conditions(
        hand=Hand("challenger", high=False, limit=0.5)
    ),
    "incumbent's runs beside, above 0, two a trial": Conditions(
        hand=Hand("beside", high=True, limit=0.0)
    ),
    "incumbent's fresh runs, above 0.5, two": Conditions(hand=Hand("fresh", high=True, limit=0.5)),
    "incumbent's fresh runs, above 1, six": Conditions(
        hand=Hand("fresh", high=True, limit=1.0, most=6)
    ),
    "incumbent's fresh runs, below 0, two": Conditions(hand=Hand("fresh", high=False, limit=0.0)),
    "the incumbent's file fails in fresh runs below 0": Conditions(
        hand=Hand("fresh", high=False, limit=0.0, most=ALWAYS, fails=True)
    ),
    "the incumbent's file fails in fresh runs below -1": Conditions(
        hand=Hand("fresh", high=False, limit=-1.0, most=ALWAYS, fails=True)
    ),
    "the incumbent's file fails beside, below 0": Conditions(
        hand=Hand("beside", high=False, limit=0.0, most=ALWAYS, fails=True)
    ),
    "the incumbent's file fails beside, always": Conditions(
        hand=Hand("beside", high=False, limit=ALWAYS, most=ALWAYS, fails=True)
    ),
    "incumbent slower beside by 0.25": Conditions(load=0.25),
    "incumbent slower beside by 0.5": Conditions(load=0.5),
    "incumbent slower beside by 1": Conditions(load=1.0),
    "machine faster by 0.5 after the baseline": Conditions(step=0.5),
    "machine faster by 1 in 100 runs": Conditions(rise=0.01),
}
"""What is done to runs, by name."""


def noise(text: str) -> Draw:
    """The noise that an argument names."""
    if text == "gaussian":
        return simulation.gaussian
    if text == "lognormal":
        return simulation.lognormal
    try:
        if text.startswith("bimodal:"):
            share = float(text.removeprefix("bimodal:"))
            if not 0 < share < 1:
                raise ValueError(f"{share:g} is no share of runs that stall")
            return simulation.bimodal(share)
        return simulation.resampled([float(line) for line in Path(text).read_text().split()])
    except (OSError, ValueError) as error:
        sys.exit(f"--noise {text}: {error}. Give gaussian, lognormal, bimodal:0.3, or a file with "
                 "one score a line.")  # fmt: skip


def quiet(rule: Rule, draw: Draw, count: int, generator: random.Random) -> list[Night]:
    """Nights in which nothing is better."""
    return [rule(draw, [0.0] * verdict.NIGHT_LENGTH, generator) for _ in range(count)]


def detected(
    rule: Rule, draw: Draw, shift: float, count: int, generator: random.Random
) -> list[float]:
    """For each night, whether the one better challenger was kept."""
    found = []
    for _ in range(count):
        place = generator.randrange(verdict.NIGHT_LENGTH)
        night = rule(draw, [0.0] * place + [shift], generator)
        found.append(float(bool(night.last_kept)))
    return found


def mixed(
    rule: Rule, draw: Draw, mix: Mix, runs: int, count: int, generator: random.Random
) -> list[Night]:
    """Nights of real and other ideas, with as many runs each."""
    return [rule(draw, mix.effects(generator), generator, runs) for _ in range(count)]


def selective(draw: Draw, count: int, seed: int) -> None:
    """What each of `SELECTIVE` is worth, under the rule and where it is free."""
    for name, conditions in SELECTIVE.items():
        print(f"case: {name}")
        both = {"": conditions}
        if conditions.hand is not None and conditions.hand.limit < ALWAYS:
            both["free_"] = _free(conditions)
        for prefix, these in both.items():
            generator = random.Random(seed)
            idle = [
                simulation.sequential(
                    draw, [0.0] * verdict.NIGHT_LENGTH, generator, conditions=these
                )
                for _ in range(count)
            ]
            better = [
                simulation.sequential(draw, [5.0], generator, conditions=these)
                for _ in range(count)
            ]
            show(f"{prefix}false_keeps_per_night", [night.false_keeps for night in idle])
            errors = [night.errors[-1] for night in better if night.last_kept]
            show(f"{prefix}estimate_error", errors)


def _free(conditions: Conditions) -> Conditions:
    """The same where a run that was ended is made again for nothing, as often as somebody likes."""
    assert conditions.hand is not None
    hand = dataclasses.replace(conditions.hand, most=ALWAYS)
    return dataclasses.replace(conditions, hand=hand, free=True)


def show(name: str, values: Sequence[float]) -> None:
    """A mean with its interval, as if the values were independent."""
    mean = statistics.fmean(values)
    half = 1.96 * statistics.stdev(values) / math.sqrt(len(values))
    print(f"{name}: {mean:.4f}\n{name}_95: {mean - half:.4f} {mean + half:.4f}", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise", default="gaussian")
    parser.add_argument("--shift", type=float, default=2.0)
    parser.add_argument("--nights", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=100, help="of a night with a mix of edits")
    default = Mix()
    parser.add_argument("--better", type=float, default=default.better, help="share of edits")
    parser.add_argument("--least", type=float, default=default.least, help="gain of those")
    parser.add_argument("--most", type=float, default=default.most)
    parser.add_argument("--nothing", type=float, default=default.nothing, help="share of edits")
    parser.add_argument("--worse", type=float, default=default.worse, help="mean loss of others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--selective", action="store_true", help="what selective ends are worth")
    options = parser.parse_args()
    if options.nights < 2:
        parser.error("--nights must be at least 2")
    return options


def main() -> None:
    options = arguments()
    draw = noise(options.noise)
    mix = Mix(options.better, options.least, options.most, options.nothing, options.worse)
    print(f"noise: {options.noise}\nnights: {options.nights}\nshift: {options.shift:g}")
    if options.selective:
        selective(draw, options.nights, options.seed)
        return
    for prefix, rule in (("", simulation.sequential), ("greedy_", simulation.greedy)):
        generator = random.Random(options.seed)
        idle = quiet(rule, draw, options.nights, generator)
        show(f"{prefix}false_keeps_per_night", [night.false_keeps for night in idle])
        show(f"{prefix}runs_per_challenger", [night.runs / night.challengers for night in idle])
        found = detected(rule, draw, options.shift, options.nights, generator)
        show(f"{prefix}detection_rate", found)
        busy = mixed(rule, draw, mix, options.runs, options.nights, generator)
        show(f"{prefix}final_true_gain", [night.gain for night in busy])
        show(f"{prefix}estimate_error", [error for night in busy for error in night.errors])
        show(f"{prefix}morning_estimate_error", [night.errors[-1] for night in busy])
    harmonic = sum(1 / i for i in range(1, verdict.NIGHT_LENGTH + 2))
    print(f"chance_keeps_per_night: {harmonic - 1:.4f}")


if __name__ == "__main__":
    main()
