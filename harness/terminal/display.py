"""What a person sees while a run goes on; nothing where nobody is looking."""

import math
import statistics
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from harness.contract.reports import RETURN
from harness.measurement.training import Training

SPARK = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 48
POINTS_DRAWN = 1000
"""Of the curve that are looked at for a picture."""

PICTURES_A_SECOND = 4
"""Pictures a second."""


class Display:
    """A live picture of one training on a terminal; silent elsewhere, so that logs stay short.

    Args:
      title: of the training.
      below: lines that do not change while it goes on.
    """

    def __init__(self, title: str, below: Sequence[str] = ()) -> None:
        self._console = Console(stderr=True)
        self._title = title
        self._below = [Text(line, no_wrap=True, overflow="ellipsis") for line in below]
        self._drawn = 0.0
        self._phase = "starting and compiling"
        self._live = Live(
            console=self._console, refresh_per_second=PICTURES_A_SECOND, transient=True
        )

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def watch(self, training: Training) -> None:
        """Draw a training as it stands."""
        now = time.monotonic()
        if self._console.is_terminal and now - self._drawn > 1 / PICTURES_A_SECOND:
            self._drawn = now
            self._live.update(self._picture(training, now))

    def announce(self, phase: str) -> None:
        """Say what has begun."""
        if self._console.is_terminal:
            self._live.update(Group(Text(f"{self._title}  {phase} …"), *self._below))

    def _picture(self, training: Training, now: float) -> Group:
        if training.clock_start is None:
            waited = now - training.begun
            begun = Text(f"{self._title}  starting and compiling … {waited:.0f} s")
            return Group(begun, *self._below)
        bar = Progress(
            TextColumn(self._title),
            BarColumn(),
            TextColumn(f"{max(training.time_left(now), 0):.0f} s left"),
        )
        bar.add_task("", total=training.budget, completed=int(training.seconds(now)))
        return Group(bar, Text(_figures(training)), *self._below)


def _figures(training: Training) -> str:
    """Steps, rate and return so far, with a sparkline of the returns."""
    if len(training.curve) < 2:
        return "first update …"
    shown = training.curve[:: max(len(training.curve) // POINTS_DRAWN, 1)]
    returns = [m[RETURN] for _, _, m in shown if math.isfinite(m.get(RETURN, math.nan))]
    line = f"{training.curve[-1][1]:,} steps   {training.steps_per_second:,.0f} steps/s"
    return f"{line}   return {returns[-1]:,.1f}  {sparkline(returns)}" if returns else line


def sparkline(values: list[float], width: int = SPARK_WIDTH) -> str:
    """A row of block characters, the mean of each of `width` equal parts a block."""
    width = min(width, len(values))
    edges = [len(values) * i // width for i in range(width + 1)]
    means = [statistics.fmean(values[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    low, span = min(means), max(means) - min(means)
    levels = (0 if span == 0 else int((mean - low) / span * (len(SPARK) - 1)) for mean in means)
    return "".join(SPARK[level] for level in levels)
