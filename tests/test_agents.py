"""What an agent leaves, of any kind, becomes a turn: no word and no file of it ends the night."""

import errno
import os
import resource
import stat
import sys
import threading

import pytest

from harness.checkout.beginning import create
from harness.judgement.contest import Contest
from harness.night import agents
from harness.night.brief import Brief
from harness.night.turns import Night
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Ending, Plan
from harness.record.ledger import Ledger
from harness.system import words
from tests import unruly
from tests.conftest import HALF_CHEETAH, command, rows
from tests.test_night import play, turns

MEBIBYTE = 2**20


@pytest.fixture
def call(root):
    """A turn of a command that starts from the committed file."""

    def turn(shell, limit=60.0):
        start = (root / EDITABLE).read_bytes()
        ending = threading.Event()
        return agents.call(shell, root, "HEAD", start, Brief(""), 1, limit, ending)

    return turn


def case(name):
    """The command of an unruly agent."""
    return f"{sys.executable} {unruly.__file__} '{name}'"


DESCRIPTIONS = {
    "surrogate": "swish ?",
    "utf-16": "wider network",
    "latin-1": "gr??er",
    "nul": "ab",
    "escape": "Changed W",
    "title": "red $\\nosuch$ <b>",
    "output": "😀 wider",
}
"""What can be read of the words of some."""


@pytest.mark.parametrize("name", [*unruly.WORDS, *unruly.FILES])
def test_an_edit_is_taken_whatever_comes_with_it(call, name):
    made = call(case(name))
    assert made.status == Ending.EDITED, made.detail
    assert made.edit == f"SKILL = 0\n# {name}\n".encode()
    assert made.description == DESCRIPTIONS.get(name, made.description)
    assert words.line(made.description) == made.description
    assert all(words.line(path) == path for path in made.forbidden)


@pytest.mark.parametrize(
    ("name", "status", "detail"),
    [
        ("no folder", Ending.FAILED, "cannot be read: No such file"),
        ("no edit folder", Ending.NO_EDIT, ""),
        ("fifo", Ending.NO_EDIT, ""),
        ("link", Ending.NO_EDIT, ""),
        ("sparse file", Ending.BROKEN, "1,048,576 are the most"),
        ("long sum", Ending.BROKEN, "recursion"),
        ("deep file", Ending.BROKEN, "agent_space/train.py: "),
        ("utf-16 file", Ending.BROKEN, "null bytes"),
        ("only words of a limit", Ending.NO_EDIT, ""),
    ],
)
def test_a_file_that_is_none_is_a_turn_without_an_edit(call, name, status, detail):
    made = call(case(name))
    assert (made.status, made.edit is None) == (
        status,
        status != Ending.BROKEN or "bytes, " in made.detail,
    )
    assert detail in made.detail


@pytest.fixture
def ordinary(monkeypatch):
    """Files without a right to read are refused, as they are to everybody but root."""
    opened = os.open

    def refuse(path, *arguments, **options):
        if os.path.lexists(path) and stat.S_IMODE(os.lstat(path).st_mode) == 0:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)


def test_a_file_that_may_not_be_read_is_told_and_costs_the_turn_at_most(call, ordinary):
    beside = call(case("locked"))
    assert (beside.status, beside.forbidden) == (Ending.EDITED, ("key",))
    itself = call(case("locked file"))
    assert (itself.status, itself.edit) == (Ending.FAILED, None)
    assert "Permission denied: " in itself.detail
    assert EDITABLE in itself.detail


@pytest.mark.slow
def test_a_night_of_unruly_agents_has_all_its_turns_and_a_report(root, site, capsys):
    """One turn a case, then `--resume`: ledger, git, terminal and page take every word."""
    ongoing = Contest(create(root, "night"), HALF_CHEETAH, "none", site=site)
    ongoing.measure()
    cases = ["surrogate", "utf-16", "nul", "title", "long sum", "no folder", "name"]
    chosen = (
        f"case $AUTORL_TURN in {' '.join(f'{i}) {case(c)};;' for i, c in enumerate(cases, 1))} esac"
    )
    play(ongoing, chosen, len(cases))
    assert [row.status for row in turns(root)] == ["edit"] * 4 + ["broken", "agent-crash", "edit"]
    assert [row.description for row in turns(root)[:4]] == [
        "swish ?", "wider network", "ab", "red $\\nosuch$ <b>",
    ]  # fmt: skip
    (root / EDITABLE).write_text("SKILL = -9\n")
    ongoing.challenge("gr\udcf6\udcdfer \0\x1b[2J")  # a person's words, in Latin-1
    assert rows(root)[-1].description == "gr??er"
    Ledger(root / LEDGER).check()
    done = command(root, "harness.status")
    assert done.returncode == 0, done.stderr
    assert words.plain(done.stdout) == done.stdout


@pytest.mark.slow
def test_the_output_of_an_agent_is_bounded_on_the_disk_and_in_memory(call, monkeypatch):
    monkeypatch.setattr(agents, "OUTPUT_ROOM", MEBIBYTE)
    sizes = []
    truncate = os.ftruncate
    monkeypatch.setattr(os, "ftruncate", lambda fd, size: (sizes.append(size), truncate(fd, size)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writes = "for i in $(seq 300); do head -c 1048576 /dev/zero; sleep 0.003; done; echo; "
    # Whatever is written before it is cut off goes, the last words too.
    waits = "while [ $(stat -L -c %s /proc/self/fd/2) -gt 1048000 ]; do sleep 0.05; done; "
    made = call(writes + waits + "echo end")
    assert made.detail.rstrip().endswith("end")
    assert sizes
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 50 * MEBIBYTE


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (0, "We wait for a rate limit, HTTP 429", Ending.NO_EDIT),
        (1, "Error: 429 Too Many Requests" + "\nmore" * 10, Ending.FAILED),
        (0, "Error: 429 Too Many Requests\n", Ending.WAITING),
        (0, "[API Error: no key]\n", Ending.FAILED),
        (0, "Error: 429, which the edit repairs\nDone.\n", Ending.NO_EDIT),
        (1, "more\n" * 10 + "Error: 429 Too Many Requests\n", Ending.WAITING),
        (0, '{"result": "usage limit reached", "is_error": true}', Ending.WAITING),
        (0, 'rate limit\n{"result": "no access", "is_error": true}', Ending.FAILED),
        (0, '{"result": "about the rate limit", "is_error": false}', Ending.NO_EDIT),
        (127, "sh: cluade: not found", Ending.ABSENT),
        (None, "rate limit", Ending.HUNG),
    ],
)
def test_how_a_turn_has_ended_is_told_by_its_exit_code_and_its_last_words(code, text, status):
    assert agents._status(code, text) == status


@pytest.mark.parametrize("shell", ["cluade -p", "exec /dev/null"])
def test_a_command_that_is_no_program_ends_the_night_in_its_first_turn(root, site, shell):
    ongoing = Contest(create(root, "night"), HALF_CHEETAH, "none", site=site)
    said = []
    night = Night(ongoing, Plan(shell, 100.0, 10**6, 20.0), said.append, pause=said.append)
    night.run()
    assert [row.status for row in turns(root)] == [Ending.ABSENT]
    assert "its agent's command cannot be run here" in said[-1]
    assert shell.split()[-2 if "-p" in shell else -1] in said[-1]
    Night(ongoing, None, said.append, pause=said.append).run()  # --resume: tried once more
    assert len(turns(root)) == 2


@pytest.mark.parametrize("cost", ["9" * 400, "NaN", '"nan"', "-1", "[]", '"x"', "null"])
def test_numbers_that_an_agent_reports_are_believed_within_reason(cost):
    usage = '{"a_tokens": true, "b_tokens": -5, "c_tokens": 7}'
    said = agents._report(f'{{"result": "x", "usage": {usage}, "total_cost_usd": {cost}}}')
    assert said.get("cost") is None
    assert said.get("tokens") in (None, 7)
    assert agents._report('{"usage": {"a_tokens": 7}, "total_cost_usd": 0.5}')["cost"] == 0.5
