"""How long this process stood still: stopped, frozen, or asleep with the whole machine.

Whoever holds a clock looks at it every fraction of a second. Where such a look is late, either the
machine was busy, which is time like any other and may be the doing of what is measured; or we stood
still ourselves, and what we measure meanwhile went on without us, or stood still, too.
"""

import contextlib
import time
from pathlib import Path

LATE = 0.5
"""Seconds by which a look may be late for other reasons: disks and terminals make a process wait.
"""

_SCHEDULED = Path("/proc/thread-self/schedstat")
"""Nanoseconds that this thread ran, and that it was ready to run and had no processor (Linux)."""


class Pulse:
    """Beats once a look.

    Args:
      interval: seconds that a look waits at most.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last = _moment()

    def beat(self) -> float:
        """Seconds since the last beat in which this thread stood still."""
        before, self._last = self._last, _moment()
        passed, asleep, busy = (b - a for a, b in zip(before, self._last, strict=True))
        return sum(time for time in (passed - busy - self._interval, asleep) if time > LATE)


def _moment() -> tuple[float, float, float]:
    """Seconds on the clock, asleep with the machine, and running or waiting for a processor."""
    now = time.monotonic()
    asleep = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) - now
    busy = time.thread_time()
    with contextlib.suppress(OSError, ValueError, IndexError):  # not Linux, or a kernel without it
        busy = sum(map(int, _SCHEDULED.read_text().split()[:2])) / 1e9
    return now, asleep, busy
