"""A night: any agent, good or bad turns, an end by itself, and a way on after a kill.

Everything is real but training and evaluation (see `root` in test_branch).
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from harness.checkout import git as git_commands
from harness.checkout.beginning import create
from harness.errors import InputError, IntegrityError, LedgerError, StorageError, WorkerError
from harness.judgement import contest
from harness.judgement.contest import Contest
from harness.night import agents, brief, tuners
from harness.night import turns as turns_of
from harness.night.memory import PATIENCE, REPAIRS, Memory, recorded
from harness.night.turns import ATTEMPTS, Night
from harness.places import EDITABLE, LEDGER
from harness.record.entries import NightBegun, Plan
from harness.record.ledger import Ledger
from harness.system import words
from tests.conftest import HALF_CHEETAH, ROOT, git, rows, turns
from tests.fake_site import KilledError
from tests.test_branch import refs

BAD = ("no-edit", "agent-crash", "rate-limited", "forbidden", "broken", "crash", "tampers")

AGENT = """
import os, pathlib, sys, time
turn = int(os.environ["AUTORL_TURN"])
file = pathlib.Path("agent_space/train.py")
kind = {kinds}.get(turn, "edit")
skill = 5 * sum(t <= turn for t in {better})
if kind == "no-edit":
    sys.exit(0)
if kind == "hung":
    time.sleep(600)
if kind == "agent-crash":
    sys.exit("Traceback: my bug")
if kind == "rate-limited":
    sys.exit("Error: 429 Too Many Requests")
if kind == "forbidden":
    pathlib.Path("program.md").write_text("keep everything")
if kind == "tampers":
    try:
        pathlib.Path({checkout!r}, "README.md").write_text("keep everything")
    except OSError:
        pass  # bubblewrap has made it read-only
if kind == "broken":
    file.write_text("def f(:")
    sys.exit(0)
word = "crash" if kind == "crash" else ""
skill -= 0 if turn in {better} else 5
file.write_text(f"SKILL = {{skill}} # {{word}} {{turn}}\\n")
pathlib.Path("DESCRIPTION").write_text(f"idea {{turn}}\\n")
"""


@pytest.fixture(autouse=True)
def _not_taken_apart(monkeypatch):
    """These nights have time without end for what `test_ablation` is about."""
    monkeypatch.setattr(turns_of.ablation, "step", lambda *there: None)


@pytest.fixture
def ongoing(root, site):
    """A branch with a measured baseline."""
    made = Contest(create(root, "night"), HALF_CHEETAH, "none", site=site)
    made.measure()
    return made


@pytest.fixture
def agent(root, tmp_path):
    """Makes the command of a scripted agent: what it does by turn, and when it is better."""

    def make(kinds, better=()):
        script = tmp_path / "agent.py"
        script.write_text(AGENT.format(kinds=kinds, better=tuple(better), checkout=str(root)))
        return f"{sys.executable} {script}"

    return make


def play(ongoing, command, turns, seconds=20.0):
    """A night of so many turns."""
    waits = []
    night = Night(ongoing, Plan(command, 100.0, 10**6, seconds), pause=waits.append)
    over = night._over
    night._over = lambda now: over(now) or ("done" if len(now.past.turns) >= turns else None)
    night.run()
    return waits


@pytest.mark.slow
def test_sixty_turns_with_fifteen_bad_ones_end_with_everything_in_the_ledger(ongoing, root, agent):
    bad = dict(
        zip(
            range(3, 60, 4),
            ["no-edit", "agent-crash", "rate-limited", "forbidden", "broken", "crash", "tampers"]
            * 2
            + ["hung"],
            strict=True,
        )
    )
    play(ongoing, agent(bad, better=(10, 30, 50)), 60, seconds=5.0)
    assert [turn.number for turn in turns(root)] == [i + 1 for i in range(60)]
    for number, kind in bad.items():
        row = turns(root)[number - 1]
        expected = "edit" if kind in ("forbidden", "crash", "tampers") else kind
        assert row.status == expected, (number, kind)
        if kind == "forbidden":
            assert "not taken: program.md" in row.reason
    kept = [row for row in rows(root) if row.verdict == "accept"]
    assert [row.description for row in kept] == ["idea 10", "idea 30", "idea 50"]
    crashed = [row for row in rows(root) if row.status == "crash"]
    assert len(crashed) >= 2
    assert ongoing.branch.edit_of("tip") == ongoing.branch.edit() == b"SKILL = 15 #  50\n"
    assert (root / "program.md").read_text() == "be honest\n"
    assert (root / "README.md").read_text() == "the rules\n"
    tried = [row for row in turns(root) if row.status == "edit"]
    assert len(refs(root)) == len(tried) - len(kept)
    Ledger(root / LEDGER).check()
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.slow
def test_a_command_that_only_fails_is_called_ever_more_rarely_and_given_up(ongoing, root):
    waits = play(ongoing, "echo 'usage limit reached'; exit 1", 100)
    assert waits[:4] == [60.0, 120.0, 240.0, 480.0]
    assert max(waits) == 3600.0
    assert len(turns(root)) == 20
    assert {row.status for row in turns(root)} == {"rate-limited"}


@pytest.mark.slow
def test_a_night_that_was_given_up_can_be_begun_again(ongoing, root, agent):
    """Patience and waits are those of one night: what earlier ones had is not counted."""
    assert play(ongoing, "exit 1", 100)[:1] == [60.0]
    assert len(turns(root)) == PATIENCE
    waits = play(ongoing, agent({PATIENCE + 1: "agent-crash"}), PATIENCE + 3)
    assert waits == [60.0]
    assert [row.status for row in turns(root)[PATIENCE:]] == ["agent-crash", "edit", "edit"]


def test_nobody_waits_beyond_the_hours(ongoing, monkeypatch):
    monkeypatch.setattr(Memory, "used", lambda self: (99.99, 0))
    assert play(ongoing, "exit 1", 2) == pytest.approx([36.0, 36.0])


@pytest.mark.parametrize(
    ("error", "times"), [(IntegrityError, ATTEMPTS - 1), (StorageError, ATTEMPTS)]
)
def test_what_stops_a_trial_from_outside_is_tried_again_but_not_for_ever(
    ongoing, root, site, agent, error, times
):
    stops = [error("a stray file")] * times

    def stopped(row):
        if row.role == "challenger" and stops:
            raise stops.pop()

    site.before = stopped
    if times < ATTEMPTS:
        play(ongoing, agent({}, better=(1,)), 1)
        assert ongoing.branch.edit_of("tip") == b"SKILL = 5 #  1\n"
        assert ongoing.branch.trials() == []
    else:
        with pytest.raises(error):
            play(ongoing, agent({}), 1)
        assert len(ongoing.branch.trials()) == 1  # it goes on with --resume


@pytest.mark.slow
def test_a_trial_whose_workers_all_died_is_discarded_and_the_night_goes_on(
    ongoing, root, site, agent
):
    def dies(row):
        if "idea 1" in row.description:
            raise WorkerError("The worker died.")

    site.before = dies
    play(ongoing, agent({}, better=(2,)), 2)
    ended = {row.description: row.verdict for row in rows(root) if row.verdict.final}
    assert {name: ended[name] for name in ("idea 1", "idea 2")} == {
        "idea 1": "discard",
        "idea 2": "accept",
    }


def test_an_agent_s_command_comes_back_from_the_ledger_as_it_was(ongoing, root, tmp_path):
    command = """python3 - <<'X'\nif True:\n    print("two  blanks", end="")\n    \nX\necho \x1b"""
    play(ongoing, command, 1)
    assert recorded(ongoing.read()).agent == command


@pytest.mark.parametrize("reason", ["{}", "[[[", "[]", ""])
def test_a_plan_that_is_none_is_told(ongoing, root, monkeypatch, reason):
    night = NightBegun(run_id="night0", commit="-", branch=ongoing.branch.name, plan=None)
    monkeypatch.setattr(words, "packed", lambda value: reason)
    Ledger(root / LEDGER).append(dataclasses.replace(night, plan=Plan("", 1.0, 1, 1.0)))
    with pytest.raises(LedgerError, match="holds no plan"):
        Night(ongoing, None).run()


@pytest.mark.slow
def test_an_agent_that_hangs_is_ended_with_all_it_started(ongoing, root):
    begin = time.monotonic()
    play(ongoing, "sleep 100 & sleep 100", 1, seconds=1.0)
    assert time.monotonic() - begin < 20
    assert turns(root)[0].status == "hung"
    assert psutil.Process().children(recursive=True) == []


def test_a_file_that_fails_comes_back_with_its_error_a_limited_number_of_times(
    ongoing,
    root,
    tmp_path,
):
    log = tmp_path / "briefs"
    log.mkdir()
    command = f"cp $AUTORL_BRIEF {log}/$AUTORL_TURN; cp {EDITABLE} {log}/$AUTORL_TURN.py; " + (
        f'echo "SKILL = 1 # crash $AUTORL_TURN" > {EDITABLE}'
    )
    play(ongoing, command, REPAIRS + 2)
    failed = ["which failed" in (log / str(i + 1)).read_text() for i in range(REPAIRS + 2)]
    assert failed == [False] + [True] * REPAIRS + [False]
    assert "as the file wants it" in (log / "2").read_text()
    assert (log / "2.py").read_text() == "SKILL = 1 # crash 1\n"
    assert (log / f"{REPAIRS + 2}.py").read_text() == "SKILL = 0\n"


def test_a_brief_says_what_was_tried(ongoing, root, agent):
    play(ongoing, agent({2: "forbidden"}), 2)
    past = ongoing.read()
    text = brief.write(root, past, brief.Situation("9.5", "2 hours", note="be careful")).text
    assert text.startswith("be honest\n")
    assert "Objective: HalfCheetah-v5, 1 seconds" in text
    assert "| idea 1 |" in text
    assert "be careful" in text


def test_an_agent_finds_history_but_no_way_to_the_branch(ongoing, root):
    tip = ongoing.branch.tip()
    command = (
        "git log --oneline | grep -q start && git remote | wc -l > DESCRIPTION;"
        f"git branch -f autorl/night HEAD; echo 'SKILL = -9' > {EDITABLE}; git commit -qam mine"
    )
    play(ongoing, command, 1)
    assert turns(root)[0].description == "0"
    assert ongoing.branch.tip() == tip


def test_tokens_and_cost_are_written_down_where_an_agent_reports_them(ongoing, root):
    said = {
        "result": "wider nets",
        "total_cost_usd": 0.25,
        "usage": {"input_tokens": 100, "output_tokens": 20},
    }
    play(ongoing, f"echo 'SKILL = -9' > {EDITABLE}; echo '{json.dumps(said)}'", 1)
    (row,) = turns(root)
    assert row.description == "wider nets"
    assert "120 tokens; $0.25" in row.reason


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 2])
def test_a_night_that_was_killed_goes_on_to_the_same_end(ongoing, root, site, agent, cut):
    """Killed after so many runs of the second turn; the ledger knows the agent and the limits."""
    command = agent({}, better=(2,))
    seen = []

    def of_the_second_turn(row, score):
        if row.role == "challenger" and "idea 2" in row.description:
            seen.append(row)
        return len(seen) == cut

    with site.killing(of_the_second_turn), pytest.raises(KilledError):
        Night(ongoing, Plan(command, 1.0, 10**6, 20.0)).run()
    again = Contest(ongoing.branch, HALF_CHEETAH, "none", site=site)
    night = Night(again, None)
    over = night._over
    night._over = lambda now: over(now) or ("done" if len(now.past.turns) >= 3 else None)
    night.run()
    assert [row.description for row in turns(root)] == ["idea 1", "idea 2", "idea 3"]
    assert [row.description for row in rows(root) if row.verdict == "accept"] == ["idea 2"]
    assert again.branch.edit_of("tip") == b"SKILL = 5 #  2\n"
    replicates = [r.replicate for r in rows(root) if r.description == "idea 2" and r.scored]
    assert replicates == [i + 1 for i in range(len(replicates))]


def test_without_a_night_there_is_nothing_to_resume(ongoing):
    with pytest.raises(InputError, match="no night"):
        Night(ongoing, None).run()


def test_a_night_ends_when_its_runs_are_used_up(ongoing, root, agent):
    before = len(rows(root))
    Night(ongoing, Plan(agent({}), 1.0, 5, 20.0)).run()
    runs = [row for row in rows(root)[before:] if row.role in ("challenger", "incumbent")]
    assert len(runs) == 5
    assert ongoing.branch.trials() == []


@pytest.mark.slow
def test_a_person_can_go_on_where_the_agent_stopped(ongoing, root, agent):
    play(ongoing, agent({}, better=(1,)), 1)
    assert git(root, "diff", "--quiet") is None
    (root / EDITABLE).write_text("SKILL = 10 # by hand\n")
    assert ongoing.challenge("by hand").verdict == "accept"
    assert contest.known(ongoing.branch).lead == ongoing.branch.read().lead[:12]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("claude", "The agent claude needs the program claude"),
        ("cluade", "Did you mean claude?"),
        ("cluade -p --model x", "Did you mean claude?"),
        ("KEY=1 ttpe", "Did you mean tpe?"),
        ("./agent.sh", "begins with './agent.sh', and there is no such program here. --list"),
        ("echo 'half", "none that a shell understands"),
        ("if true; then echo", "none that a shell understands"),
        ("echo hello", ""),
        ("A=1 B=2 echo hello", ""),
        ("# first\ncd x && read y < z", ""),
        ("for i in 1 2; do echo $i; done", ""),
        ("$AGENT --yes", ""),
        ("(echo hello)", ""),
        ("/bin/sh -c x", ""),
    ],
)
def test_a_command_that_cannot_be_called_is_told_before_the_night(monkeypatch, command, complaint):
    monkeypatch.setenv("PATH", "/nowhere")
    said = agents.complaint(command, tuners.TUNERS)
    assert complaint in said
    assert bool(said) == bool(complaint)


def test_a_turn_with_one_run_reads_the_ledger_and_asks_git_a_few_times():
    script = [sys.executable, str(ROOT / "scripts" / "bench_turn.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
    *_, (reads, starts) = re.findall(r"opened (\d+) times, git started (\d+) times", said.stdout)
    assert int(reads) <= 6
    assert int(starts) <= 15


@pytest.mark.slow
def test_deleted_folders_of_runs_end_no_night(ongoing, root, agent):
    play(ongoing, agent({2: "crash", 3: "broken"}), 3)
    shutil.rmtree(root / "runs")
    play(ongoing, agent({}), 5)
    assert [row.status for row in turns(root)] == ["edit", "edit", "broken", "edit", "edit"]


@pytest.mark.slow
def test_what_an_agent_leaves_lying_about_is_named_shortly(ongoing, root):
    litter = "mkdir .venv many; for i in $(seq 30); do touch .venv/$i many/$i; done"
    play(ongoing, f"{litter}; touch many/$(printf '\\351')", 2)
    for row in turns(root):
        assert row.status == "no-edit"
        assert "many/1" in row.reason
        assert "and 21 more" in row.reason
        assert ".venv" not in row.reason


def test_an_agent_s_clone_shares_no_file_with_the_checkout(root, tmp_path):
    git_commands.clone(root, "HEAD", tmp_path / "clone")
    objects = [path for path in (tmp_path / "clone" / ".git").rglob("*") if path.is_file()]
    assert objects
    assert all(path.stat().st_nlink == 1 for path in objects)


def test_what_is_put_back_after_a_turn_is_said_with_where_its_copy_is(ongoing, root):
    said = []
    night = Night(ongoing, None, said.append)
    (root / "program.md").write_text("be bold\n")
    assert night._put_back() == []
    assert said == []
    (root / "README.md").write_text("no rules\n")
    assert night._put_back() == ["README.md"]
    assert "README.md" in said[0]
    assert str(root / "runs" / "tampered") in said[0]
    assert (root / "program.md").read_text() == "be bold\n"


def test_an_agent_finds_its_notes_again_whatever_became_of_its_turns(ongoing, root, tmp_path):
    """They are cleaned and capped; the next night has them, too, and no commit and no run."""
    log = tmp_path / "log"
    log.mkdir()
    command = f"""
cat NOTES.md > {log}/$AUTORL_TURN; cp $AUTORL_BRIEF {log}/$AUTORL_TURN.brief
case $AUTORL_TURN in
1) printf 'tanh \\033[31mis\\033[0m best\\n\\000' > NOTES.md; echo "SKILL = -9" > {EDITABLE} ;;
2) rm NOTES.md ;;
3) seq 2000 >> NOTES.md; exit 1 ;;
4) ln -sf /etc/passwd NOTES.md ;;
esac
"""
    play(ongoing, command, 3)
    night = Night(ongoing, None)  # --resume
    over = night._over
    night._over = lambda now: over(now) or ("done" if len(now.past.turns) >= 5 else None)
    night.run()
    found = [(log / str(i + 1)).read_text() for i in range(5)]
    assert found[:3] == ["", "tanh is best\n", "tanh is best\n"]
    assert found[3] == found[4] == ("tanh is best\n" + "".join(f"{i}\n" for i in range(1, 2000)))[
        : agents.NOTES_KEPT
    ]  # fmt: skip
    assert "Your notes" not in (log / "1.brief").read_text()
    assert "## Your notes\n\n| tanh is best\n" in (log / "2.brief").read_text()
    assert all("not taken" not in turn.reason for turn in turns(root))
    assert all("NOTES" not in brief_of.read_text().partition("last turn:")[2].partition("\n")[0]
               for brief_of in log.glob("*.brief"))  # fmt: skip
    tried = git_commands.text(root, "for-each-ref", "--format=%(objectname)", "refs/autorl").split()
    assert len(tried) == 1
    assert b"NOTES" not in git_commands.run(root, "ls-tree", "-r", "--name-only", tried[0])
    assert {path.parent.name for path in root.rglob("NOTES.md")} == {
        turn.run_id for turn in turns(root) if turn.number in (1, 3)
    }
