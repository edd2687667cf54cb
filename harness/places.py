"""Where things are: every path of the package, of a checkout and of a run's folder, once."""

import re
from pathlib import Path

from platformdirs.unix import Unix

PACKAGE = Path(__file__).resolve().parent
"""The folder `harness`, wherever this process has it from."""

EDITABLE = "agent_space/train.py"
"""Of a checkout: the file that an agent edits."""

PROGRAM = "program.md"
"""Of a checkout: where the human says what to try; to be edited whenever they like."""

LEDGER = "results.tsv"
"""Of a checkout: the record of all runs."""

RUNS = "runs"
"""Of a checkout: the folder that holds one folder a run."""

HOLDER = ".autorl-holder"
"""Of a checkout: a note of the command that is at work."""

TRAIN_FILE = "train.py"
"""Of a run's folder: the training file as it was run."""

SUMMARY, ERROR = "summary.json", "error.txt"
"""Of a run's folder: what a scored run leaves, and what a failed one leaves instead."""

CURVE, LOG, POLICY = "curve.csv", "train.log", "policy"
"""Of a run's folder: the learning curve, what the training has printed, the policy's folder."""

POLICIES = re.compile(r"policy(-[0-9]{1,2})?")
"""Names of the folders of policies, in a run's folder; see `policy_folder`."""

TURN = "turn.json"
"""Of a turn's folder: what an agent has left."""

NOTES = "NOTES.md"
"""Of an agent's clone, and of a turn's folder: what it has written down for its next turns."""


def run_folder(root: Path, run_id: str) -> Path:
    """Where a run, or a turn of an agent, leaves its files.

    Args:
      root: the checkout.
      run_id: as in the ledger.
    """
    return root / RUNS / run_id


def policy_folder(run: Path, index: int = 0) -> Path:
    """Where a run leaves the policy of one of its seeds: in `policy`, `policy-1`, and so on.

    Args:
      run: the run's folder.
      index: of the seed, from 0.
    """
    return run / (f"{POLICY}-{index}" if index else POLICY)


def state_folder() -> Path:
    """Where the ends of ledgers are kept: for the user, outside every checkout.

    The same on macOS as on Linux: what is kept there must be found again.
    """
    return Unix("autorl-jax").user_state_path


def kernels_folder() -> Path:
    """Where Warp's compiled kernels are kept: for the user, whatever checkout asks for them."""
    return state_folder() / "kernels"
