"""Agents without a language model: constants by syntax tree, edits by Optuna; nights compared."""

import ast
import dataclasses
import math
import random
import statistics

import pytest

from harness import compare, errors
from harness.checkout.beginning import create
from harness.errors import InputError, LedgerError
from harness.judgement.contest import Contest
from harness.night import constants, tuners
from harness.night.turns import Night
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Plan
from harness.record.ledger import Ledger
from scripts.bench_report import write_ledger
from tests.conftest import HALF_CHEETAH, ROOT, git

SHIPPED = (ROOT / EDITABLE).read_bytes()

FILE_WITH_RANGES = b'''"""Not a constant: RATE = 1  # [0, 2]"""
RATE = 1e-3  # [1e-4, 1e-2, log] Adam's
UNITS = 64  # {32, 64, 128} of a layer
DEPTH = 2  # [1, 4] layers \xc2\xb5
FREE = 3  # any number
lower = 1  # [0, 2]


def act(RATE=5):  # [1, 9]
    DEPTH = 7  # [1, 9]
    return RATE * DEPTH
'''


def test_constants_are_those_with_a_range_at_the_top_level():
    found = {c.name: c for c in constants.read(FILE_WITH_RANGES)}
    assert list(found) == ["RATE", "UNITS", "DEPTH"]
    assert (found["RATE"].low, found["RATE"].high, found["RATE"].log) == (1e-4, 1e-2, True)
    assert found["UNITS"].choices == (32, 64, 128)
    assert (found["DEPTH"].value, found["DEPTH"].whole) == (2, True)


def test_an_edit_changes_the_numbers_and_nothing_else():
    values = {"RATE": 0.00234, "DEPTH": 4}
    edited = constants.write(FILE_WITH_RANGES, values)
    expected = FILE_WITH_RANGES.replace(b"RATE = 1e-3 ", b"RATE = 0.00234 ", 1)
    assert edited == expected.replace(b"DEPTH = 2 ", b"DEPTH = 4 ", 1)


@pytest.mark.parametrize(
    ("before", "line", "values", "after"),
    [
        ("# a page\x0c break \x1c \x85 \u2028\n", "X = 32  # {16, 32} steps", 16, "X = 16"),
        ("# a\rA = 1\r\n", "X = 1  # [0, 2]\r\n", 2, "X = 2"),
        ('"""µ\n\x0b"""\n', "X = 0.5  # [0, 2]", 1, "X = 1.0"),
        ("", "X: float = 0.5  # [0, 2]", 0.25, "X: float = 0.25"),
        ("", "Ä: 'ö' = 0.5  # [0, 2]", 0.25, "Ä: 'ö' = 0.25"),
        ("", "X = (1)  # [0, 2]", 2, "X = (2)"),
        ("", "X = -0.5  # [-1.5, 0.0]", -1.0, "X = -1.0"),
        ("", "X = 2  # [0.5, 4.0] a float once, written as an integer", 3.0, "X = 3.0"),
        ("", "X = 0.5  # [0.5, 0.9999999]", 0.9999998, "X = 0.9999998"),
        ("", "X = 0.5  # {0.12345678, 0.5}", 0.12345678, "X = 0.12345678"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_value_is_written_where_it_stands(before, line, values, after, encoding):
    source = f"{before}{line}\nlast = 1\n".encode(encoding)
    (constant,) = constants.read(source)
    edited = constants.write(source, {constant.name: values})
    assert edited.startswith(f"{before}{after}  #".encode(encoding))
    assert edited.endswith(source[source.index(b"  #", len(before.encode(encoding))) :])
    (again,) = constants.read(edited)
    assert (again.value, again.whole) == (values, constant.whole)


def test_a_file_in_another_encoding_stays_in_it():
    source = "# coding: latin-1\nX = 1  # [0, 2] größer\n".encode("latin-1")
    assert constants.write(source, {"X": 2}) == source.replace(b"X = 1", b"X = 2")


def test_a_number_that_a_sampler_makes_round_stays_a_float():
    source = b"X = 1.5  # [0, 4]\n"
    for value in (2.0, 3.25, 1.0):
        source = constants.write(source, {"X": value})
        assert isinstance(constants.read(source)[0].value, float)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("RATE = 1e-3  # [1e-2, 1e-4]", "is not within"),
        ("RATE = 5  # [0, 1]", "is not within"),
        ("RATE = 16  # {16}", "has one value only"),
        ("RATE = 48  # {16, 32, 64}", "is not within"),
        ("RATE = 0.5  # [0, 1, log]", "is not within"),
        ("RATE = 0.5  # [low, high]", "no range of numbers"),
        ("RATE = x  # [0, 1]", "no range of numbers"),
        ("RATE = (1, 2)  # [0, 1]", "is no number"),
    ],
)
def test_a_range_that_is_none_is_told_with_its_line(line, message):
    with pytest.raises(ValueError, match=f"Line 2: RATE.*{message}"):
        constants.read(f"\n{line}\n".encode())


def test_the_shipped_file_can_be_tuned():
    found = constants.read(SHIPPED)
    assert len(found) >= 10
    changed = constants.write(SHIPPED, {c.name: c.high for c in found})
    ast.parse(changed)
    assert [c.value for c in constants.read(changed)] == [c.high for c in found]


@pytest.mark.slow
@pytest.mark.parametrize("kind", tuners.TUNERS)
def test_suggestions_stay_in_range_and_repeat_with_their_seed(kind):
    tried = [(SHIPPED, 1.0)]
    for seed in range(8):
        edit, line = tuners.suggest(kind, SHIPPED, tried, seed)
        assert tuners.suggest(kind, SHIPPED, tried, seed) == (edit, line)
        for c in constants.read(edit):
            assert c.low <= c.value <= c.high
        assert line.startswith(f"{kind}: ")
        tried.append((edit, float(seed)))


def test_tpe_learns_from_what_was_tried_and_random_search_does_not():
    """Scores fall with the distance of one constant from the middle of its range."""
    source = b"X = 1.0  # [0.0, 10.0]\n"
    found = {}
    for kind in ("random", "tpe"):
        tried = [(source, -4.0)]
        for seed in range(40):
            edit, _ = tuners.suggest(kind, source, tried, seed)
            (constant,) = constants.read(edit)
            tried.append((edit, -abs(constant.value - 5.0)))
        found[kind] = statistics.fmean(score for _, score in tried[-20:])
    assert found["tpe"] > found["random"] + 0.5


def test_tpe_changes_few_constants_at_a_time_and_in_the_course_of_a_night_all():
    there = {c.name: c.value for c in constants.read(SHIPPED)}
    tried, seen = [(SHIPPED, 1.0)], set()
    for seed in range(60):
        edit, _ = tuners.suggest("tpe", SHIPPED, tried, seed)
        changed = {c.name for c in constants.read(edit) if c.value != there[c.name]}
        assert 1 <= len(changed) <= tuners.MOST_CHANGED
        seen |= changed
    assert seen == set(there)


def test_a_constant_that_is_not_changed_stays_as_it_was_written():
    source = b"".join(b"%c = 0.12345678  # [0.1, 0.9]\n" % name for name in b"ABCDE")
    for seed in range(8):
        edit, line = tuners.suggest("tpe", source, [(source, 1.0)], seed)
        pairs = zip(source.splitlines(), edit.splitlines(), strict=True)
        changed = [before[:1].decode() for before, after in pairs if before != after]
        assert changed == [part.split()[0] for part in line.removeprefix("tpe: ").split(", ")]


def test_tpe_keeps_away_from_where_runs_were_stopped_and_ranks_none_of_them_above_a_score():
    """Half of the range is hopeless, though what was reported there looks higher than a score."""
    source = b"X = 7.0  # [0.0, 10.0]\n"
    tried = [(f"X = {x}  # [0.0, 10.0]\n".encode(), float(-i)) for i, x in enumerate((6, 7, 8))]
    stopped = [(f"X = {x / 4}  # [0.0, 10.0]\n".encode(), (0.25, 500.0)) for x in range(20)]
    found = {}
    for name, hopeless in (("told", stopped), ("untold", [])):
        edits = [tuners.suggest("tpe", source, tried, seed, hopeless)[0] for seed in range(30)]
        found[name] = sum(constants.read(edit)[0].value < 5.0 for edit in edits)
    assert found["told"] <= 3 < found["untold"]


def test_a_package_is_called_missing_only_where_it_is():
    missing = ModuleNotFoundError("No module named 'optuna'", name="optuna")
    assert "is not installed: make tune, or pip install -e '.[tune]'" in str(
        errors.without("optuna", "tune", missing)
    )
    for broken in (
        ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy"),
        ImportError("libm.so.6: version not found", name="optuna"),
    ):
        said = str(errors.without("optuna", "tune", broken))
        assert "is not installed" not in said
        assert str(broken) in said


def test_a_file_without_ranges_is_told():
    with pytest.raises(InputError, match="no constant with a range"):
        tuners.suggest("random", b"RATE = 1\n", [], 0)


@pytest.fixture
def nights(root, site, tmp_path):
    """The ledgers of a night that found something and of one that did not."""
    (root / EDITABLE).write_text("SKILL = 0 # [0, 20] \n")
    git(root, "commit", "-qam", "with a range")
    made = {}
    for name in ("finds", "fails"):
        git(root, "switch", "-q", "--detach", "HEAD")
        contest = Contest(create(root, name), HALF_CHEETAH, "none", site=site)
        worse = f"echo 'SKILL = -{random.Random(0).randrange(5, 9)}' > {EDITABLE}"
        agent = "random" if name == "finds" else worse
        Night(contest, Plan(agent, 1.0, 12, 20.0)).run()
        made[name] = tmp_path / f"{name}.tsv"
        (root / LEDGER).rename(made[name])
        from harness.record.head import Head

        Head(root / LEDGER).path.unlink()
        Head(root / LEDGER, root / ".git").path.unlink()
    return made


@pytest.mark.slow
def test_a_night_that_found_more_is_said_to_and_with_itself_nothing_is_separated(nights, capsys):
    before = {name: path.read_bytes() for name, path in nights.items()}
    compare.compare(nights["finds"], nights["fails"])
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert said["verdict"] == "a"
    assert said["gain_b"] == "0.00 (0.00 to 0.00)"
    assert float(said["gain_a"].split(" ")[0]) > 3
    compare.compare(nights["finds"], nights["finds"])
    assert "verdict: not separated" in capsys.readouterr().out
    assert {name: path.read_bytes() for name, path in nights.items()} == before


def test_a_ledger_that_holds_no_figure_is_told(tmp_path):
    write_ledger(tmp_path / LEDGER, 2)
    last = Ledger(tmp_path / LEDGER).runs()[-1]
    Ledger(tmp_path / LEDGER).append(dataclasses.replace(last, avg_return=math.nan))
    with pytest.raises(LedgerError, match="a figure that is none"):
        compare.compare(tmp_path / LEDGER, tmp_path / LEDGER)


@pytest.mark.parametrize(
    ("tags", "gains"),
    [(["worse", "better"], (0, 5)), (["autorl/better"], (5, 5)), (["better", "worse"], (5, 0))],
)
def test_branches_of_one_ledger_are_compared_by_their_tags(root, site, capsys, tags, gains):
    two_branches(root, site)
    capsys.readouterr()
    compare.compare(root / LEDGER, root / LEDGER, tags)
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    found = [float(said[f"gain_{name}"].split(" ")[0]) for name in "ab"]
    assert found == pytest.approx(gains, abs=2.5)
    assert said["night_a"] == (
        "1 challenger, 1 proved, 1 confirmation made"
        if gains[0]
        else "1 challenger, 0 proved, 0 confirmations made"
    )


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (None, "has 2 experiment branches; one is needed. --branch TAG chooses"),
        (["other"], "has no branch autorl/other; it has autorl/better, autorl/worse"),
        (["better", "worse", "better"], "give --branch once, for both, or twice"),
    ],
)
def test_which_branches_are_compared_has_to_be_plain(root, site, tags, message):
    two_branches(root, site)
    with pytest.raises(InputError, match=message):
        compare.compare(root / LEDGER, root / LEDGER, tags)


def two_branches(root, site):
    """A ledger with a branch that has proved an edit, and one that has not."""
    for tag, skill in (("worse", -5), ("better", 5)):
        git(root, "switch", "-q", "--detach", "HEAD")
        contest = Contest(create(root, tag), HALF_CHEETAH, "none", site=site)
        contest.measure()
        contest.challenge("an edit", f"SKILL = {skill}\n".encode())
        contest.advance(closing=True)
