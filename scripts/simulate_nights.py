"""The keep rule and autoRL's greedy rule over many simulated nights.

    python scripts/simulate_nights.py [--noise gaussian|lognormal|bimodal:SHARE|FILE] [--shift S]
        [--signal SHARE:CORRELATION ...] [--drift step|rise SIZE] [--runs N] [--only KIND ...]

Three kinds of nights, each under both rules, all figures in standard deviations of the noise:

- `idle`, 40 edits that change nothing: `false_keeps_per_night`, and `runs_per_challenger` (every
  run is counted, the incumbent's own included);
- `one`, the same, but one of them, at a random place, is truly better by `--shift`:
  `detection_rate` is how often the incumbent has it in the morning;
- `mixed`, a mix of edits (`--better` and so on), while there is time left of `--runs` full runs:
  `challengers_per_night`; the incumbent's `final_true_gain`; `estimate_error` of the estimates that
  were reported, each when it was made (those of one night are not independent, its interval is too
  narrow), and `morning_estimate_error` of the one that stands at the end.

`--signal 0.25:0.75`: what a run reports at a quarter of the budget correlates with its score by
0.75, and hopeless runs are stopped there; it can be given more than once, and without it no run is
stopped. `--drift step SIZE`: all runs after the baseline's are higher by so much; `--drift rise
SIZE`: each is higher than the one before, by so much in a hundred full runs.

FILE holds one run's score a line: measured runs of one unchanged file. Greedy's figures have the
prefix `greedy_`; `KEY_95` is the 95 % interval of KEY. `chance_keeps_per_night` is what the greedy
rule keeps of nothing by theory. Each night has its own seed: the figures are the same with any
number of `--processes`.

    python scripts/simulate_nights.py --selective [--nights 300]

What runs are worth that end, or are slowed, in favour of a result; nothing is better. For each case
`false_keeps_per_night` under the rule and, with `free_`, where they were made again for nothing;
`estimate_error` of an incumbent that was just kept for being truly better by five deviations.

    python scripts/simulate_nights.py --unlike [--nights 4000]

How often a branch's first confirmation keeps a lead that is unlike the incumbent and no better on
average: `kept`, where `level` is the bound for a lead that is the same.

    python scripts/simulate_nights.py --simpler [--nights 500]

How often a branch's first confirmation of a lead that is simpler finds it to be worse by less than
the margin: `kept`, by how many margins it is truly worse. None is ended early between two blocks,
which only takes keeps away.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import math
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.judgement import chance, confirmation, search, simulation
from harness.judgement import noise as scatter
from harness.judgement.chance import Conditions, Draw, Hand, Mix
from harness.judgement.confirmation import Block, Design
from harness.judgement.noise import Noise
from harness.judgement.simulation import Night, Signal

NIGHT_LENGTH = 40
"""Edits of a night that is not ended by its runs."""

KINDS = ("idle", "one", "mixed")
"""Of nights, see above."""

RISE_RUNS = 100
"""Full runs in which a machine that rises becomes faster by the size that is given."""

CHUNK = 10
"""Nights that a process is given at once."""

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


@functools.cache
def noise(text: str) -> Draw:
    """The noise that an argument names."""
    if text == "gaussian":
        return chance.gaussian
    if text == "lognormal":
        return chance.lognormal
    try:
        if text.startswith("bimodal:"):
            share = float(text.removeprefix("bimodal:"))
            if not 0 < share < 1:
                raise ValueError(f"{share:g} is no share of runs that stall")
            return chance.bimodal(share)
        return chance.resampled([float(line) for line in Path(text).read_text().split()])
    except (OSError, ValueError) as error:
        sys.exit(f"--noise {text}: {error}. Give gaussian, lognormal, bimodal:0.3, or a file with "
                 "one score a line.")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the nights of a table have in common.

    Attributes:
      noise: its name.
      mix: of edits.
      shift: of the one edit that is better.
      runs: of a mixed night.
      signal: what runs report on their way.
      conditions: what else works on the runs.
      seed: of the first night.
    """

    noise: str = "gaussian"
    mix: Mix = dataclasses.field(default_factory=Mix)
    shift: float = 2.0
    runs: float = 100
    signal: Signal = ()
    conditions: Conditions = dataclasses.field(default_factory=Conditions)
    seed: int = 0


def play(setting: Setting, rule: str, kind: str, number: int) -> Night:
    """A night.

    Args:
      setting: of all nights.
      rule: `ahead` or `greedy`.
      kind: one of `KINDS`.
      number: of the night, from 0.
    """
    generator = random.Random(f"{setting.seed} {number} {kind}")
    draw, runs = noise(setting.noise), math.inf
    if kind == "mixed":
        effects, runs = setting.mix.effects(generator), setting.runs
    else:
        place = generator.randrange(NIGHT_LENGTH) if kind == "one" else NIGHT_LENGTH
        effects = iter([setting.shift * (i == place) for i in range(NIGHT_LENGTH)])
    if rule == "greedy":
        return simulation.greedy(draw, effects, generator, runs, setting.conditions)
    return simulation.ahead(draw, effects, generator, runs, setting.conditions, setting.signal)


def nights(
    setting: Setting, rule: str, kind: str, count: int, processes: int = 1
) -> Sequence[Night]:
    """So many nights of a kind; arguments as of `play`."""
    one = functools.partial(play, setting, rule, kind)
    if processes == 1:
        return [one(number) for number in range(count)]
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        return list(pool.map(one, range(count), chunksize=CHUNK))


def detected(night: Night) -> float:
    """Whether the one better edit is in the incumbent in the morning; all others do nothing."""
    return float(night.gain > 0)


def report(setting: Setting, kinds: Sequence[str], count: int, processes: int) -> None:
    """Print the figures of both rules."""
    for prefix, rule in (("", "ahead"), ("greedy_", "greedy")):
        there = {kind: nights(setting, rule, kind, count, processes) for kind in kinds}
        if idle := there.get("idle"):
            show(f"{prefix}false_keeps_per_night", [night.false_keeps for night in idle])
            show(f"{prefix}runs_per_challenger", [night.runs / night.challengers for night in idle])
        if found := there.get("one"):
            show(f"{prefix}detection_rate", [detected(night) for night in found])
        if mixed := there.get("mixed"):
            errors = [error for night in mixed for error in night.errors]
            show(f"{prefix}challengers_per_night", [night.challengers for night in mixed])
            show(f"{prefix}final_true_gain", [night.gain for night in mixed])
            show(f"{prefix}estimate_error", errors)
            show(f"{prefix}morning_estimate_error", [_morning(night, rule) for night in mixed])
    harmonic = sum(1 / i for i in range(1, NIGHT_LENGTH + 2))
    print(f"chance_keeps_per_night: {harmonic - 1:.4f}")


def _morning(night: Night, rule: str) -> float:
    """Error of the estimate that stands at the end; greedy's is the record score itself."""
    return night.errors[-1] if rule == "greedy" else night.morning


def selective(draw: Draw, count: int, seed: int) -> None:
    """What each of `SELECTIVE` is worth, under the rule and where it is free."""
    for name, conditions in SELECTIVE.items():
        print(f"case: {name}")
        both = {"": conditions}
        if conditions.hand is not None and conditions.hand.limit < ALWAYS:
            both["free_"] = _free(conditions)
        for prefix, these in both.items():
            generator = random.Random(seed)
            idle, better = (
                [simulation.ahead(draw, effects, generator, conditions=these) for _ in range(count)]
                for effects in ([0.0] * NIGHT_LENGTH, [5.0])
            )
            show(f"{prefix}false_keeps_per_night", [night.false_keeps for night in idle])
            errors = [night.errors[-1] for night in better if night.kept]
            show(f"{prefix}estimate_error", errors)


UNLIKE = {
    "the same": (1.0, 0.0),
    "half the scatter": (0.5, 0.0),
    "twice the scatter": (2.0, 0.0),
    "worse by 0.25": (1.0, -0.25),
    "worse by 0.5": (1.0, -0.5),
    "worse by 1": (1.0, -1.0),
}
"""Leads: their scatter as a multiple of the incumbent's, and their mean above its."""

KNOWN = 12, 4
"""Files that a branch has run before its first confirmation, and runs of each."""

MARGINS = (0.0, 1.0, 1.5)
"""By how much leads are worse that are simpler, in the margin by which they must not be."""


def unlike(draw: Draw, count: int, seed: int) -> None:
    """How often each of `UNLIKE` is kept."""
    level = confirmation.level(1, [])
    print(f"level: {level:.4f}")
    for name, (scale, mean) in UNLIKE.items():
        generator = random.Random(seed)
        known = _known(draw, generator)
        design = Design(level, search.PAIRS, known.deviation * sum(search.JUMP) / 2, known)
        print(f"case: {name}")
        show("kept", [_is_kept(design, draw, scale, mean, generator) for _ in range(count)])


def simpler(draw: Draw, count: int, seed: int) -> None:
    """How often a simpler lead is kept that is worse by each of `MARGINS`."""
    level = confirmation.level(1, [])
    pairs = confirmation.simpler_pairs(level)
    print(f"level: {level:.4f}\nruns_of_each_file: {sum(pairs)}")
    for worse in MARGINS:
        generator = random.Random(seed)
        kept = []
        for _ in range(count):
            known = _known(draw, generator)
            margin = confirmation.TOLERANCE * known.deviation
            design = Design(level, pairs, margin, known)
            kept.append(_is_kept(design, draw, 1.0, -worse * margin, generator, margin))
        print(f"margins: {worse:g}")
        show("kept", kept)


def _known(draw: Draw, generator: random.Random) -> Noise:
    """What a branch knows of its noise."""
    files, runs = KNOWN
    return scatter.fit([[draw(generator) for _ in range(runs)] for _ in range(files)])


def _is_kept(
    design: Design, draw: Draw, scale: float, mean: float, generator: random.Random,
    margin: float = 0.0,
) -> bool:  # fmt: skip
    """Whether a confirmation keeps a lead with another scatter and mean, raised by a margin."""
    blocks: list[Block] = []
    for pairs in design.pairs:
        places = [True] * pairs + [False] * pairs
        generator.shuffle(places)
        scores = [mean + scale * draw(generator) if lead else draw(generator) for lead in places]
        blocks.append(Block(tuple(scores), tuple(places)))
        if confirmation.look(design, confirmation.raised(blocks, margin)).kept:
            return True
    return False


def _free(conditions: Conditions) -> Conditions:
    """The same where a run that was ended is made again for nothing, as often as somebody likes."""
    assert conditions.hand is not None
    hand = dataclasses.replace(conditions.hand, most=ALWAYS)
    return dataclasses.replace(conditions, hand=hand, free=True)


def show(name: str, values: Sequence[float]) -> None:
    """A mean with its interval, as if the values were independent."""
    if len(values) < 2:
        print(f"{name}: nan\n{name}_95: nan nan", flush=True)
        return
    mean = statistics.fmean(values)
    half = 1.96 * statistics.stdev(values) / math.sqrt(len(values))
    print(f"{name}: {mean:.4f}\n{name}_95: {mean - half:.4f} {mean + half:.4f}", flush=True)


def signal(text: str) -> tuple[float, float]:
    """A share of the budget and a correlation, of `SHARE:CORRELATION`."""
    share, _, correlation = text.partition(":")
    found = float(share), float(correlation)
    if not all(0 < value < 1 for value in found):
        raise ValueError(f"{text}: both are between 0 and 1")
    return found


def drift(words: Sequence[str]) -> Conditions:
    """What becomes of a machine, by name and size."""
    name, size = words
    if name not in ("step", "rise"):
        raise ValueError(f"{name} is no drift: give step or rise")
    if name == "step":
        return Conditions(step=float(size))
    return Conditions(rise=float(size) / RISE_RUNS)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise", default="gaussian")
    parser.add_argument("--shift", type=float, default=2.0)
    parser.add_argument("--nights", type=int, default=1000)
    parser.add_argument("--runs", type=float, default=100, help="full runs of a mixed night")
    parser.add_argument(
        "--signal",
        type=signal,
        action="append",
        default=[],
        metavar="SHARE:CORRELATION",
        help="what runs report; none: no stopping",
    )
    parser.add_argument("--drift", nargs=2, default=("step", "0"), metavar=("step|rise", "SIZE"))
    parser.add_argument("--only", choices=KINDS, action="append", help="kinds of nights")
    default = Mix()
    parser.add_argument("--better", type=float, default=default.better, help="share of edits")
    parser.add_argument("--least", type=float, default=default.least, help="gain of those")
    parser.add_argument("--most", type=float, default=default.most)
    parser.add_argument("--nothing", type=float, default=default.nothing, help="share of edits")
    parser.add_argument("--worse", type=float, default=default.worse, help="mean loss of others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--selective", action="store_true", help="what selective ends are worth")
    parser.add_argument("--unlike", action="store_true", help="leads that are not the same")
    parser.add_argument("--simpler", action="store_true", help="leads that are simpler")
    options = parser.parse_args()
    if options.nights < 2:
        parser.error("--nights must be at least 2")
    if options.processes < 1:
        parser.error("--processes must be at least 1")
    if options.runs < simulation.LEAST_RUNS:
        parser.error(f"--runs must be at least {simulation.LEAST_RUNS}")
    try:
        options.drift = drift(options.drift)
    except ValueError as error:
        parser.error(f"--drift: {error}")
    return options


def main() -> None:
    options = arguments()
    mix = Mix(options.better, options.least, options.most, options.nothing, options.worse)
    print(f"noise: {options.noise}\nnights: {options.nights}\nshift: {options.shift:g}")
    if options.selective:
        selective(noise(options.noise), options.nights, options.seed)
        return
    if options.unlike:
        unlike(noise(options.noise), options.nights, options.seed)
        return
    if options.simpler:
        simpler(noise(options.noise), options.nights, options.seed)
        return
    setting = Setting(
        options.noise, mix, options.shift, options.runs, tuple(options.signal), options.drift,
        options.seed,
    )  # fmt: skip
    noise(options.noise)  # that it is none is told before anything is played
    report(setting, options.only or KINDS, options.nights, options.processes)


if __name__ == "__main__":
    main()
