"""Kills the loop at random moments, resumes it, and compares the end with an undisturbed night's.

    python scripts/bench_nights.py [--kills 50] [--turns 60]

The nights have a scripted agent, and scores that follow from file, role and replicate, so that two
nights measure the same; lots fall alike, and a run that was cut off costs nothing in evidence. All
else is the real machinery: git, ledger, rule, agent processes. There are leads that are proved and
others that are not, and runs that are stopped. A night is killed with SIGKILL again and again until
it has ended by itself; nights follow until there were enough kills. Prints how many ended like the
undisturbed one, and the time that a turn takes.
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
from collections import Counter
from pathlib import Path

import psutil

from harness.checkout.beginning import create
from harness.checkout.branch import Branch
from harness.confinement import sandbox
from harness.contract import reports
from harness.contract.order import Order
from harness.evaluate import Evaluation
from harness.judgement import confirmation, contest, proof, rulings
from harness.judgement.contest import Contest
from harness.judgement.history import Conditions
from harness.measurement import scoring, sites
from harness.measurement.sites import Measurement
from harness.measurement.training import Training
from harness.night.memory import Memory
from harness.night.turns import Night
from harness.places import CURVE, EDITABLE, LEDGER, TRAIN_FILE
from harness.record.entries import NightBegun, Plan, Role, Run, Status, Turn
from harness.record.ledger import Ledger

ROOT = Path(__file__).resolve().parent.parent
TAG = "night"
AGENT = (
    f"read _ _ skill _ < {EDITABLE}; "
    f'echo "SKILL = $((skill + AUTORL_TURN * 7919 % 11 - 7)) # $AUTORL_TURN" > {EDITABLE}'
)
"""Edits of the lead by -7 to 3."""

LUCKY, LUCK = 7, 6.0
"""Every so many turns an edit is better on trial than side by side, by so much."""

UPDATES, NOISE = 20, 0.5
"""Reports of a run, and how far they are off its score."""

LEFT = 20.0
"""Runs that a night has left after a turn of its agent."""

CONDITIONS = Conditions(
    ("HalfCheetah-v5",), ("native",), 1.0, 1, sandbox=sandbox.NONE, stopping=True
)
SHORTEST, LONGEST = 0.3, 8.0  # seconds between the start of a night and its kill
GONE_WITHIN = 3.0  # seconds in which the kernel ends what a killed loop had started


class Site:
    """A place where training and evaluation are a score that is the same in every night."""

    def __init__(self) -> None:
        self.instrument, self.slots = sites.here().instrument, 1

    def measure(
        self, order: Order, folder: Path, root: Path, watch: object, announce: object
    ) -> Measurement:
        """What a run reports all the time is near its score; a low one is stopped."""
        rows = Ledger(root / LEDGER).read().entries
        row = next(row for row in reversed(rows) if row.run_id == folder.name)
        assert isinstance(row, Run)
        words = (folder / TRAIN_FILE).read_text().split()
        digest = hashlib.sha256(repr((words, row.role.value, row.replicate)).encode()).digest()
        noise = random.Random(digest)
        luck = LUCK if int(words[4]) % LUCKY == 0 and row.role == Role.CHALLENGER else 0
        score = float(words[2]) + luck + noise.gauss(0, 1)
        training = Training(order.assignment.budget, clock_start=0.0, stops=order.stops)
        self._report(training, score + noise.gauss(0, NOISE))
        sites._write_curve(folder / CURVE, training)
        if training.stopped is not None:
            return Measurement(training, ())
        scored = scoring.Score(Evaluation([score], [1], [0], 0.0), "00", "00")
        return Measurement(training, (scored,))

    def _report(self, training: Training, value: float) -> None:
        """Equal reports, up to the end or a stop."""
        for update in range(1, UPDATES + 1):
            seconds = update / UPDATES * training.budget
            training.look(seconds)
            if training.stopped is not None:
                return
            training.curve.append((seconds, update, {reports.RETURN: value}))

    def stop(self) -> None:
        """There is nothing to end."""


def left_for(memory: Memory) -> float:
    """Runs that a night has left: what a kill has cut off does not count."""
    count = 0
    for entry in Ledger(memory.root / LEDGER).rows():
        if isinstance(entry, Turn):
            count = 0
        elif isinstance(entry, Run) and entry.role in (Role.CONFIRMATION, Role.ABLATION):
            count += entry.scored
    return LEFT - count


def play(folder: Path, turns: int) -> None:
    """A night in a checkout, or the rest of one."""
    confirmation.picks = lambda runs, again: 1  # else a killed night had more to show
    rulings.LOSSES = sys.maxsize
    proof._shuffled = lambda places: [*places[::2], *places[1::2]]
    os.chdir(folder)
    branch = Branch(folder, TAG)
    rows = Ledger(folder / LEDGER).rows()
    begun = any(isinstance(row, NightBegun) for row in rows)
    if not rows:
        branch = create(folder, TAG) if not branch.exists() else branch
    ongoing = Contest(branch, CONDITIONS, sandbox.NONE, site=Site())  # type: ignore[arg-type]
    night = Night(ongoing, None if begun else Plan(AGENT, 24, 10**6, 60))
    over = night._over
    night._over = lambda now: over(now) or ("done" if len(now.past.turns) >= turns else None)  # type: ignore[method-assign]
    Memory.runs_left = left_for  # type: ignore[method-assign]
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
    (folder / EDITABLE).write_text("SKILL = 0 # 1\n")
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
    there = contest.known(branch).progress()
    assert any(commit.startswith(there.incumbent) for commit in branch.log())
    stack = branch.stack()
    assert [commit[: len(name)] for commit, name in zip(stack, there.stack, strict=True)] == [
        *there.stack
    ]
    files = [branch.edit_of(name).decode() for name in ("tip", *stack)]
    return [*rows, (*files, branch.edit().decode())]


def told(folder: Path) -> str:
    """What there is in a night."""
    runs = Ledger(folder / LEDGER).runs()
    verdicts = Counter(row.verdict.value for row in runs if row.verdict.final)
    stopped = sum(row.status == Status.STOPPED for row in runs)
    return f"{stopped} stopped, " + ", ".join(f"{n} {name}" for name, n in verdicts.items())


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
        print(f"in it: {told(whole)}")
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
            if outcome(folder) != expected:
                print(*zip(outcome(folder), expected, strict=False), sep="\n")
                print(told(folder))
            print(f"{kills} kills, {nights} nights, {same} the same, {orphans} orphans", flush=True)


if __name__ == "__main__":
    main()
