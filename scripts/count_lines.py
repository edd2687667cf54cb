"""How much code an algorithm is: its training file, and what that loads of an RL library.

    python scripts/count_lines.py FILE

Counts lines as `wc -l` does, and of a library only the modules that the file imports. The harness
is under every file, and is not counted.
"""

import runpy
import sys
from pathlib import Path

LIBRARIES = ("brax", "sbx", "stable_baselines3")


def lines(file: Path) -> int:
    """How many lines a file has."""
    return len(file.read_bytes().splitlines())


def loaded() -> list[Path]:
    """The files of the libraries' modules that are imported by now."""
    files = [
        getattr(module, "__file__", None)
        for name, module in sys.modules.items()
        if name.partition(".")[0] in LIBRARIES
    ]
    return [Path(file) for file in files if file]


if __name__ == "__main__":
    runpy.run_path(sys.argv[1], run_name="counted")
    library = loaded()
    print(f"file: {lines(Path(sys.argv[1]))}")
    print(f"library: {sum(map(lines, library))} in {len(library)} modules")
