"""Kills the loop at random moments, resumes it, and compares the end with an undisturbed night's.

    python scripts/bench_nights.py [--kills 50] [--turns 60]

The nights have a scripted agent, and scores that follow from file, role and replicate, so that two
nights measure the same; all else is the real machinery: git, ledger, rule, agent processes. A night
is killed with SIGKILL again and again until it has ended by itself; nights follow until there were
enough kills. Prints how many ended like the undisturbed one, and the time that a turn takes.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from harness.checkout.branch import Branch, create
from harness.confinement import sandbox
from harness.evaluate import Evaluation
from harness.judgement import contest, experiment
from harness.judgement.contest import Contest
from harness.judgement.history import Conditions
from harness.measurement import scoring
from harness.measurement.sites import Measurement
from harness.measurement.training import Training
from harness.night.turns import Night
from harness.places import EDITABLE, LEDGER
from harness.record.entries import NightBegun, Plan, Run, Turn
from harness.record.ledger import Ledger

ROOT = Path(__file__).resolve().parent.parent
TAG = "night"
AGENT = f'echo "SKILL = $((AUTORL_TURN * 7919 % 13 - 6)) # $AUTORL_TURN" > {EDITABLE}'
CONDITIONS = Conditions(("HalfCheetah-v5",), ("native",), 1.0, 1, sandbox=sandbox.NONE)
SHORTEST, LONGEST = 0.3, 8.0  # seconds between the start of a night and its kill
GONE_WITHIN = 3.0  # seconds in which the kernel ends what a killed loop had started


def measured(this: experiment._Underway, watch: object, announce: object) -> object:
    """In the place of training and evaluation: a score that is the same in every night."""
    request = this.request
    assert request.part is not None
    what = (request.source, request.part.role, request.part.challenger == request.part.commit)
    digest = hashlib.sha256(repr((*what, request.part.replicate)).encode()).digest()
    score = float(request.source.split()[2]) + random.Random(digest).gauss(0, 1)
    evaluation = Evaluation([score], [1], [0], 0.0)
    return Measurement(Training(1.0), scoring.Score(evaluation, "00", "00"))


def play(folder: Path, turns: int) -> None:
    """A night in a checkout, or the rest of one."""
    experiment._measure = measured  # type: ignore[assignment]
    os.chdir(folder)
    branch = Branch(folder, TAG)
    rows = Ledger(folder / LEDGER).rows()
    begun = any(isinstance(row, NightBegun) for row in rows)
    if not rows:
        branch = create(folder, TAG) if not branch.exists() else branch
    night = Night(
        Contest(branch, CONDITIONS, sandbox.NONE), None if begun else Plan(AGENT, 24, 10**6, 60)
    )
    over = night._over
    night._over = lambda now: over(now) or ("done" if len(now.past.turns) >= turns else None)  # type: ignore[method-assign]
    night.run()


def start(folder: Path, turns: int) -> subprocess.Popen:
    """The same in a process of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, "--play", str(folder), "--turns", str(turns)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder.parent / "state")},
    )


def checkout(folder: Path) -> Path:
    """A committed one."""
    (folder / "agent_space").mkdir(parents=True)
    (folder / EDITABLE).write_text("SKILL = 0\n")
    (folder / ".gitignore").write_text("/runs/\n/results.tsv\n")
    identity = ["-c", "user.name=Bench", "-c", "user.email=bench@localhost"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
    return folder


def outcome(folder: Path) -> list[tuple[str, ...]]:
    """What a night came to: turns and verdicts without names and times, and the branch's file.

    Not every row: what was cut off has one of its own, and its trial more to show.
    """
    os.environ["XDG_STATE_HOME"] = str(folder.parent / "state")
    ledger = Ledger(folder / LEDGER)
    ledger.check()
    rows = [
        (type(row).__name__, row.status if isinstance(row, Turn) else row.verdict)
        for row in ledger.rows()
        if isinstance(row, Turn) or (isinstance(row, Run) and row.verdict.final)
    ]
    branch = Branch(folder, TAG)
    assert branch.trials() == []
    incumbent = contest.known(branch).incumbent
    assert any(commit.startswith(incumbent) for commit in branch.log())
    return [*rows, (branch.edit_of("tip").decode(), branch.edit().decode())]


def left(folder: Path) -> int:
    """How many processes of a night there are."""
    deadline = time.monotonic() + GONE_WITHIN
    while True:
        found = sum(
            str(folder) in " ".join(p.info["cmdline"] or ()) or (p.info["cwd"] or "") == str(folder)
            for p in psutil.process_iter(["cmdline", "cwd"])
        )
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--play", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        play(options.play, options.turns)
        return
    generator = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="autorl-nights-") as name:
        begin = time.monotonic()
        whole = checkout(Path(name, "whole", "checkout"))
        if start(whole, options.turns).wait():
            sys.exit("the undisturbed night failed")
        print(f"a turn takes {(time.monotonic() - begin) / options.turns:.2f} s")
        expected = outcome(whole)
        kills = nights = same = orphans = 0
        while kills < options.kills:
            folder = checkout(Path(name, str(nights), "checkout"))
            while True:
                night = start(folder, options.turns)
                try:
                    if night.wait(generator.uniform(SHORTEST, LONGEST)):
                        sys.exit("a resumed night failed")
                    break
                except subprocess.TimeoutExpired:
                    night.send_signal(signal.SIGKILL)
                    night.wait()
                    kills += 1
                    orphans += left(folder)
            nights += 1
            same += outcome(folder) == expected
            print(f"{kills} kills, {nights} nights, {same} the same, {orphans} orphans", flush=True)


if __name__ == "__main__":
    main()
