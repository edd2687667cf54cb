"""Runs experiments on a GPU in Modal's cloud: the command line of harness.run, the ledger here.

    pip install -e '.[modal]' && modal setup
    modal run scripts/modal_app.py --arguments "--task Ant-v5"
    modal run scripts/modal_app.py --arguments "--task Hopper-v5" --runs 8
    modal volume get autorl-jax-runs / runs

AUTORL_GPU names the kind of GPU. `--runs` makes that many runs at a time, each on a machine of its
own with a seed of its own. Their rows are appended to results.tsv here; what they leave behind is
in a volume, also where this machine has lost the connection.
"""

import dataclasses
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import modal

ROOT = Path(__file__).resolve().parent.parent
CHECKOUT = ROOT if modal.is_local() else Path("/checkout")
"""Where the checkout is, here and there."""

GPU = os.environ.get("AUTORL_GPU", "H100")
CORES, MEMORY = 8.0, 32 * 1024  # of a machine; memory in MiB
TIMEOUT = 60 * 60
"""Seconds of one run; the longest budget plus start-up and evaluation."""

NOT_SENT = [".venv", "runs", "results.tsv", "**/__pycache__", ".pytest_cache", ".mypy_cache"]
"""What the machines need nothing of. All that git tracks goes there: a run checks it."""


def requirements(*extras: str) -> list[str]:
    """What pyproject.toml asks for, with some of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = (project["optional-dependencies"][extra] for extra in extras)
    return [*project["dependencies"], *(line for lines in wanted for line in lines)]


def build() -> modal.Image:
    """Debian with the pinned packages and JAX for CUDA, and this checkout on top."""
    return (
        modal.Image.debian_slim(python_version="3.11")
        .apt_install("git", "bubblewrap")
        .add_local_file(ROOT / "constraints.txt", "/constraints.txt", copy=True)
        .pip_install(*requirements("cuda"), extra_options="--constraint /constraints.txt")
        .env({"PYTHONPATH": "/checkout"})
        .add_local_dir(ROOT, "/checkout", copy=True, ignore=NOT_SENT)
    )


app = modal.App("autorl-jax")
volume = modal.Volume.from_name("autorl-jax-runs", create_if_missing=True)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one command.

    Attributes:
      code: its exit code.
      output: what it printed.
      rows: that it added to its ledger, the cells of each by their columns.
    """

    code: int
    output: str
    rows: list[dict[str, str]]


@app.function(
    image=build() if modal.is_local() else None,
    gpu=GPU,
    cpu=CORES,
    memory=MEMORY,
    timeout=TIMEOUT,
    volumes={"/checkout/runs": volume},
)
def experiment(arguments: list[str]) -> Outcome:
    """One run of `harness.run` in a checkout."""
    from harness.places import LEDGER  # noqa: PLC0415  (modal run has no such path)
    from harness.record import entries  # noqa: PLC0415
    from harness.record.ledger import Ledger  # noqa: PLC0415

    before = len(Ledger(CHECKOUT / LEDGER).rows())
    done = subprocess.run(
        [sys.executable, "-m", "harness.run", *arguments],
        cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    rows = Ledger(CHECKOUT / LEDGER).rows()[before:]
    return Outcome(done.returncode, done.stdout, [entries.cells(row) for row in rows])


def take(outcome: Outcome, root: Path) -> None:
    """Print what a command printed and append its rows to the ledger of a checkout."""
    from harness.places import LEDGER  # noqa: PLC0415
    from harness.record import entries  # noqa: PLC0415
    from harness.record.ledger import Ledger  # noqa: PLC0415

    print(outcome.output)
    for row in outcome.rows:
        Ledger(root / LEDGER).append(entries.parse(row))


@app.local_entrypoint()
def main(arguments: str = "", runs: int = 1) -> None:
    sys.path.insert(0, str(ROOT))
    words = shlex.split(arguments)
    if runs > 1 and any(word.startswith("--seed") for word in words):
        sys.exit("--seed makes all runs the same: leave it out, or make one run.")
    wanted = [words] * runs
    failed = 0
    for outcome in experiment.map(wanted, order_outputs=False, return_exceptions=True):
        if isinstance(outcome, Exception):  # of one machine; the others' rows are wanted
            print(f"lost: {outcome}", file=sys.stderr)
            failed += 1
            continue
        take(outcome, ROOT)
        failed += outcome.code != 0
    if failed:
        sys.exit(f"{failed} of {runs} runs failed; their output is above")
