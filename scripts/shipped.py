"""The shipped training file as a module: what is installed is the harness alone."""

import importlib.util
from pathlib import Path
from types import ModuleType

FILE = Path(__file__).resolve().parent.parent / "agent_space" / "train.py"


def load() -> ModuleType:
    """`agent_space/train.py`, imported anew."""
    spec = importlib.util.spec_from_file_location("train", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
