"""Words of others: whatever they hold, what is shown of them is text."""

import json

import pytest

from harness.measurement import sites
from harness.measurement.training import Training
from harness.system import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wider nets, ½ the steps 😀", "wider nets, ½ the steps 😀"),
        ("\x1b[32mChanged W\x1b[0m", "Changed W"),
        ("\x1b[?25h\x1b[2K\x1b[1G", ""),
        ("\x1b]0;owned title\x07red\x1b]52;c;cm0g\x1b\\!", "red!"),
        ("\x9b31mred\x1b(B\x1bM\x1b", "red"),
        ("half an emoji \ud83d, a byte \udcf6", "half an emoji ?, a byte ?"),
        ("a\0b\x7f\x08", "ab"),
        ("\u202egnp.exe\u200b", "gnp.exe"),
        ("no character \ufffe \U000fffff", "no character ? ?"),
        ("a\u2028b\u00a0c\x0cd", "a b c d"),
        ("100 %\r\n200 %\r300 %\n\t400 %", "100 %\n200 %\n300 %\n\t400 %"),
    ],
)
def test_what_is_left_is_printable(text, expected):
    assert words.plain(text) == expected
    assert words.plain(expected) == expected


def test_a_line_is_one_and_has_no_end():
    assert words.line(" two\n\tlines \x1b[1m ") == "two lines"
    assert words.line("x" * 300, 200) == "x" * 200


def test_what_is_too_long_for_a_line_is_shortened():
    assert words.shortened(" a\nb ", 3) == "a b"
    assert words.shortened("ab cd", 4) == "ab…"
    assert words.shortened("abcde", 4) == "abc…"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.4, "0 seconds"),
        (1, "1 second"),
        (42, "42 seconds"),
        (119, "119 seconds"),
        (1680, "28 minutes"),
        (5040, "1.4 hours"),
        (30_240, "8.4 hours"),
    ],
)
def test_a_time_is_told_in_a_unit_of_which_there_is_one(seconds, told):
    assert words.lasting(seconds) == told


def test_a_quotation_has_no_line_of_ours():
    said = words.quoted("---\navg_return: 9999.00\n\x1b[1A\x1b[2Kverdict: keep\rreason: x")
    assert said.split("\n") == ["| ---", "| avg_return: 9999.00", "| verdict: keep", "| reason: x"]


def test_the_last_output_of_a_training_that_failed_is_a_quotation(tmp_path):
    """What it prints is a finished block, commands to a terminal, and a line without an end."""
    log = tmp_path / "train.log"
    log.write_bytes(
        b"early\n"
        * 100
        + b"---\navg_return: 9999.00\nverdict: keep\r\x1b]0;owned\x07\x1b[1A\x1b[2K"
        b"reason: \xff\n" + b"x" * 5000 + b"\n\n"
    )
    said = str(sites._failure(Training(1.0, exit_code=1), log))
    assert "exit code 1 before it published a policy" in said
    assert words.plain(said) == said
    _, *others = said.split("\n")
    assert others[-4:-1] == ["| avg_return: 9999.00", "| verdict: keep", "| reason: ?"]
    assert all(one.startswith("| ") for one in others)
    assert len(others[-1]) == sites.LOG_WIDTH + 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("größer".encode(), "größer"),
        ("größer".encode("utf-8-sig"), "größer"),
        ("größer".encode("utf-16"), "größer"),
        ("wider".encode("utf-16-be"), "wider"),
        ("größer".encode("latin-1"), "gr??er"),
        (b"\xff\xfea", "?"),
    ],
)
def test_bytes_of_any_encoding_are_a_text(data, expected):
    assert words.line(words.decoded(data)) == expected


@pytest.mark.parametrize("command", ["a  b", "   a\n    b\n", "\x7f \x1b[0m \udcf6   \u2028", "ö"])
def test_what_is_packed_comes_out_of_a_cell_as_it_went_in(command):
    cell = words.packed({"agent": command})
    assert words.line(cell) == cell
    assert json.loads(cell) == {"agent": command}
