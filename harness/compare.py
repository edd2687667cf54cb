"""`python -m harness.compare`: whether one night found more true improvement than another."""

import math
import statistics
from pathlib import Path
from typing import Annotated

import typer
from scipy import special

from harness.checkout.branch import PREFIX
from harness.errors import InputError
from harness.judgement import estimate
from harness.judgement.history import History
from harness.morning import reader
from harness.record.entries import ALONE, Role, Run
from harness.record.ledger import Ledger
from harness.system import words
from harness.terminal import cli

CONFIDENCE = 0.95


def compare(
    night_a: Annotated[Path, typer.Argument(help="A night's ledger.")],
    night_b: Annotated[Path, typer.Argument(help="Another one's.")],
    branch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TAG",
            help="Tag of the branch, where a ledger has several; given twice, the first ledger's "
            "and the second one's.",
        ),
    ] = None,
) -> None:
    """Compare the gains of two nights: the last incumbent's estimate above the baseline's mean.

    No proof rests on these runs. The search has seen the baseline's, and none of those of an
    incumbent's estimate. The interval is Welch's.
    """
    tags = [*(branch or [""])]
    if len(tags) > 2:
        raise InputError("There are two nights: give --branch once, for both, or twice.")
    pasts = [_past(path, tag) for path, tag in ((night_a, tags[0]), (night_b, tags[-1]))]
    ours, theirs = ((past.conditions, past.instrument) for past in pasts)
    if ours != theirs:
        raise InputError(f"The nights are not comparable: {ours} and {theirs}.")
    gains = []
    for name, path, past in zip("ab", (night_a, night_b), pasts, strict=True):
        baseline, last = past.baseline(), past.fresh()
        found = reader.read(path, past.runs[0].branch)
        means = [last, baseline] if found.proved else []
        gain = statistics.fmean(last) - statistics.fmean(baseline)
        errors = [(statistics.variance(part) / len(part), len(part) - 1) for part in means]
        gains.append((gain, errors))
        low, high = _interval(gain, errors)
        tried = len({run.challenger for run in past.runs if run.role == Role.CHALLENGER})
        confirmations = past.progress().confirmations
        simpler = f", {len(found.simplified)} kept as simpler" if found.simplified else ""
        print(f"night_{name}: {words.counted(tried, 'challenger')}, {len(found.kept)} proved"
              f"{simpler}, {words.counted(confirmations, 'confirmation')} made")  # fmt: skip
        print(f"baseline_{name}: {estimate.told(baseline)}")
        print(f"incumbent_{name}: {estimate.told(last)}")
        print(f"gain_{name}: {gain:.2f} ({low:.2f} to {high:.2f})")
    difference = gains[0][0] - gains[1][0]
    low, high = _interval(difference, [*gains[0][1], *gains[1][1]])
    print(f"difference: {difference:.2f} ({low:.2f} to {high:.2f}, {CONFIDENCE:.0%})")
    print("verdict:", "a" if low > 0 else "b" if high < 0 else "not separated")


def _past(path: Path, tag: str) -> History:
    """A branch of a ledger.

    Args:
      path: of the ledger.
      tag: of the branch; empty where there is one only.

    Raises:
      InputError: there is no ledger, or not that branch in it, or several to choose from.
      LedgerError: a row holds a figure that is none.
    """
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    rows = Ledger(path).rows()
    names = sorted({row.branch for row in rows if row.branch != ALONE})
    if not tag and len(names) != 1:
        raise InputError(
            f"{path} has {len(names)} experiment branches; one is needed. "
            "--branch TAG chooses among several. For two nights on one branch, keep a copy of "
            "results.tsv from before the second one."
        )
    name = PREFIX + tag.removeprefix(PREFIX) if tag else names[0]
    if name not in names:
        raise InputError(f"{path} has no branch {name}; it has {', '.join(names) or 'none'}.")
    for row in rows:
        reader.check(row, path)
    scored = [r for r in rows if isinstance(r, Run) and r.branch == name and r.scored]
    past = History(rows, name, scored[-1].harness if scored else "")
    for part, scores in (("baseline", past.baseline()), ("last incumbent", past.fresh())):
        if len(scores) < 2:
            raise InputError(
                f"{path} has {len(scores)} runs of the {part} by {past.instrument}; two are "
                "needed. Continue that night (harness.loop --resume)."
            )
    return past


def _interval(value: float, errors: list[tuple[float, int]]) -> tuple[float, float]:
    """Around a sum of independent means: variances of the means, with degrees of freedom each."""
    total = sum(variance for variance, _ in errors)
    if not total:
        return value, value
    freedom = total**2 / sum(variance**2 / df for variance, df in errors if variance)
    half = special.stdtrit(freedom, (1 + CONFIDENCE) / 2) * math.sqrt(total)
    return value - half, value + half


if __name__ == "__main__":
    cli.serve(compare)
