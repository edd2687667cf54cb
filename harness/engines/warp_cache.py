"""Warp's cache of compiled kernels in one process: a folder of its own, with what is kept for all.

Warp looks there for a kernel that is to run, compiles one that is missing, and puts it there. What
the harness keeps is read-only, and so each process begins with a copy.
"""

import functools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

KEPT_VARIABLE = "AUTORL_KERNELS"
"""Names the folder of those that are kept."""

OWN_VARIABLE = "WARP_CACHE_PATH"
"""Warp's: names the folder where it looks for kernels, in it one for each version of Warp."""


def variables(own: str | Path, kept: Path | None = None) -> Mapping[str, str]:
    """Those of a process that has a folder of its own, and a copy of the kept ones in it.

    Args:
      own: where Warp may write.
      kept: where those are that it need not compile; None for none.
    """
    given = {OWN_VARIABLE: str(own)}
    return given if kept is None else {**given, KEPT_VARIABLE: str(kept)}


@functools.cache
def prefill() -> None:
    """Copy the kept kernels to where Warp looks for them; nothing happens where none are kept.

    Call it before Warp loads the first one. Whatever goes wrong only costs time: Warp compiles.
    """
    kept, own = (os.environ.get(name) for name in (KEPT_VARIABLE, OWN_VARIABLE))
    if not kept or not own:
        return
    copy = Path(f"{own}.new")
    try:
        shutil.copytree(kept, copy)
        Path(own).mkdir(parents=True, exist_ok=True)
        for version in copy.iterdir():
            version.replace(Path(own, version.name))  # whole: half a kernel would be an error
    except OSError:
        pass
    finally:
        shutil.rmtree(copy, ignore_errors=True)
