"""Errors that a user can act on, each with its documented exit code.

Every message names the cause and the next step. Anything else that escapes is a bug of the
harness and keeps its traceback.
"""

CONFINED_VARIABLE = "AUTORL_CONFINED"
"""Set in the environment of a confined process."""

EXIT_OK = 0
EXIT_BUG = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class HarnessError(Exception):
    """Base of all errors that are shown to the user as one message, without a traceback."""

    exit_code = EXIT_BUG


class InputError(HarnessError):
    """A command-line value or a file named by the user cannot be used."""

    exit_code = 2


def how_to_add(extra: str) -> str:
    """The command that installs an extra: in the checkout's own environment, and in any other."""
    return f"make {extra}, or pip install -e '.[{extra}]'"


def without(package: str, extra: str, error: ImportError) -> InputError:
    """What is said of a package that cannot be imported: that it is missing only where it is.

    Args:
      package: its name in an import.
      extra: what installs it, as in `.[extra]`.
      error: of the import.
    """
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return InputError(f"The package {package} is not installed: {how_to_add(extra)}.")
    return InputError(
        f"The package {package} is installed and cannot be imported: {error}. "
        f"pip install --force-reinstall {package} may help."
    )


class TrainingError(HarnessError):
    """The training process failed: it raised, or it published no policy in time."""

    exit_code = 3


class OutOfTimeError(TrainingError):
    """The budget was used up before a policy was published."""


class IncumbentError(HarnessError):
    """The runs of the incumbent fail: no edit can be compared with it, and none is to blame."""

    exit_code = 3


class PolicyError(HarnessError):
    """The published policy was refused, or failed while it was evaluated."""

    exit_code = 4


class TaskError(PolicyError):
    """The task's environment failed, or does not keep to Gymnasium's interface."""


class LedgerError(HarnessError):
    """results.tsv is damaged or cannot be written."""

    exit_code = 5


class StorageError(HarnessError):
    """The disk is full or a folder cannot be written."""

    exit_code = 6


class IntegrityError(HarnessError):
    """Something outside the file that may be edited was changed."""

    exit_code = 7


class WorkerError(HarnessError):
    """A worker of a cluster died, and its run with it."""

    exit_code = 8


class BusyError(HarnessError):
    """Another command is at work in the checkout."""

    exit_code = 9


class StandstillError(HarnessError):
    """We stood still while we held the clock of a run: it measures nothing."""

    exit_code = 10


class EndedError(HarnessError):
    """A training was ended by a signal, from outside or by the system: nothing of it counts."""

    exit_code = 3
