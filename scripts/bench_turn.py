"""How often one turn of a night with one run reads the ledger and starts git.

Training and evaluation are replaced by a number; agent, git, ledger and rule are real. What is
counted are the files that this process opens and the programs that it starts.

A night runs from a copy of the harness, beside which there is no repository; so does this.

python scripts/bench_turn.py
"""

import collections
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import bench_nights
import harness
from harness.checkout.beginning import create
from harness.evaluate import Evaluation
from harness.judgement import experiment
from harness.judgement.contest import Contest
from harness.judgement.history import Conditions
from harness.measurement import scoring
from harness.measurement.sites import Measurement
from harness.measurement.training import Training
from harness.night import turns
from harness.places import EDITABLE, LEDGER

CONDITIONS = Conditions(("HalfCheetah-v5",), ("native",), 1.0, 2)
AGENT = f'echo "SKILL = -9 # $AUTORL_TURN" > {EDITABLE}'
"""Each of its edits is worse, and discarded after one run."""

TURNS = 2
"""The first one asks what is remembered then."""

COPY = "BENCH_TURN_COPY"
"""Variable that names the copy's folder."""

counts: collections.Counter[str] = collections.Counter()


def count(event: str, arguments: tuple) -> None:
    """An audit hook: the ledger's openings, and the starts of git."""
    if event == "open" and str(arguments[0]).endswith(f"/{LEDGER}"):
        counts["ledger"] += 1
    elif event == "subprocess.Popen" and str(arguments[0]).endswith("git"):
        counts["git"] += 1
        words = [str(word) for word in arguments[1]]
        settings = [i for i, word in enumerate(words) if word == "-c"]
        after = words[settings[-1] + 2 :] if settings else words[1:]
        counts[f"  git {' '.join(after[:2])[:40]}"] += 1


def measure(this, *_) -> Measurement:  # type: ignore[no-untyped-def]
    """A score around the file's number."""
    skill = float(this.request.source.split()[2]) + random.Random(this.run_id).gauss(0, 1)
    evaluation = Evaluation([skill, skill], [1, 1], [0, 1], 0.0)
    return Measurement(Training(1.0), (scoring.Score(evaluation, "00", "00"),))


def become_a_copy() -> None:
    """As `harness.loop` does."""
    folder = tempfile.mkdtemp(prefix="autorl-turn-harness-")
    shutil.copytree(Path(harness.__file__).parent, Path(folder, "harness"))
    variables = {**os.environ, "PYTHONPATH": folder, COPY: folder}
    os.execve(sys.executable, [sys.executable, *sys.argv], variables)


def main() -> None:
    if COPY not in os.environ:
        become_a_copy()
    experiment._measure = measure  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(prefix="autorl-turn-") as name:
        os.environ["XDG_STATE_HOME"] = f"{name}/state"
        folder = bench_nights.checkout(Path(name, "checkout"))
        os.chdir(folder)
        contest = Contest(create(folder, "bench"), CONDITIONS, "none")
        contest.measure()
        sys.addaudithook(count)

        def say(line: str) -> None:
            if ": discard: " in line:  # a turn has come to its verdict
                print(f"ledger opened {counts['ledger']} times, git started {counts['git']} times")
                for what, times in sorted(counts.items()):
                    if what.startswith(" ") and "--all" in sys.argv:
                        print(f"{times:4d} {what}")
                counts.clear()

        ongoing = turns.Night(contest, turns.Plan(AGENT, 1.0, 10**6, 60.0), say)
        night_ends(ongoing, contest)
        ongoing.run()
    shutil.rmtree(os.environ[COPY])


def night_ends(night: turns.Night, contest: Contest) -> None:
    """Let a night end after so many turns."""
    over, begun = night._over, []

    def counted(now):  # type: ignore[no-untyped-def]
        begun.append(now)
        return "done" if len(begun) > TURNS else over(now)

    night._over = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
