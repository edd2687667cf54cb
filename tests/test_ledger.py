"""The ledger: append-only, chained, whole after any crash."""

import hashlib
import os

import pytest

from harness.errors import LedgerError, StorageError
from harness.record import entries
from harness.record.entries import Ending, NightBegun, Plan, Renewed, Role, Status, Turn, Verdict
from harness.record.head import Head
from harness.record.ledger import Ledger
from harness.record.snapshot import HEADERS
from tests.conftest import ROOT
from tests.conftest import run_row as row


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "results.tsv")
    for i in range(3):
        ledger.append(row(f"r{i}"))
    return ledger


def test_rows_come_back_in_order_with_autorls_columns_first(ledger):
    assert [r.run_id for r in ledger.rows()] == ["r0", "r1", "r2"]
    header = ledger.path.read_text().splitlines()[0].split("\t")
    assert header[:4] == ["commit", "avg_return", "status", "description"]


def test_an_empty_ledger_has_no_rows(tmp_path):
    assert Ledger(tmp_path / "results.tsv").rows() == []


def test_a_description_cannot_break_a_row(ledger):
    ledger.append(row("r3", description='tab\there, line\nhere,\r "quotes" and ünïcode'))
    last = ledger.rows()[-1]
    assert last.description == 'tab here, line here, "quotes" and ünïcode'


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], lines[1].replace(b"r0", b"rX"), *lines[2:]],
        lambda lines: [lines[0], lines[1], lines[3]],
        lambda lines: [lines[0], lines[2], lines[1], lines[3]],
        lambda lines: [b"junk\n", *lines[1:]],
        lambda lines: [lines[0], b"one\ttwo\n", *lines[1:]],
        lambda lines: [lines[0], b"\xff\xfe\n", *lines[1:]],
    ],
    ids=["changed", "removed", "swapped", "header", "columns", "binary"],
)
def test_damage_is_told_with_its_line_and_nothing_is_written(ledger, damage):
    ledger.path.write_bytes(b"".join(damage(ledger.path.read_bytes().splitlines(keepends=True))))
    before = ledger.path.read_bytes()
    with pytest.raises(LedgerError, match=r"line \d"):
        ledger.rows()
    with pytest.raises(LedgerError, match=r"line \d"):
        ledger.append(row("r4"))
    assert ledger.path.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_torn_last_line_is_no_row_and_the_next_append_takes_its_place(ledger, cut):
    content = ledger.path.read_bytes()
    ledger.head.write(ledger.read().digests[-2])  # the crash came before the head was written
    ledger.path.write_bytes(content[:-cut])
    assert [r.run_id for r in ledger.rows()] == ["r0", "r1"]
    ledger.append(row("r2"))
    assert ledger.path.read_bytes() == content


def test_a_ledger_torn_in_its_first_line_begins_anew(tmp_path):
    ledger = Ledger(tmp_path / "results.tsv")
    ledger.path.write_bytes(b"commit\tav")
    assert ledger.rows() == []
    ledger.append(row("r0"))
    assert [r.run_id for r in ledger.rows()] == ["r0"]


def test_text_that_is_not_unicode_cannot_stop_a_row(ledger):
    ledger.append(row("r3", description="caf\udce9"))
    assert ledger.rows()[-1].description == "caf?"


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger, monkeypatch):
    before = ledger.path.read_bytes()
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:10], offset))
    with pytest.raises(OSError, match="No space left"):
        ledger.append(row("r3"))
    assert ledger.path.read_bytes() == before


def test_a_head_that_cannot_be_written_leaves_the_ledger_as_it_was(ledger, monkeypatch):
    before = ledger.path.read_bytes()
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda fd: None)
        full.setattr(type(ledger.head), "stage", lambda *_: (_ for _ in ()).throw(OSError(122)))
        for _ in range(2):
            with pytest.raises(OSError, match="122"):
                ledger.append(row("r3"))
    assert ledger.path.read_bytes() == before
    ledger.append(row("r3"))
    ledger.check()


def test_a_crash_between_row_and_head_is_forgiven(ledger):
    ledger.head.write(ledger.read().digests[-2])
    ledger.check()
    ledger.append(row("r3"))
    assert [r.run_id for r in ledger.rows()] == ["r0", "r1", "r2", "r3"]


def test_two_crashes_in_a_row_between_row_and_head_are_forgiven(ledger, monkeypatch):
    stage = Head.stage
    for name in ("r3", "r4"):
        known = ledger.read().digests[-1]

        def killed(head, digest, known=known):
            if digest != known:
                raise KeyboardInterrupt
            return stage(head, digest)

        with monkeypatch.context() as patched:
            patched.setattr(Head, "stage", killed)
            with pytest.raises(KeyboardInterrupt):
                ledger.append(row(name))
    ledger.check()
    assert [r.run_id for r in ledger.rows()] == ["r0", "r1", "r2", "r3", "r4"]


@pytest.mark.parametrize("rows", [0, 2])
def test_rows_cut_off_or_rewritten_are_told_by_the_head(ledger, rows):
    """A chain that is whole in itself: what an ambitious forger writes."""
    forged = Ledger(ledger.path.with_name("forged.tsv"))
    for i in range(rows):
        forged.append(row(f"r{i}", avg_return=9999.0))
    ledger.path.write_bytes(forged.path.read_bytes() if rows else b"")
    for act in (ledger.check, lambda: ledger.append(row("r3"))):
        with pytest.raises(LedgerError, match="does not end with the row that was written last"):
            act()


def test_a_ledger_that_was_copied_is_taken_as_it_is(ledger, tmp_path):
    copy = Ledger(tmp_path / "copy.tsv")
    copy.path.write_bytes(ledger.path.read_bytes())
    copy.append(row("r3"))
    assert len(copy.rows()) == 4


def test_the_head_is_outside_the_checkout(ledger):
    assert not ledger.head.path.is_relative_to(ledger.path.parent)


def test_looking_at_a_ledger_neither_makes_one_nor_needs_the_right_to_write(ledger, tmp_path):
    Ledger(tmp_path / "none.tsv").check()
    assert not (tmp_path / "none.tsv").exists()
    ledger.path.chmod(0o444)
    ledger.check()


def test_a_head_that_cannot_be_written_is_told_before_a_run(tmp_path, monkeypatch):
    (tmp_path / "state").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(StorageError, match="XDG_STATE_HOME"):
        Ledger(tmp_path / "results.tsv").prepare()
    assert not (tmp_path / "results.tsv").exists()


def test_rows_that_were_appended_elsewhere_are_called_so(ledger, monkeypatch, tmp_path):
    """One checkout, two homes in turn, as a host and its container have them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "container"))
    other = Ledger(ledger.path)
    for name in ("r3", "r4"):
        other.append(row(name))
    with pytest.raises(LedgerError, match=r"2 rows more than were written from here.* line 5"):
        ledger.check()


def test_a_checkout_made_anew_begins_a_ledger_that_names_the_end_of_the_old_one(ledger):
    end = ledger.head.read()
    ledger.path.unlink()
    with pytest.raises(LedgerError, match="rows were removed"):
        ledger.prepare()  # in the middle of a command nothing begins anew
    ledger.path.unlink(missing_ok=True)
    note = Ledger(ledger.path).renew()
    assert "begins anew" in note
    (first,) = ledger.rows()
    assert (type(first), first.branch) == (Renewed, "-")
    assert end in first.reason
    ledger.prepare()
    ledger.append(row("r3"))
    assert Ledger(ledger.path).renew() == ""
    assert len(ledger.rows()) == 2


@pytest.mark.parametrize("kept", ["rows", "runs"])
def test_rows_that_were_removed_from_a_checkout_begin_no_new_ledger(ledger, kept):
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    if kept == "rows":
        ledger.path.write_bytes(b"".join(lines[:-2]))
    else:
        ledger.path.unlink()
        (ledger.path.parent / "runs" / "r0").mkdir(parents=True)
    assert ledger.renew() == ""
    with pytest.raises(LedgerError, match="rows were removed"):
        ledger.prepare()


@pytest.fixture
def elsewhere(root, monkeypatch, tmp_path):
    """A ledger in a repository, looked at from another home."""
    ledger = Ledger(root / "results.tsv")
    for i in range(3):
        ledger.append(row(f"r{i}"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    return Ledger(ledger.path)


def test_another_home_does_not_make_a_ledger_look_whole(elsewhere):
    elsewhere.check()
    whole = elsewhere.path.read_bytes().splitlines(keepends=True)
    elsewhere.path.write_bytes(b"".join(whole[:-1]))
    assert elsewhere.head.read() == ""
    for act in (elsewhere.check, elsewhere.prepare, lambda: elsewhere.append(row("r2"))):
        with pytest.raises(LedgerError, match=r"rows were removed.*\.git"):
            act()


def test_another_home_does_not_begin_a_ledger_anew_without_a_trace(elsewhere):
    end = hashlib.sha256(elsewhere.path.read_bytes().splitlines(keepends=True)[-1]).hexdigest()
    elsewhere.path.unlink()
    assert "begins anew" in elsewhere.renew()
    (first,) = elsewhere.rows()
    assert isinstance(first, Renewed)
    assert end in first.reason
    elsewhere.append(row("r3"))
    elsewhere.check()


def test_where_one_of_two_heads_cannot_be_written_neither_is(root, monkeypatch):
    ledger = Ledger(root / "results.tsv")
    ledger.append(row("r0"))
    stage = Head.stage

    def full(head, digest):
        if ".git" in head.path.parts:
            raise OSError(122, "full")
        return stage(head, digest)

    with monkeypatch.context() as patched:
        patched.setattr(Head, "stage", full)
        with pytest.raises(OSError, match="full"):
            ledger.append(row("r1"))
    ledger.check()
    ledger.append(row("r1"))
    ledger.check()


def test_a_first_ledger_begins_without_a_word(tmp_path):
    ledger = Ledger(tmp_path / "results.tsv")
    assert ledger.renew() == ""
    assert not ledger.path.exists()


PLAN = Plan(agent='sh -c "two  blanks\t\x1b"', hours=8.5, runs=1_000_000, agent_seconds=600.0)
ON_BRANCH = {"branch": "autorl/night", "harness": "f 2x cpu", "commit": "a" * 12}


def test_each_kind_of_row_comes_back_as_it_was_written(tmp_path):
    ledger = Ledger(tmp_path / "results.tsv")
    kinds = [
        row("r0", status=Status.BEGUN, avg_return=None, seed=7, budget=0.5, **ON_BRANCH),
        row(
            "r0", status=Status.KEEP, avg_return=-1234.5678, std_return=2.25, seed=7, budget=0.5,
            verdict=Verdict.KEEP, role=Role.CHALLENGER, replicate=3, comparable=False,
            episodes=100, startup=11.25, reason="better", objective="A,B", stopping=True,
            **ON_BRANCH,
        ),
        NightBegun(run_id="20260101-000000-night0", plan=PLAN, **ON_BRANCH),
        Turn(run_id="t1", number=1, status=Ending.EDITED, challenger="b" * 12, **ON_BRANCH),
        Turn(run_id="t2", number=2, status=Ending.HUNG, reason="600.0 s", **ON_BRANCH),
        Renewed(reason="after another one"),
    ]  # fmt: skip
    for kind in kinds:
        ledger.append(kind)
    assert [*Ledger(ledger.path).read().entries] == kinds
    assert ledger.rows() == kinds[1:]
    assert ledger.runs() == [kinds[1]]
    assert ledger.read().open() == []


def test_a_run_that_has_begun_is_open_until_it_ends(ledger):
    begun = row("r3", status=Status.BEGUN, avg_return=None)
    assert ledger.append(begun).open() == [begun]
    assert "r3" not in [run.run_id for run in ledger.runs()]
    assert ledger.append(row("r3")).open() == []


EVIDENCE = sorted(
    path
    for path in (ROOT / "docs" / "evidence").rglob("*.tsv")
    if path.read_text().startswith("commit\t")
)


def test_every_ledger_of_the_evidence_is_read_whatever_its_version():
    versions = {Ledger(path).read().version for path in EVIDENCE}
    assert versions == {1, 2, 3, 6}
    first = Ledger(ROOT / "docs" / "evidence" / "issue1" / "results.tsv").runs()[0]
    assert (first.avg_return, first.seed, first.budget) == (313.7323, 811788217, 240.0)
    assert (first.branch, first.role, first.episodes, first.startup) == ("-", "-", 0, None)
    night = Ledger(ROOT / "docs" / "evidence" / "issue6" / "night_tpe.tsv").rows()
    (begun,) = [row for row in night if isinstance(row, NightBegun)]
    assert (begun.plan.agent, begun.plan.hours) == ("tpe", 8.0)
    assert [row.number for row in night if isinstance(row, Turn)][:3] == [1, 2, 3]


@pytest.mark.parametrize("version", range(2, len(HEADERS) + 1))
def test_a_ledger_goes_on_in_the_version_that_it_was_begun_with(tmp_path, version):
    path = tmp_path / "results.tsv"
    path.write_text("\t".join(HEADERS[version - 1]) + "\n")
    Ledger(path).append(row("r0", startup=3.0, stopping=True))
    there = Ledger(path).append(row("r1", startup=3.0, stopping=True))
    assert there.version == version
    assert [run.startup for run in there.runs()] == [3.0 if version >= 4 else None] * 2
    assert [run.stopping for run in there.runs()] == [version >= 5] * 2
    assert path.read_text().splitlines()[0].split("\t") == HEADERS[version - 1]
    Ledger(path).check()


def test_no_run_is_written_where_it_could_not_be_said_how_it_was_confined(tmp_path):
    path = tmp_path / "results.tsv"
    path.write_text("\t".join(HEADERS[0]) + "\n")
    assert Ledger(path).rows() == []
    with pytest.raises(LedgerError, match=r"did not record sandbox.*Move it away"):
        Ledger(path).append(row("r0"))


def test_a_branch_is_told_that_a_ledger_from_before_there_were_any_cannot_hold_it(tmp_path):
    path = tmp_path / "results.tsv"
    path.write_text("\t".join(HEADERS[1]) + "\n")
    Ledger(path).append(row("r0"))
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"did not record branch.*Move it away"):
        Ledger(path).append(row("r1", **ON_BRANCH))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("avg_return", "high", "line 3 is a row whose avg_return is 'high'"),
        ("replicate", "1.5", "line 3 is a row whose replicate is '1.5'"),
        ("seed", "1_0", "line 3 is a row whose seed is '1_0'"),
        ("budget", "", "line 3 is a row whose budget is ''"),
        ("comparable", "True", "line 3 is a row whose comparable is 'True'"),
        ("status", "great", "line 3 is a row whose status is 'great'"),
        ("verdict", "maybe", "line 3 is a row whose verdict is 'maybe'"),
        ("role", "boss", "line 3 is a row whose role is 'boss'"),
    ],
)
def test_a_cell_that_makes_no_sense_names_its_line(ledger, column, cell, said):
    """In a chain that is whole: as another tool, or an older one, may have written it."""
    rechained(ledger.path, 2, column, cell)
    before = ledger.path.read_bytes()
    for act in (ledger.rows, lambda: Ledger(ledger.path).append(row("r3"))):
        with pytest.raises(LedgerError, match=said):
            act()
    assert ledger.path.read_bytes() == before


def rechained(path, number, column, cell):
    """Change a cell of a line, from 0, and write the chain anew."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    lines[number][lines[0].index(column)] = cell
    previous, texts = None, []
    for line in lines:
        texts.append("\t".join([*line[:-1], previous or line[-1]]) + "\n")
        previous = hashlib.sha256(texts[-1].encode()).hexdigest()
    path.write_text("".join(texts))


def test_a_terminal_code_that_swallows_a_tab_moves_no_cell(ledger):
    rechained(ledger.path, 2, "description", "\x1b]0;a title")
    assert [(run.description, run.task) for run in ledger.runs()][1] == ("", "HalfCheetah-v5")


def test_what_was_verified_before_is_compared_and_not_taken_on_trust(ledger):
    """A process that has read a ledger finds every change that another one makes to it."""
    whole = ledger.path.read_bytes()
    assert len(ledger.rows()) == 3
    for damaged in (whole.replace(b"r0", b"rX"), whole.replace(b"HalfCheetah", b"HalfCheetaX")):
        ledger.path.write_bytes(damaged)
        with pytest.raises(LedgerError, match="line 3 does not follow"):
            ledger.rows()
    ledger.path.write_bytes(whole)
    assert len(ledger.rows()) == 3


def test_lines_that_were_verified_are_parsed_once(ledger, monkeypatch):
    parse, parsed = entries.parse, []
    monkeypatch.setattr(
        entries, "parse", lambda cells: parsed.append(cells["run_id"]) or parse(cells)
    )
    ledger.append(row("r3"))
    assert len(ledger.rows()) == 4
    assert parsed == ["r3"]


def test_a_row_is_decided_from_what_is_there_when_nobody_else_can_append(ledger):
    other = Ledger(ledger.path)

    def decide(there):
        seen = [run.run_id for run in there.runs()]
        return row("r3", description=" ".join(seen))

    other.append(row("between"))
    last = ledger.conclude(decide).runs()[-1]
    assert last.description == "r0 r1 r2 between"
