"""Agents without a language model: Optuna's samplers on the constants of the training file.

They read what was tried from the branch, under the same clock and rule as every other agent: what
an agent with ideas has to beat.
"""

import random
import warnings
from collections.abc import Sequence
from typing import Any

from harness import errors
from harness.errors import InputError
from harness.night import constants
from harness.night.constants import Constant

TUNERS = ("random", "tpe", "cmaes")

WARM_UP = 5
"""Tries at random before a sampler follows what it has seen."""

MOST_CHANGED = 3
"""Constants that an edit of TPE changes, at most; which, is drawn. A file that is good already is
mostly made worse by new values for all of them at once, and TPE learns each by itself."""

DRAWS = 10
"""Of an edit that changes nothing."""

Stopped = tuple[bytes, tuple[float, float]]
"""A training file whose run was stopped: at which share of the budget, and what it had reported."""


def suggest(
    kind: str,
    incumbent: bytes,
    tried: Sequence[tuple[bytes, float]],
    seed: int,
    stopped: Sequence[Stopped] = (),
) -> tuple[bytes, str]:
    """The next edit, and one line that says what it changes.

    Args:
      kind: one of `TUNERS`.
      incumbent: the training file that is edited.
      tried: training files and their scores, in their order, the incumbent's among them.
      seed: of the sampler: the same arguments give the same edit.
      stopped: what was tried and has no score. TPE ranks it below all that has one; the other
        samplers learn nothing from it.

    Raises:
      InputError: Optuna is missing, or the file has no constant with a range.
    """
    space = _constants(incumbent)
    study, optuna = _study(kind, seed)
    study.add_trials(_trials(space, tried, stopped, optuna))
    sampler, draws = study.sampler, random.Random(seed)
    for _ in range(DRAWS):
        if kind == "tpe":
            study.sampler = optuna.samplers.PartialFixedSampler(_kept(space, draws), sampler)
        params = study.ask(_distributions(space, optuna)).params
        changed = [c for c in space if f"{params[c.name]:.6g}" != f"{c.value:.6g}"]
        if changed:
            break
    edit = constants.write(incumbent, {c.name: params[c.name] for c in changed})
    return edit, f"{kind}: " + ", ".join(f"{c.name} {params[c.name]:.4g}" for c in changed)


def _trials(
    space: Sequence[Constant],
    tried: Sequence[tuple[bytes, float]],
    stopped: Sequence[Stopped],
    optuna: Any,
) -> list[Any]:
    """What was tried, as Optuna has it; without files that have other constants."""
    distributions, found = _distributions(space, optuna), []
    for source, score in tried:
        if (values := _values(source, space)) is not None:
            found.append(optuna.trial.create_trial(
                params=values, distributions=distributions, value=score,
            ))  # fmt: skip
    for source, (share, reported) in stopped:
        if (values := _values(source, space)) is not None:
            found.append(optuna.trial.create_trial(
                state=optuna.trial.TrialState.PRUNED, params=values, distributions=distributions,
                intermediate_values={round(100 * share): reported},
            ))  # fmt: skip
    return found


def check(kind: str, source: bytes) -> None:
    """Make sure that there is something to tune, and something to tune it with.

    Raises:
      InputError: as `suggest`.
    """
    _constants(source)
    _study(kind, seed=0)


def _kept(space: Sequence[Constant], draws: random.Random) -> dict[str, float]:
    """Constants that stay as they are: all but a few."""
    count = draws.randint(1, min(MOST_CHANGED, len(space)))
    changed = draws.sample([c.name for c in space], count)
    return {c.name: c.value for c in space if c.name not in changed}


def _study(kind: str, seed: int) -> tuple[Any, Any]:
    """An empty study with a sampler, and the library."""
    try:
        import optuna  # noqa: PLC0415  (an optional extra)
    except ImportError as error:
        raise errors.without("optuna", "tune", error) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", module="optuna")
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    samplers = {
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, n_startup_trials=WARM_UP),
        "cmaes": lambda: optuna.samplers.CmaEsSampler(
            seed=seed, n_startup_trials=WARM_UP, warn_independent_sampling=False
        ),
    }
    return optuna.create_study(direction="maximize", sampler=samplers[kind]()), optuna


def _constants(source: bytes) -> list[Constant]:
    try:
        space = constants.read(source)
    except (ValueError, SyntaxError) as error:
        raise InputError(f"The training file's constants cannot be read. {error}") from error
    if not space:
        raise InputError(
            "The training file has no constant with a range: write one in its comment, as in "
            "RATE = 1e-3  # [1e-4, 1e-2, log]."
        )
    return space


def _values(source: bytes, space: Sequence[Constant]) -> dict[str, float] | None:
    """A file's values of these constants; None where it is another file altogether."""
    try:
        there = {constant.name: constant.value for constant in constants.read(source)}
    except (ValueError, SyntaxError):
        return None
    if any(c.name not in there or not c.allows(there[c.name]) for c in space):
        return None
    return {c.name: there[c.name] for c in space}


def _distributions(space: Sequence[Constant], optuna: Any) -> dict[str, Any]:
    kinds = optuna.distributions

    def distribution(c: Constant) -> Any:
        if c.choices:
            return kinds.CategoricalDistribution(c.choices)
        if c.whole:
            return kinds.IntDistribution(int(c.low), int(c.high), log=c.log)
        return kinds.FloatDistribution(c.low, c.high, log=c.log)

    return {c.name: distribution(c) for c in space}
