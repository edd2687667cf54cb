"""The report, of a night or of single runs, as one HTML page that needs nothing else."""

import difflib
import statistics
from collections.abc import Mapping, Sequence

import jinja2

from harness.judgement import estimate
from harness.judgement.history import COUNTED
from harness.morning import meaning, singles
from harness.morning.charts import COLOURS, OUTCOMES, confirmed
from harness.morning.findings import Confirmation, Experiment, Findings, Reign, figure
from harness.record.entries import Fate, Run, Verdict, stamp
from harness.system import words

DARK = {
    "ink": "#eceef1",
    "muted": "#9ba1a9",
    "grid": "#363b42",
    "keep": "#3ecf8e",
    "discard": "#737881",
    "crash": "#ff6369",
    "incumbent": "#52a9ff",
    "lead": "#c08cf0",
    "noise": "#1b3049",
    "other": "#f1b35a",
}
"""The charts' colours on a dark screen."""

STRIP = (210.0, 26.0)
"""Pixels of the small figure of a verdict."""

STRIP_MARGIN = 5.0
"""Pixels left free at both ends of it."""

TICKS = 40
"""Runs of the lead or the incumbent in it, the latest."""

DESCRIPTION_SHOWN = 160
"""Characters of a description; the rest shows where the pointer rests on it."""

CONTEXT = 2
"""Unchanged lines around a change in a diff."""


def write(
    found: Findings,
    charts: Mapping[str, str],
    diffs: Sequence[tuple[Experiment, list[tuple[str, str]]]],
    video: str = "",
    no_video: str = "",
) -> str:
    """The page.

    Args:
      found: what it reports.
      charts: SVG elements by name; those that are missing are left out.
      diffs: of the edits that are proved or lead, as `diff` gives them.
      video: an MP4 in base64; empty without one.
      no_video: why there is none.
    """
    low, high = _scale(found)
    return _rendered(
        "page.html",
        title=found.branch,
        found=found,
        instrument=found.instrument.partition(" ")[2] or "unknown hardware",
        began=min(stamp(row) for row in found.rows),
        lasted=words.lasting(found.hours * words.HOUR),
        runs=words.counted(sum(run.role in COUNTED for run in found.runs), "run"),
        came=came(found),
        proofs=proofs(found),
        ahead=ahead(found),
        words={outcome: word for outcome, (_, _, word) in OUTCOMES.items()},
        confirmed=confirmed,
        interval=interval,
        gain=_gain(found),
        charts=charts,
        diffs=diffs,
        video=video,
        no_video=words.plain(no_video),
        strip=lambda experiment: strip(experiment, low, high),
        sides=lambda confirmation: sides(confirmation, low, high),
        low=low,
        high=high,
    )


def write_singles(
    runs: Sequence[Run], charts: Mapping[str, str], video: str = "", no_video: str = ""
) -> str:
    """The page of single runs.

    Args:
      runs: in their order; one at least.
      charts: SVG elements by name; those that are missing are left out.
      video: of the last run with a score, an MP4 in base64; empty without one.
      no_video: why there is none.
    """
    last = singles.last(runs)
    return _rendered(
        "singles.html",
        title="Single runs",
        runs=runs,
        stamp=stamp,
        tasks=dict.fromkeys(run.task for run in runs),
        last=last,
        best=singles.best(runs, last.task) if last else None,
        failed=sum(run.avg_return is None for run in runs),
        meaning=meaning.lines(last.task, last.budget, last.avg_return or 0.0) if last else [],
        charts=charts,
        video=video,
        no_video=words.plain(no_video),
    )


def _rendered(template: str, **values: object) -> str:
    """A template with its values, and with what all have: colours, and words for figures."""
    loader = jinja2.PackageLoader("harness.morning", "")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    environment.filters["shortened"] = lambda text: words.shortened(text, DESCRIPTION_SHOWN)
    colours = {role: (COLOURS[role], DARK[role]) for role in COLOURS}
    return environment.get_template(template).render(colours=colours, figure=figure, **values)


def interval(reign: Reign) -> str:
    """An incumbent's 95 % interval and number of runs; the runs themselves where they are few."""
    if len(reign.fresh) < estimate.FEW:
        return f"runs: {', '.join(map(figure, reign.fresh))}"
    low, high = reign.span
    return f"95 %: {figure(low)} to {figure(high)}, {len(reign.fresh)} runs"


def came(found: Findings, *others: Fate) -> str:
    """How many experiments have come to what; only fates that there are, and these."""
    counts = {fate: found.count(fate) for fate in OUTCOMES}
    return ", ".join(
        f"{count} {OUTCOMES[fate][2]}"
        for fate, count in counts.items()
        if count or fate in (Fate.KEEP, *others)
    )


def proofs(found: Findings) -> str:
    """How many confirmations asked if a lead is better, and how many proved it; or nothing."""
    made = [one for one in found.confirmations if not one.simpler]
    if not made:
        return ""
    kept = sum(one.verdict == Verdict.KEEP for one in made)
    return f"{words.counted(len(made), 'confirmation')} made, {kept} with success"


def ahead(found: Findings) -> str:
    """Who leads, in words; empty where no edit is ahead of the incumbent."""
    if not found.leading:
        return ""
    scores = found.leads[-1].scores
    mean = f"{figure(statistics.fmean(scores))} in {words.counted(len(scores), 'run')}"
    noun = "experiment" if len(found.leading) == 1 else "experiments"
    numbers = f"{noun} {', '.join(str(e.number) for e in found.leading)}"
    return (
        f"{words.counted(len(found.leading), 'edit')} ahead of the incumbent, not proved yet: "
        f"{numbers}. It has {mean if scores else 'no run that counts here'}, which flatter it: it "
        "was chosen for them"
    )


def diff(before: bytes, after: bytes) -> list[tuple[str, str]]:
    """The lines that differ, with some around them, each with its kind: add, del, at or empty."""
    old, new = (words.decoded(text).removesuffix("\n").split("\n") for text in (before, after))
    kinds = {"+": "add", "-": "del", "@": "at"}
    lines = list(difflib.unified_diff(old, new, lineterm="", n=CONTEXT))[2:]
    return [(kinds.get(line[:1], ""), words.plain(line)) for line in lines]


def strip(experiment: Experiment, low: float, high: float) -> str:
    """An experiment's runs against the lead's, on one scale, as an SVG element."""
    colour = OUTCOMES[experiment.outcome][0]
    return _strip(experiment.scores, colour, experiment.against, low, high)


def sides(confirmation: Confirmation, low: float, high: float) -> str:
    """The lead's runs against the incumbent's, likewise."""
    return _strip(confirmation.lead, "lead", confirmation.incumbent, low, high)


def _strip(
    dots: Sequence[float], colour: str, ticks: Sequence[float], low: float, high: float
) -> str:
    width, height = STRIP

    def x(score: float) -> float:
        inside = min(max(score, low), high)
        return STRIP_MARGIN + (inside - low) / ((high - low) or 1.0) * (width - 2 * STRIP_MARGIN)

    parts = [f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="scores">']
    parts += [
        f'<path d="M{x(score):.1f} 15v8" stroke="var(--incumbent)" stroke-opacity=".55"/>'
        for score in ticks[-TICKS:]
    ]
    if ticks:
        mean = x(statistics.fmean(ticks))
        parts.append(f'<path d="M{mean:.1f} 2v22" stroke="var(--incumbent)" stroke-width="2"/>')
    parts += [
        f'<circle cx="{x(score):.1f}" cy="8" r="3.2" fill="var(--{colour})" fill-opacity=".85"/>'
        for score in dots
    ]
    return "".join([*parts, "</svg>"])


def _scale(found: Findings) -> tuple[float, float]:
    """The scale of all strips: of all scores."""
    scores = [s for e in found.experiments for s in e.scores]
    scores += [s for reign in found.reigns for s in reign.single]
    scores += [s for one in found.confirmations for s in (*one.lead, *one.incumbent)]
    return min(scores), max(scores)


def _gain(found: Findings) -> str:
    """What the night has brought, in words; empty where nothing was proved."""
    if len(found.reigns) < 2:
        return ""
    if not found.kept:
        return (
            "Nothing was proved to be better. The incumbent is simpler than the baseline, and as "
            "good but for the margin that its proof allows: a difference of their estimates is no "
            "gain."
        )
    first, last = found.reigns[0], found.reigns[-1]
    share = f" ({last.mean / first.mean - 1:+.0%})" if first.mean > 0 else ""
    return (
        f"The incumbent's estimate is {figure(last.mean - first.mean)} above the baseline's"
        f"{share}. No proof rests on the runs of either; the search has seen the baseline's."
        f"{_of_simpler(found)}"
    )


def _of_simpler(found: Findings) -> str:
    """What is to be known of edits that only make the file simpler; nothing where there is none."""
    if not found.simplified:
        return ""
    return (
        f" {words.counted(len(found.simplified), 'edit')} in it only made the file simpler: what "
        "they cost is in that figure, and none of it is proved to be theirs."
    )
