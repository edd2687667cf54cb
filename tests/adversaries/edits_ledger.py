"""Appends a row with a fine score to results.tsv."""

from harness.trial import connect
from tests.adversaries import finish, works


def attempt():
    with open("results.tsv", "a") as file:
        file.write("abc\t9999.0\tscored\n")
    with open("results.tsv") as file:
        return "9999.0" in file.read()


finish(connect(), gained=works(attempt))
