"""`python -m harness.report`: the morning, as one page and its pictures."""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.checkout.branch import PREFIX, Branch
from harness.checkout.git import GitError
from harness.errors import HarnessError, InputError, StorageError
from harness.morning import charts, curves, episodes, hours, page, reader, singles
from harness.morning import video as movie
from harness.morning.charts import Chart
from harness.morning.findings import Experiment, Findings
from harness.places import LEDGER, run_folder
from harness.record.entries import Run
from harness.system import words
from harness.terminal import cli

FOLDER, PAGE = "report", "index.html"

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
    video: Annotated[
        bool, typer.Option(help="Render the incumbent, or the last single run.")
    ] = True,
) -> None:
    """Write what a night has found, or single runs, into one page that opens from the disk.

    Learning curves, times and the video need the runs' folders next to the ledger; diffs need the
    checkout's git. What is missing is left out.
    """
    root = ledger.resolve().parent
    if not branch and ledger.exists() and singles.are_all(ledger):
        said = _of_singles(singles.read(ledger), root, output, video)
    else:
        name = branch and PREFIX + branch.removeprefix(PREFIX)
        said = _of_branch(reader.read(ledger, name), root, output, video)
    print(f"{output / PAGE}: {said}")


def _of_branch(found: Findings, root: Path, output: Path, video: bool) -> str:
    """Write what a branch has found; what that is, in words."""
    drawn = draw(found, root)
    film, why_not = _video(found.reigns[-1].runs[-1], root) if video else ("", "")
    svgs = {chart.name: chart.svg for chart in drawn}
    _write(output, page.write(found, svgs, diffs(found, root), film, why_not), drawn)
    said = f"{words.counted(len(found.experiments), 'experiment')}, {len(found.kept)} proved"
    said += f", {len(found.simplified)} kept as simpler" if found.simplified else ""
    return said + (f", {len(found.leading)} on top of them not yet" if found.leading else "")


def _of_singles(runs: Sequence[Run], root: Path, output: Path, video: bool) -> str:
    """Write what single runs have brought; what that is, in words.

    Raises:
      InputError: there is none.
    """
    if not runs:
        raise InputError("No run has ended yet: harness.status says what is going on.")
    last = singles.last(runs)
    drawn = [
        chart
        for chart in (episodes.draw(runs, root), curves.of_singles(runs, root))
        if chart is not None
    ]
    film, why_not = _video(last.run_id, root) if video and last else ("", "")
    svgs = {chart.name: chart.svg for chart in drawn}
    _write(output, page.write_singles(runs, svgs, film, why_not), drawn)
    return f"{words.counted(len(runs), 'run')}, and no experiment branch"


def _write(output: Path, text: str, drawn: Sequence[Chart]) -> None:
    """The page, and its charts as pictures beside it.

    Raises:
      StorageError: the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / PAGE).write_text(text, encoding="utf-8")
        for chart in drawn:
            (output / f"{chart.name}.png").write_bytes(chart.png)
    except OSError as error:
        raise StorageError(f"Cannot write {output}: {error.strerror}.") from error


def draw(found: Findings, root: Path) -> list[Chart]:
    """The charts for which there are figures.

    Args:
      found: what the ledger says.
      root: the folder that holds `runs/`.
    """
    drawn = [charts.progress(found), curves.of_branch(found, root), charts.transfer(found)]
    spent = hours.spent(found, root)
    if spent.training:
        drawn.append(charts.time(spent))
    return [chart for chart in drawn if chart is not None]


def diffs(found: Findings, root: Path) -> list[tuple[Experiment, list[tuple[str, str]]]]:
    """What is proved and what leads has changed, in that order; none where git does not have it."""
    checkout = Branch(root, found.branch.removeprefix(PREFIX))
    changes = []
    before = found.rows[0].commit
    for experiment in (*found.inside, *found.leading):
        try:
            edits = [checkout.edit_of(commit) for commit in (before, experiment.commit)]
        except GitError:
            return []
        changes.append((experiment, page.diff(*edits)))
        before = experiment.commit
    return changes


def _video(run_id: str, root: Path) -> tuple[str, str]:
    """A run as MP4 in base64; else nothing, and why."""
    if not run_folder(root, run_id).is_dir():
        return "", f"No video: the folder of run {run_id} is not here."
    print("drawing the video; a minute or more (--no-video leaves it out)", file=sys.stderr)
    try:
        film = movie.render(root, run_id, VIDEO_SECONDS).read_bytes()
    except (HarnessError, OSError) as error:
        return "", f"No video: {error}"
    if len(film) > LARGEST_VIDEO:
        return "", f"The video is too large for the page; it is runs/{run_id}/video.mp4."
    return base64.b64encode(film).decode(), ""


if __name__ == "__main__":
    cli.serve(report)
