"""What a training's own reports say of its score, and whom the rule would have stopped by them.

    python scripts/bench_stopping.py [FOLDER ...] [--chance C] [--bar B] [--leave-out TEXT]

FOLDER holds folders of finished runs, at any depth; `docs/evidence` if none is given, `runs` for
those of a checkout. Each run is predicted from the others of its task and budget. The bar is the
mean of the others' scores and `--bar` of their standard deviations; it and `--chance` are the
rule's own if left out.
"""

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from harness.contract import reports
from harness.judgement import search, stopping
from harness.judgement.stopping import SHARES, Course
from harness.places import CURVE, SUMMARY

EVIDENCE = Path("docs/evidence")


@dataclass(frozen=True)
class Tried:
    """What would have become of the runs of one task.

    Attributes:
      stopped: how many would have been stopped.
      above: how many of these have scored above their bar all the same.
    """

    stopped: int
    above: int


def load(folders: list[Path], left_out: list[str]) -> dict[tuple[str, float], list[Course]]:
    """The finished runs by task and budget; those whose description holds a text are left out."""
    groups: dict[tuple[str, float], list[Course]] = {}
    for path in sorted(p for folder in folders for p in folder.rglob(SUMMARY)):
        summary = json.loads(path.read_text())
        if "avg_return" not in summary or any(t in summary["description"] for t in left_out):
            continue
        budget = summary["budget"]
        told = reports.read(path.parent / CURVE)
        means = {share: reports.mean(told, budget, share) for share in SHARES}
        known = {share: mean for share, mean in means.items() if mean is not None}
        groups.setdefault((summary["task"], budget), []).append(
            Course(known, summary["avg_return"])
        )
    return groups


def tried(runs: list[Course], shares: tuple[float, ...], bar: float, chance: float) -> Tried:
    """Each run against what the others say, stopped at any of some shares."""
    stopped = above = 0
    for i, run in enumerate(runs):
        others = runs[:i] + runs[i + 1 :]
        scores = [other.score for other in others]
        wanted = statistics.fmean(scores) + bar * statistics.stdev(scores)
        asked = stopping.stops(others, wanted, chance, shares)
        if any(run.reported.get(stop.share, stop.least) < stop.least for stop in asked):
            stopped += 1
            above += run.score > wanted
    return Tried(stopped, above)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[EVIDENCE])
    parser.add_argument("--chance", type=float, default=search.CHANCE)
    parser.add_argument("--bar", type=float, default=search.BAR * search.ACCEPT)
    parser.add_argument("--leave-out", action="append", default=[], metavar="TEXT")
    given = parser.parse_args()
    print(
        "| task | budget | runs | share | Pearson | Spearman | stopped | of these above the bar |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for (task, budget), runs in sorted(load(given.folders, given.leave_out).items()):
        if len(runs) <= stopping.LEAST_PAIRS:
            continue
        for share in SHARES:
            x, y = zip(*[(r.reported[share], r.score) for r in runs if share in r.reported],
                       strict=True)  # fmt: skip
            found = tried(runs, (share,), given.bar, given.chance)
            print(f"| {task} | {budget:g} s | {len(x)} | {share:g} | {stats.pearsonr(x, y)[0]:.2f} "
                  f"| {stats.spearmanr(x, y)[0]:.2f} | {found.stopped / len(runs):.0%} "
                  f"| {found.above} of {found.stopped} |")  # fmt: skip
        found = tried(runs, SHARES, given.bar, given.chance)
        print(f"| {task} | {budget:g} s | {len(runs)} | either | | | "
              f"{found.stopped / len(runs):.0%} | {found.above} of {found.stopped} |")  # fmt: skip


if __name__ == "__main__":
    main()
