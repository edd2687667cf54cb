"""`python -m harness.render RUN_ID`: a video of a scored run's policy."""

from pathlib import Path
from typing import Annotated

import typer

from harness.morning.video import MAX_SECONDS, VIDEO_WIDTH, make
from harness.terminal import cli


def main(
    run_id: Annotated[str, typer.Argument(help="A run in runs/ that has a score.")],
    seconds: Annotated[
        float, typer.Option(help="Length at most; longer episodes are played faster.")
    ] = MAX_SECONDS,
    width: Annotated[int, typer.Option(help="Pixels.")] = VIDEO_WIDTH,
) -> None:
    """Show a run's best, median and worst episode side by side, as mp4 and gif in its folder."""
    video = make(Path.cwd(), run_id, seconds, width)
    print("---")
    for title, episode in video.episodes.items():
        print(f"{title}: episode {episode}, {video.replayed[title]:.2f} "
              f"({video.recorded[title]:.2f} recorded)")  # fmt: skip
    print(f"exact: {'yes' if video.exact else 'no, the returns differ: another machine'}")
    print(f"seconds: {video.seconds:.1f}")
    print(f"speed: {video.speed:.2f}")
    for name, path in (("mp4", video.mp4), ("gif", video.gif)):
        print(f"{name}: {path} ({path.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    cli.serve(main)
