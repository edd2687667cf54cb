"""What all command lines share: known errors as one message with an exit code."""

import functools
import shlex
import sys
from collections.abc import Callable
from typing import Any

import typer

from harness import errors
from harness.errors import HarnessError
from harness.system import processes, storage, streams, words

EXIT_CODES = f"""
Exit codes: {errors.EXIT_OK} done · {errors.InputError.exit_code} bad input ·
{errors.TrainingError.exit_code} the training failed · {errors.PolicyError.exit_code} the policy
was refused · {errors.LedgerError.exit_code} the ledger is damaged ·
{errors.StorageError.exit_code} the disk is full, or a folder cannot be written ·
{errors.IntegrityError.exit_code} a file other than train.py was changed ·
{errors.WorkerError.exit_code} the workers of a cluster died ·
{errors.BusyError.exit_code} another command is at work in this checkout ·
{errors.StandstillError.exit_code} the harness stood still ·
{errors.EXIT_INTERRUPTED} interrupted · {errors.EXIT_BUG} a bug of the harness.
"""


def serve(command: Callable[..., None]) -> None:
    """Run a function with typer annotations as a program."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        processes.heed(_interrupt)
        try:
            with storage.plainly():
                command(*args, **kwargs)
        except HarnessError as error:
            print(f"error: {_indented(str(error))}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            print("interrupted; nothing of it keeps running", file=sys.stderr)
            raise typer.Exit(errors.EXIT_INTERRUPTED) from error

    streams.prepare()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=EXIT_CODES)(guarded)
    app()


def python() -> str:
    """The interpreter as the user has typed it, for commands that they may type next."""
    return shlex.quote(sys.orig_argv[0])


def _indented(message: str) -> str:
    """A message whose further lines are no lines of a result: `grep ^avg_return:` finds none."""
    return words.plain(message).replace("\n", "\n  ")


def _interrupt(number: int, frame: object) -> None:
    """All ways to end us are one: children are ended, the ledger gets its row."""
    raise KeyboardInterrupt
