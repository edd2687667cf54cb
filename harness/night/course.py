"""The course of a training in ten lines: what its curve says, a tenth of the budget at a time."""

import math
import statistics
from collections.abc import Mapping, Sequence

from harness.measurement.sites import RETURN

TENTHS = 10
"""Parts of a budget, each shown as its mean."""

TOLD_METRICS = {
    "return": RETURN,
    "KL": "losses/approx_kl",
    "clipped": "losses/clipfrac",
    "entropy": "losses/entropy",
    "explained variance": "losses/explained_variance",
    "value loss": "losses/value_loss",
    "learning rate": "charts/learning_rate",
}
"""Heads of columns, and the metrics that stand in them, under CleanRL's names."""

OTHERS = 6
"""Metrics that are shown of a file that logs none of these."""

STILL = 0.02
"""Share of what a curve has gained in all, by which its last tenth must be above the two before it
to be called rising: what it gains in a fiftieth of the way."""

Row = Mapping[str, float]
"""Of a curve: seconds, steps, and metrics, by name."""


def table(curve: Sequence[Row], budget: float) -> str:
    """A table in Markdown, and whether the return still rises; empty where there is no curve.

    Args:
      curve: its rows.
      budget: seconds of the training.
    """
    tenths = _tenths(curve, budget)
    if not any(tenths):
        return ""
    names = _columns(tenths)
    lines = [f"| seconds | {' | '.join(names)} | steps/s |", "|---" * (len(names) + 2) + "|"]
    for i, rows in enumerate(tenths):
        before = [row for part in tenths[:i] for row in part][-1:]
        cells = [_shown(_mean(rows, name)) for name in names.values()]
        cells = [f"{budget * (i + 1) / TENTHS:g}", *cells, _shown(_rate([*before, *rows]))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", rising([_mean(rows, RETURN) for rows in tenths])]).rstrip()


def rising(returns: Sequence[float]) -> str:
    """Whether a return still rises at the end, in words; nothing where it is not known.

    Args:
      returns: means of equal parts of the budget; NaN where no episode ended.
    """
    known = [value for value in returns if math.isfinite(value)]
    if not known:
        return "No episode ended in this training: it is too short to show a return."
    if len(known) < 4:
        return ""
    gained = max(known) - min(known)
    ahead = known[-1] - max(known[-3:-1])
    if gained > 0 and ahead > STILL * gained:
        return f"Still rising at the end: by {ahead:,.4g} in the last tenth."
    best = max(
        range(len(returns)), key=lambda i: returns[i] if math.isfinite(returns[i]) else -math.inf
    )
    return f"Not rising at the end: the best tenth is number {best + 1} of {len(returns)}."


def _tenths(rows: Sequence[Row], budget: float) -> list[list[Row]]:
    """The rows by the tenth of the budget that they fell into."""
    found: list[list[Row]] = [[] for _ in range(TENTHS)]
    for row in rows:
        place = int(row.get("seconds", 0.0) / budget * TENTHS)
        found[min(max(place, 0), TENTHS - 1)].append(row)
    return found


def _columns(tenths: Sequence[Sequence[Row]]) -> dict[str, str]:
    """What is shown of these rows: metrics by the heads of their columns."""
    there = next(rows[0] for rows in tenths if rows)
    known = {head: name for head, name in TOLD_METRICS.items() if name in there}
    others = [name for name in there if name not in ("seconds", "step")][:OTHERS]
    return known or {name.replace("|", "/"): name for name in others}


def _mean(rows: Sequence[Row], name: str) -> float:
    """The mean of the values that are finite; NaN where there are none."""
    values = [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]
    return statistics.fmean(values) if values else math.nan


def _rate(rows: Sequence[Row]) -> float:
    """Environment steps a second from the first of some rows to the last."""
    if len(rows) < 2:
        return math.nan
    first, last = rows[0], rows[-1]
    seconds = last["seconds"] - first["seconds"]
    return (last["step"] - first["step"]) / seconds if seconds > 0 else math.nan


def _shown(value: float) -> str:
    """A number with so many digits that it can be compared."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
