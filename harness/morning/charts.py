"""The report's charts: drawn once, as SVG that follows the page's theme and as PNG on white."""

import dataclasses
import io
import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.judgement import estimate, objective
from harness.morning.findings import (
    Confirmation,
    Experiment,
    Findings,
    Lead,
    Reign,
    span,
)
from harness.morning.hours import Hours
from harness.record.entries import Fate, Verdict
from harness.system import words
from harness.tasks import anchors

COLOURS = {
    "ink": "#1c2024",
    "muted": "#7a7d87",
    "grid": "#e3e4e8",
    "keep": "#18794f",
    "discard": "#9a9ca6",
    "crash": "#ce2c31",
    "incumbent": "#0d6fce",
    "lead": "#8145b5",
    "noise": "#dbe9f9",
    "other": "#c9862b",
}
"""By role, on white; the page gives each a second value for dark screens."""

KEPT_AS_SIMPLER = "kept as simpler"
"""What is said of a file that is proved to be as good and simpler: that is no gain."""

OUTCOMES = {
    Fate.KEEP: ("keep", "o", "proved"),
    Fate.SIMPLER: ("incumbent", "o", KEPT_AS_SIMPLER),
    Fate.ACCEPT: ("lead", "o", "leading"),
    Fate.SET_BACK: ("other", "o", "set back"),
    Fate.DISCARD: ("discard", "o", "set aside"),
    Fate.INCONCLUSIVE: ("other", "s", "inconclusive"),
    Fate.ON_TRIAL: ("other", "D", "on trial"),
    Fate.STOPPED: ("discard", "v", "stopped"),
    Fate.CRASH: ("crash", "x", "failed"),
}
"""Colour, marker and word of each outcome of an experiment."""

CONFIRMED = {
    Verdict.KEEP: ("keep", "proved"),
    Verdict.UNPROVED: ("other", "not proved"),
    Verdict.GO_ON: ("muted", "goes on"),
}
"""Colour and word of each outcome of a confirmation that asks if the lead is better."""

STOPPED_SHARE = 0.4
"""Of the size of a mark that of a stopped run takes: there are many, and they say little."""

CHART_WIDTH = 9.6
"""Inches, of all charts: 960 pixels on the page."""

PNG_DPI = 160
DASHES = (0, (4, 3))
"""Of a line that nobody has measured here."""

NAMED = 14
"""Proved experiments that get their number and, below the chart, their words: the latest."""

KEY_LENGTH = 60
"""Characters of such words; two columns of them are as wide as the chart."""

KEY_LINE = 0.18
"""Inches of height that a line of them takes."""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "autorl-jax",
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": COLOURS["grid"],
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "legend.frameon": False,
    "text.parse_math": False,  # an agent may write of $x$
}


@dataclasses.dataclass(frozen=True)
class Chart:
    """One picture.

    Attributes:
      name: of its PNG, without the suffix.
      svg: an element for the page; its colours are the page's variables.
      png: the same on white.
    """

    name: str
    svg: str
    png: bytes


def progress(found: Findings) -> Chart:
    """Every experiment with its runs, lead and incumbent as lines, and what was confirmed."""
    with mpl.rc_context(STYLE):
        kept = [e for e in found.kept if e.scores][-NAMED:]
        height = 4.6 + KEY_LINE * math.ceil(len(kept) / 2)
        figure = Figure(figsize=(CHART_WIDTH, height), layout="constrained")
        axis = figure.add_subplot()
        last = max(len(found.experiments), 1)
        _draw_reigns(axis, found.reigns, last)
        _draw_leads(axis, found.leads, last)
        size = 30 if last <= 100 else 12
        for outcome, (colour, marker, word) in OUTCOMES.items():
            members = [e for e in found.experiments if e.outcome == outcome]
            share = STOPPED_SHARE if outcome is Fate.STOPPED else 1.0
            _draw_experiments(axis, members, COLOURS[colour], marker, word, size * share)
        _draw_confirmations(axis, found.confirmations)
        _draw_solved(axis, found)
        axis.set_xlim(-0.02 * last - 0.5, last * 1.02 + 1.2)
        axis.set_xlabel("experiment")
        axis.set_ylabel(score_name(found.tasks))
        axis.yaxis.set_major_formatter(_thousands(found.tasks))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(*legend(axis), loc="outside upper left", ncols=4, columnspacing=1.6)
        _name(axis, kept)
        return finished("progress", figure)


def _draw_reigns(axis: Axes, reigns: Sequence[Reign], last: int) -> None:
    """Steps of the estimate, its interval, and the band of single runs."""
    ends = [reign.since for reign in reigns[1:]] + [last + 1]
    for i, (reign, end) in enumerate(zip(reigns, ends, strict=True)):
        reach = (reign.since, max(reign.since, end))  # one begun earlier may be kept later
        first = i == 0
        low, high = reign.band
        axis.fill_between(
            reach, [low] * 2, [high] * 2, color=COLOURS["noise"], linewidth=0, zorder=0,
            label="95 % of its single runs" if first else None,
        )  # fmt: skip
        low, high = reign.span
        axis.fill_between(
            reach, [low] * 2, [high] * 2, color=COLOURS["incumbent"], alpha=0.3,
            linewidth=0, zorder=1,
            label="runs of that estimate; from five on 95 %" if first else None,
        )  # fmt: skip
        axis.plot(
            reach, [reign.mean] * 2, color=COLOURS["incumbent"], linewidth=2, zorder=2,
            label="incumbent: proved, estimated afresh" if first else None,
        )  # fmt: skip
        if i:
            rise = [reigns[i - 1].mean, reign.mean]
            axis.plot([reign.since] * 2, rise, color=COLOURS["incumbent"], linewidth=1, zorder=2)


def _draw_leads(axis: Axes, leads: Sequence[Lead], last: int) -> None:
    """Steps of what the lead has scored, where it is not the incumbent."""
    ends = [*(lead.since for lead in leads), last + 1][1:]
    places, means = [], []
    for lead, end in zip(leads, ends, strict=True):
        mean = statistics.fmean(lead.scores) if lead.scores else math.nan
        places += [lead.since, max(lead.since, end)]
        means += [mean, mean]
    if any(map(math.isfinite, means)):
        axis.plot(
            places, means, color=COLOURS["lead"], linewidth=1.4, linestyle=DASHES, zorder=2,
            label="lead: by the runs it was chosen for",
        )  # fmt: skip


def confirmed(one: Confirmation) -> tuple[str, str]:
    """Colour and word of a confirmation's outcome."""
    if one.simpler and one.verdict == Verdict.KEEP:
        colour, _, word = OUTCOMES[Fate.SIMPLER]
        return colour, word
    return CONFIRMED[one.verdict]


def _draw_confirmations(axis: Axes, confirmations: Sequence[Confirmation]) -> None:
    """Both sides of each, as a bar between their means."""
    named = set()
    for one in confirmations:
        colour, word = confirmed(one)
        means = [statistics.fmean(side) for side in (one.incumbent, one.lead) if side]
        if len(means) < 2:
            continue
        axis.plot([one.since] * 2, means, color=COLOURS[colour], linewidth=5, alpha=0.35, zorder=3,
                  solid_capstyle="butt")  # fmt: skip
        for side, mean in zip(("incumbent", "lead"), means, strict=True):
            axis.plot([one.since], [mean], "_", color=COLOURS[side], markersize=11,
                      markeredgewidth=2, zorder=6)  # fmt: skip
        axis.plot([], [], color=COLOURS[colour], linewidth=5, alpha=0.35,
                  label=None if word in named else f"confirmation: {word}")  # fmt: skip
        named.add(word)


def _draw_experiments(
    axis: Axes, members: Sequence[Experiment], colour: str, marker: str, word: str, size: float
) -> None:
    """Means as markers; few runs all shown, more as an interval. Without a score: at the foot."""
    scored = [e for e in members if e.scores]
    zorder = 5 if word == OUTCOMES[Fate.KEEP][2] else 4
    for e in scored:
        if len(e.scores) < estimate.FEW:
            axis.plot([e.number] * len(e.scores), e.scores, ".", color=colour, markersize=2.5)
        low, high = span(e.scores)
        axis.plot([e.number] * 2, [low, high], color=colour, linewidth=0.9, zorder=3)
    if scored:
        x, y = [e.number for e in scored], [statistics.fmean(e.scores) for e in scored]
        axis.scatter(x, y, s=size, marker=marker, color=colour, zorder=zorder, label=word)
    rest = [e.number for e in members if not e.scores]
    if rest:
        axis.scatter(
            rest, [0.02] * len(rest), s=size, marker=marker, color=colour, zorder=4,
            transform=axis.get_xaxis_transform(), label=None if scored else word,
        )  # fmt: skip


def _name(axis: Axes, kept: Sequence[Experiment]) -> None:
    """Write numbers above dots, and below the chart what each of them was."""
    for e in kept:
        axis.annotate(
            str(e.number), (e.number, max(e.scores)), xytext=(0, 4), textcoords="offset points",
            ha="center", fontsize=8.5, color=COLOURS["keep"],
        )  # fmt: skip
    figure = axis.get_figure(root=True)
    assert figure is not None
    if kept:
        names = [f"{e.number}  {words.shortened(e.description, KEY_LENGTH)}" for e in kept]
        figure.legend(
            [Line2D([], [], linestyle="")] * len(kept), names, loc="outside lower left", ncols=2,
            handlelength=0, handletextpad=0, fontsize=8.5, labelcolor=COLOURS["keep"],
        )  # fmt: skip


def _draw_solved(axis: Axes, found: Findings) -> None:
    """The return at which the task counts as solved, where it has one; an arrow if far above."""
    level = anchors.solved(found.tasks[0]) if len(found.tasks) == 1 else None
    if level is None:
        return
    low, high = axis.get_ylim()
    if level <= high + 0.35 * (high - low):
        axis.axhline(level, color=COLOURS["muted"], linestyle=DASHES, linewidth=1)
        place, text = level, f"solved: {level:,.0f}"
        axis.annotate(
            text, (0, place), xycoords=("axes fraction", "data"), xytext=(4, 3),
            textcoords="offset points", color=COLOURS["muted"],
        )  # fmt: skip
    else:
        axis.annotate(
            f"solved at {level:,.0f} ↑", (0, 1), xycoords="axes fraction", xytext=(4, -3),
            textcoords="offset points", va="top", color=COLOURS["muted"],
        )  # fmt: skip


def transfer(found: Findings) -> Chart | None:
    """What baseline and incumbent are worth on other tasks, as shares of a known good return."""
    known = [t for t in found.transfers if t in anchors.RANDOM and objective.unit_return(t)]
    if not known:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(CHART_WIDTH, 0.42 * len(known) + 1.4), layout="constrained")
        axis = figure.add_subplot()
        first, last = found.reigns[0].commit, found.reigns[-1].commit
        for y, task in enumerate(reversed(known)):
            values = {c: objective.normalized(task, v) for c, v in found.transfers[task].items()}
            there = [values[c] for c in (first, last) if c in values]
            axis.plot(there, [y] * len(there), color=COLOURS["grid"], linewidth=3, zorder=1)
            for commit, colour, size in ((first, "other", 60), (last, "incumbent", 36)):
                if commit in values:
                    axis.scatter(values[commit], y, s=size, color=COLOURS[colour], zorder=3)
        axis.scatter([], [], s=60, color=COLOURS["other"], label="baseline")
        axis.scatter([], [], s=36, color=COLOURS["incumbent"], label="incumbent")
        axis.axvline(0, color=COLOURS["muted"], linewidth=0.8)
        axis.axvline(1, color=COLOURS["muted"], linewidth=0.8, linestyle=DASHES)
        axis.set_yticks(range(len(known)), list(reversed(known)))
        axis.set_xlabel("0: random actions    1: autoRL's best, or solved    (one run each)")
        figure.legend(*legend(axis), loc="outside upper left", ncols=2)
        return finished("transfer", figure)


def time(spent: Hours) -> Chart:
    """Where the hours went, as one bar."""
    unit, scale = ("hours", 1) if sum(dataclasses.astuple(spent)) > 1 else ("minutes", 60)
    parts = {
        "training": ("incumbent", spent.training * scale),
        "evaluation": ("keep", spent.evaluation * scale),
        "starting and compiling": ("other", spent.starting * scale),
        "agent": ("crash", spent.agent * scale),
        "everything else": ("discard", spent.other * scale),
    }
    whole = sum(length for _, length in parts.values()) or 1.0
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(CHART_WIDTH, 1.5), layout="constrained")
        axis = figure.add_subplot()
        left = 0.0
        for word, (colour, length) in parts.items():
            axis.barh(0, length, left=left, color=COLOURS[colour],
                      label=f"{word} {length / whole:.0%}")  # fmt: skip
            left += length
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.set_xlim(0, whole)
        axis.set_xlabel(unit)
        figure.legend(*legend(axis), loc="outside upper left", ncols=5, columnspacing=1.2)
        return finished("time", figure)


def score_name(tasks: Sequence[str]) -> str:
    """What the vertical axis measures."""
    if len(tasks) == 1:
        return f"{tasks[0]}: average return"
    return f"mean over {len(tasks)} tasks (1: reference)"


def _thousands(tasks: Sequence[str]) -> str:
    return "{x:,.0f}" if len(tasks) == 1 else "{x:.2f}"


def legend(axis: Axes) -> tuple[list, list[str]]:
    """An axis's handles and labels, for the figure's legend."""
    handles, labels = axis.get_legend_handles_labels()
    return handles, labels


def finished(name: str, figure: Figure) -> Chart:
    """A figure in both formats."""
    svg = io.StringIO()
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=PNG_DPI, facecolor="white")
    return Chart(name, _themed(svg.getvalue(), name), png.getvalue())


def _themed(svg: str, name: str) -> str:
    """An SVG element for a page: without a header, its colours as the page's variables."""
    svg = svg[svg.index("<svg") :]
    for role, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)  # ids are the page's, too
    return re.sub(
        r'<svg[^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', svg, count=1
    )
