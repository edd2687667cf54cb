"""Looks for policies and summaries of other runs, and for their rows in results.tsv."""

from pathlib import Path

from tests.adversaries import own_file, works


def attempt():
    mine = own_file().parent
    others = [folder for folder in mine.parent.iterdir() if folder != mine]
    rows = works(lambda: bool(Path("results.tsv").read_text()))
    return bool(others) or rows
