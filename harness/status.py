"""`python -m harness.status`: how a checkout stands, from its ledger, wherever it works."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.morning.standing import look
from harness.terminal import cli

REFRESH = 2.0
"""Seconds between looks with `--watch`."""


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it; Ctrl-C ends.")] = False,
) -> None:
    """Show how the night in this checkout stands, or its single runs; it may run elsewhere."""
    root = Path.cwd()
    console = Console(highlight=False, emoji=False)
    if not (watch and console.is_terminal):
        console.print("\n".join(look(root)), markup=False, soft_wrap=True)
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(Text("\n".join(look(root))), refresh=True)
            time.sleep(REFRESH)


if __name__ == "__main__":
    cli.serve(status)
