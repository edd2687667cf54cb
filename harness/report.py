"""`python -m harness.report`: the morning, as one page and its pictures."""

import base64
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from harness.checkout.branch import PREFIX, Branch
from harness.errors import HarnessError, StorageError
from harness.morning import charts, curves, findings, page
from harness.morning import video as movie
from harness.morning.charts import Chart
from harness.morning.findings import Experiment, Findings
from harness.places import LEDGER, run_folder
from harness.terminal import cli

FOLDER = "report"

VIDEO_SECONDS = 10.0
"""Of the video in the page."""

LARGEST_VIDEO = 6 * 2**20
"""Bytes of a video that goes into the page; in base64 it is a third larger."""


def report(
    ledger: Annotated[Path, typer.Option(help="The ledger to report on.")] = Path(LEDGER),
    branch: Annotated[
        str,
        typer.Option(metavar="TAG", help="Tag of the branch; the one worked on last if left out."),
    ] = "",
    output: Annotated[Path, typer.Option(help="Folder for the page and its pictures.")] = Path(
        FOLDER
    ),
    video: Annotated[bool, typer.Option(help="Render the incumbent.")] = True,
) -> None:
    """Write what a night has found into one page that opens from the disk.

    Learning curves, times and the video need the runs' folders beside the ledger; diffs need the
    checkout's git. What is missing is left out.
    """
    name = branch and PREFIX + branch.removeprefix(PREFIX)
    found = findings.read(ledger, name)
    root = ledger.resolve().parent
    drawn = draw(found, root)
    film, why_not = _video(found, root) if video else (b"", "")
    text = page.write(
        found,
        {chart.name: chart.svg for chart in drawn},
        diffs(found, root),
        base64.b64encode(film).decode(),
        why_not,
    )
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "index.html").write_text(text, encoding="utf-8")
        for chart in drawn:
            (output / f"{chart.name}.png").write_bytes(chart.png)
    except OSError as error:
        raise StorageError(f"Cannot write {output}: {error.strerror}.") from error
    print(f"{output / 'index.html'}: {len(found.experiments)} experiments, {len(found.kept)} kept")


def draw(found: Findings, root: Path) -> list[Chart]:
    """The charts for which there are figures.

    Args:
      found: what the ledger says.
      root: the folder that holds `runs/`.
    """
    drawn = [charts.progress(found), curves.draw(found, root), charts.transfer(found)]
    spent = findings.hours(found, root)
    if spent.training:
        drawn.append(charts.time(spent))
    return [chart for chart in drawn if chart is not None]


def diffs(found: Findings, root: Path) -> list[tuple[Experiment, list[tuple[str, str]]]]:
    """The kept experiments' changes, the latest first; none where git does not have them."""
    checkout = Branch(root, found.branch.removeprefix(PREFIX))
    changes = []
    before = found.rows[0].commit
    for experiment in found.kept:
        try:
            edits = [checkout.edit_of(commit) for commit in (before, experiment.commit)]
        except (OSError, subprocess.CalledProcessError):
            return []
        changes.append((experiment, page.diff(*edits)))
        before = experiment.commit
    return changes


def _video(found: Findings, root: Path) -> tuple[bytes, str]:
    """The incumbent's last run as MP4; else nothing, and why."""
    run_id = found.reigns[-1].runs[-1]
    if not run_folder(root, run_id).is_dir():
        return b"", f"No video: the folder of run {run_id} is not here."
    try:
        film = movie.render(root, run_id, VIDEO_SECONDS).read_bytes()
    except (HarnessError, OSError) as error:
        return b"", f"No video: {error}"
    if len(film) > LARGEST_VIDEO:
        return b"", f"The video is too large for the page; it is runs/{run_id}/video.mp4."
    return film, ""


if __name__ == "__main__":
    cli.serve(report)
