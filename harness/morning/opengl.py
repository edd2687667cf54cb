"""Which OpenGL draws MuJoCo's pictures here, without a screen.

`python -m harness.morning.opengl` draws one, in the way that MUJOCO_GL names.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

from harness.confinement import sandbox
from harness.errors import InputError

VARIABLE = "MUJOCO_GL"
"""Names the way, for MuJoCo and Gymnasium alike."""

OFF = "disable"
"""MuJoCo then touches no OpenGL; without it an import can fail where there is none."""

CANDIDATES = ("egl", "osmesa") if sys.platform == "linux" else ("glfw",)
"""Ways to draw, the faster first."""

DEBIAN_PACKAGES = "libegl1 libgl1"
"""Of Debian and Ubuntu: EGL with Mesa, which draws on the processor where there is no GPU."""

DRAWING_SECONDS = 60.0
"""Twenty times what the imports and one picture take on one core."""

PROBE_TASK = "InvertedPendulum-v5"
PROBE_SIZE = 64
"""Pixels, of each side of the picture."""


def find(confinement: str) -> str:
    """The first way that draws a real picture in a confined process; the user's own if one is set.

    Args:
      confinement: of `sandbox`.

    Raises:
      InputError: none does; the message names the packages to install.
    """
    chosen = os.environ.get(VARIABLE)
    for name in (chosen,) if chosen else CANDIDATES:
        if works(name, confinement):
            return name
    tried = f"{VARIABLE}={chosen} does not" if chosen else f"{' and '.join(CANDIDATES)} do not"
    unset = f", and leave {VARIABLE} unset" if chosen else ""
    raise InputError(
        f"MuJoCo's pictures need OpenGL without a screen, and here {tried} work. On Debian and "
        f"Ubuntu: apt-get install {DEBIAN_PACKAGES}{unset}."
    )


@functools.cache
def works(name: str, confinement: str) -> bool:
    """Whether one way draws here: a real picture is drawn and looked at."""
    probe = sandbox.start(
        confinement, [sys.executable, "-m", "harness.morning.opengl"], sandbox.system(),
        {VARIABLE: name}, Path("/"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return probe.wait(DRAWING_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        probe.kill()
        probe.wait()


def main() -> None:
    """Draw a picture; fail if that raises, or if all of it has one colour."""
    import gymnasium  # noqa: PLC0415  (by way of MuJoCo, which reads MUJOCO_GL)

    env = gymnasium.make(PROBE_TASK, render_mode="rgb_array", width=PROBE_SIZE, height=PROBE_SIZE)
    env.reset(seed=0)
    if env.render().std() == 0:
        sys.exit("The picture is empty.")


if __name__ == "__main__":
    main()
