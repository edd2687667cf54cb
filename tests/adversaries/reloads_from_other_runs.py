"""Looks for policies and summaries of other runs, and for their rows in results.tsv."""

from pathlib import Path

from harness.trial import connect
from tests.adversaries import finish, works

mine = Path(__file__).resolve().parent
others = [folder for folder in mine.parent.iterdir() if folder != mine]
rows = works(lambda: bool(Path("results.tsv").read_text()))
finish(connect(), gained=bool(others) or rows)
