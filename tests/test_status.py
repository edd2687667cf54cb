"""How a night stands: from the ledger alone, elsewhere, and on a terminal while it runs."""

import dataclasses
import hashlib
import math
import os
import pty
import re
import select
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from harness.checkout import holder
from harness.checkout.beginning import create
from harness.judgement import purpose, search
from harness.judgement.contest import Contest
from harness.morning import standing
from harness.night.turns import Night
from harness.places import EDITABLE, HOLDER, LEDGER
from harness.record import life
from harness.record.entries import NightBegun, Plan, Role, Status, Verdict
from harness.record.head import Head
from harness.record.ledger import Ledger
from harness.record.snapshot import COLUMNS
from harness.system import words
from scripts.bench_report import write_ledger
from tests.conftest import HALF_CHEETAH, ROOT, begin, command, git, rows, run_row


@pytest.mark.slow
def test_a_status_says_incumbent_verdicts_and_what_the_night_has_used(root, site):
    contest = Contest(create(root, "night"), HALF_CHEETAH, "none", site=site)
    contest.measure()
    agent = f'echo "SKILL = $((AUTORL_TURN % 2 * 9 - 4)) # $AUTORL_TURN" > {EDITABLE}; echo idea'
    Night(contest, Plan(agent, 2.0, 12, 60.0)).run()
    for run_id in ("20260101-000000-abc", "20260101-000000-killed"):
        (root / "runs" / run_id).mkdir()
        begun = dataclasses.replace(rows(root)[0], run_id=run_id, status=Status.BEGUN)
        Ledger(root / LEDGER).append(begun)
    with life.alive(root / "runs" / "20260101-000000-abc"):
        done = command(root, "harness.status")
    assert done.returncode == 0, done.stderr
    now = standing.read(root)
    incumbent = now.found.reigns[-1]
    assert incumbent.fresh == contest.read().fresh()
    assert f"incumbent: {incumbent.mean:.3g}" in done.stdout
    tried = words.counted(len(now.found.experiments), "edit")
    assert f"tried: {tried}; {len(now.found.kept)} proved" in done.stdout
    assert re.search(
        r"\d+ seconds?, \d+ runs?, \d+ turns?; no new turn after 2 hours or 12 runs", done.stdout
    )
    assert re.search(r"running: 20260101-000000-abc, for .* s: the incumbent, run 1", done.stdout)
    assert "killed" not in done.stdout
    last = now.found.experiments[-1]
    assert last.reason[:60] in done.stdout


def test_a_status_says_who_leads_and_how_the_last_confirmation_ended(searched):
    said = "\n".join(standing.look(searched.branch.root))
    assert "lead: 1 edit ahead of the incumbent, not proved yet: experiment 7. It has " in said
    ahead = searched.read().outlook().ahead()
    assert (
        f"thought to be worth {ahead - 0.005:+.2f} deviations between runs; confirmed above +5.40, "
        "and above +0.40 when a night ends or by python -m harness.run --confirm\n" in said
    )
    assert (
        "tried: 7 edits; 2 proved, 1 leading, 1 set back, 1 set aside, 1 stopped, 1 failed" in said
    )
    assert "confirmation 2 of the lead against the incumbent: not proved, " in said


def test_a_proved_incumbent_says_from_which_runs_its_estimate_is(searched, root, site):
    note = "by runs after its proof; reasons have the mean of those before it, which flatter it"
    said = standing.lines(standing.read(searched.branch.root))
    (at,) = (i for i, line in enumerate(said) if line.startswith("incumbent: "))
    assert said[at + 1].strip() == note
    Contest(create(root, "night"), HALF_CHEETAH, "none", site=site).measure()
    assert note not in "\n".join(standing.lines(standing.read(root)))


def test_a_night_ends_with_what_has_become_of_its_edits(searched):
    incumbent = searched.read().fresh()
    assert standing.summary(standing.read(searched.branch.root)) == [
        "autorl/night, in all: 7 edits; 2 proved, 1 leading, 1 set back, 1 set aside, 1 stopped, "
        "1 failed; 2 confirmations made, 1 with success",
        f"incumbent: {sum(incumbent) / 2:.3g} (runs: {', '.join(f'{x:.3g}' for x in incumbent)})",
    ]


@pytest.mark.parametrize(
    ("role", "replicate", "is_lead", "told"),
    [
        ("challenger", 2, True, "the edit, run 2"),
        ("incumbent", 3, True, "the incumbent, run 3"),
        ("estimate", 1, True, "estimate of the new incumbent, run 1"),
        ("ablation", 2, True, "what carries the gain, block 2: the whole file"),
        ("ablation", 2, False, "what carries the gain, block 2: without one of its edits"),
        ("confirmation", 103, True, "side by side, place 3 of at most {most}: the lead"),
        ("confirmation", 203, False, "side by side, place 3 of at most {most}: the incumbent"),
        ("confirmation", 903, False, "side by side, place 3: the incumbent"),
    ],
)
def test_what_a_run_is_made_for_is_said_in_words(searched, role, replicate, is_lead, told):
    entries = Ledger(searched.branch.root / LEDGER).read().entries
    names = {"commit": "a" if is_lead else "b", "challenger": "a"}
    run = run_row(role=Role(role), replicate=replicate, branch="autorl/night", **names)
    most = 2 * sum(search.pairs(math.inf, closing=True))
    assert purpose.told(run, entries) == told.format(most=most)


def test_whatever_a_run_is_made_for_has_words_of_its_own():
    told = {purpose.told(run_row(role=role, commit="a", challenger="b"), []) for role in Role}
    assert len(told) == len(Role)


def test_a_new_branch_shows_nothing_of_the_old_one(root, site):
    Contest(create(root, "old"), HALF_CHEETAH, "none", site=site).measure()
    (before,) = [line for line in standing.lines(standing.read(root)) if "incumbent" in line]
    create(root, "new")
    said = standing.lines(standing.read(root))
    assert said[0] == "autorl/new: no run has ended yet"
    assert before not in said
    git(root, "switch", "-q", "autorl/old")
    assert before in standing.lines(standing.read(root))
    git(root, "switch", "-q", "--detach")
    assert before in standing.lines(standing.read(root))


@pytest.mark.slow
def test_what_a_ledger_holds_is_shown_as_words(tmp_path):
    """A ledger whose words were never cleaned: terminal codes, markup, a plan that is none."""
    hostile = "\x1b]0;owned\x07\x1b[2J[red]x[/red] :smile: \u202e"
    ledger = tmp_path / "results.tsv"
    write_ledger(ledger, 2)
    first, *others = ledger.read_text().splitlines(keepends=True)
    previous, lines = hashlib.sha256(first.encode()).hexdigest(), [first]
    for line in others:
        cells = line.split("\t")
        cells[COLUMNS.index("description")] = hostile
        lines.append("\t".join([*cells[:-1], previous + "\n"]))
        previous = hashlib.sha256(lines[-1].encode()).hexdigest()
    ledger.write_text("".join(lines))
    Head(ledger).write(previous)
    last = rows(tmp_path)[-1]
    night = NightBegun(run_id=last.run_id, commit="-", branch=last.branch, plan=None)
    Ledger(ledger).append(night)
    done = command(tmp_path, "harness.status")
    assert done.returncode == 0, done.stderr
    assert "[red]x[/red] :smile:" in done.stdout
    assert words.plain(done.stdout) == done.stdout


@pytest.mark.slow
def test_a_status_of_a_thousand_experiments_is_a_screen(tmp_path):
    write_ledger(tmp_path / "results.tsv", 1000)
    done = command(tmp_path, "harness.status")
    assert len(done.stdout.splitlines()) < 24
    assert "tried: 1,000 edits; 20 proved, " in done.stdout


@pytest.mark.slow
def test_where_nothing_was_run_there_is_no_status(tmp_path):
    done = command(tmp_path, "harness.status")
    assert done.returncode == 2
    assert "results.tsv yet: python -m harness.run" in done.stderr


@pytest.mark.parametrize("hours", [0.0, 2.0])
def test_a_status_says_who_is_at_work_and_that_a_night_which_has_time_can_go_on(tmp_path, hours):
    write_ledger(tmp_path / LEDGER, 2)
    plan = {"agent": "true", "hours": hours, "runs": 100, "agent_seconds": 60.0}
    begun = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-night0"
    night = dataclasses.replace(rows(tmp_path)[-1], role="night", run_id=begun)
    Ledger(tmp_path / LEDGER).append(dataclasses.replace(night, reason=words.packed(plan)))
    goes_on = "; the night has not ended, and harness.loop --resume continues it"
    assert standing.look(tmp_path)[-1] == "at work: nobody" + (goes_on if hours else "")
    with holder.hold(tmp_path):
        assert f"(process {os.getpid()}, since" in standing.look(tmp_path)[-1]
        (tmp_path / HOLDER).unlink()
        assert standing.look(tmp_path)[-1] == "at work: Another command"


def on_a_terminal(folder, *arguments, seconds=120):
    """What `python -m …` writes to a terminal of 100 columns, with all its control characters."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)], cwd=folder, stdout=theirs, stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    written, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                written += os.read(ours, 2**16)
            except OSError:  # the other side is closed
                break
    process.wait(timeout=10)
    os.close(ours)
    return written.decode(errors="replace")


@pytest.mark.slow
def test_a_terminal_shows_clock_rate_return_incumbent_and_verdicts(tmp_path):
    """A challenger on a branch, as a person sees it; at the end only the block stays."""
    begin(tmp_path)
    before = (tmp_path / EDITABLE).read_text()
    (tmp_path / EDITABLE).write_text(before.replace("action_size, 0.1", "action_size, 0.9"))
    shown = on_a_terminal(tmp_path, "harness.run", "--message", "push harder")
    for said in (
        "s left",
        "steps",
        "incumbent: ",
        "tried: 0 edits; 0 proved",
        "starting and compiling",
    ):
        assert said in shown, said
    assert "\x1b[2K" in shown  # lines are replaced, not added
    block = shown.rsplit("---", 1)[1]
    assert "verdict: discard" in block
    assert "\x1b[" not in block


@pytest.mark.slow
def test_watch_goes_on_until_ctrl_c(tmp_path):
    write_ledger(tmp_path / "results.tsv", 2)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.status", "--watch"], cwd=tmp_path, stdout=theirs,
        stderr=theirs, env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    written, deadline = b"", time.monotonic() + 120
    while b"autorl/bench" not in written and time.monotonic() < deadline:
        written += os.read(ours, 2**16) if select.select([ours], [], [], 0.2)[0] else b""
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(2)
    assert process.wait(timeout=60) == 130
    assert b"autorl/bench" in written
    os.close(ours)


def test_while_a_lead_is_confirmed_nothing_is_told_of_when_it_will_be(searched):
    now = standing.read(searched.branch.root)
    last = now.found.confirmations[-1]
    going_on = dataclasses.replace(last, verdict=Verdict.GO_ON)
    found = dataclasses.replace(now.found, confirmations=[going_on])
    said = "\n".join(standing.lines(dataclasses.replace(now, found=found)))
    assert "lead: 1 edit ahead" in said
    assert now.prospect
    assert now.prospect not in said
