"""git, of one checkout and without anybody's settings.

A repository's configuration, the user's, and the variables of a shell can all make git run
programs: hooks, filters, file system monitors, pagers, signing. An agent may write to some of
them. `SETTINGS` and `VARIABLES` switch off what can be switched off. What cannot, are the filters
and converters that a repository names for its files: so no command is used here that looks at files
of the working tree (status, diff, add, checkout, reset), nor one that shows a file (show, log).
"""

import contextlib
import functools
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import InputError, StorageError
from harness.system import programs

GIT = programs.find("git")
"""As it was when this process began."""

LOCK_PATIENCE = 10.0
"""Seconds that another git may hold a lock: that of an editor is held for less than one."""

LOCK_PAUSE = 0.1
"""Seconds between tries for a lock."""

SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "core.alternateRefsCommand": "true",
    "core.logAllRefUpdates": "true",
    "core.filesRefLockTimeout": str(round(LOCK_PATIENCE * 1000)),
    "core.packedRefsTimeout": str(round(LOCK_PATIENCE * 1000)),
    "commit.gpgSign": "false",
    "i18n.commitEncoding": "UTF-8",
    "gc.auto": "0",
    "advice.graftFileDeprecated": "false",
    "maintenance.auto": "false",
}
"""Settings that win over those of every file."""

VARIABLES = {
    "HOME": os.devnull,
    "XDG_CONFIG_HOME": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "none",
    "LC_ALL": "C",
}
"""Variables with which git reads no settings but the repository's, takes commits as they are, and
fetches an object that is missing from nowhere."""

CLONE_VARIABLES = {"GIT_ALLOW_PROTOCOL": "file"}
"""With which a repository on this machine can be cloned."""

CLONED = ("-c", "remote.origin.fetch=+refs/autorl/*:refs/autorl/*")
"""What a copy has beside branches and tags, under the same names: a shallow repository gives out
no commit that is in none of them. A copy's own settings do not hold it, so these refs stay there.
"""

AUTHORSHIP = tuple(
    f"GIT_{role}_{part}" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL", "DATE")
)
"""Variables of the user that are words and nothing else."""

OWN_SETTINGS = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
"""Variables that say where the user's settings are, for the questions that are put to these."""

_BUSY = re.compile(rb"Unable to create '[^']*\.lock': File exists")

COMMAND_WORDS = 2
"""Words of a command that failed, after `git`, in its message: the others may be long."""

WHOLE = (40, 64)
"""Characters of an object's whole name, by SHA-1 and SHA-256."""


class GitError(StorageError):
    """A git command has failed.

    Attributes:
      said: what git has written of it; empty where there was no git to write anything.
    """

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class NoGitError(GitError):
    """There is no git that could be run."""


def run(
    root: Path, *arguments: str, data: bytes = b"", variables: Mapping[str, str] | None = None
) -> bytes:
    """What one git command in a checkout prints.

    Args:
      root: the checkout; a repository that it only lies in is none of its own.
      arguments: of git.
      data: its standard input.
      variables: of its environment, beside the usual ones.

    Raises:
      NoGitError: there is no git.
      GitError: it failed; the message is without our settings.
    """
    place = root.resolve()
    limits = {"GIT_CEILING_DIRECTORIES": str(place.parent)}
    options = ["-C", str(place), f"--work-tree={place}"]
    return _run(options, arguments, data, {**limits, **(variables or {})})


def text(
    root: Path, *arguments: str, data: bytes = b"", variables: Mapping[str, str] | None = None
) -> str:
    """What one git command prints, without the last line end; arguments as of `run`."""
    return run(root, *arguments, data=data, variables=variables).decode(errors="replace").strip()


def merged(root: Path, mine: bytes, base: bytes, theirs: bytes) -> bytes | None:
    """A text with the changes from a base to another text; None where they meet others of its own.

    Args:
      root: the checkout.
      mine: the text.
      base: from which the changes are.
      theirs: the text that has them.
    """
    with tempfile.TemporaryDirectory(prefix="autorl-merge-") as folder:
        paths = [Path(folder, name) for name in ("mine", "base", "theirs")]
        for path, content in zip(paths, (mine, base, theirs), strict=True):
            path.write_bytes(content)
        try:
            return run(root, "merge-file", "-p", "-q", *map(str, paths))
        except NoGitError:
            raise
        except GitError:  # its exit code counts the places where they meet
            return None


def full(root: Path, commit: str) -> str:
    """The whole name of a commit that is known by its first characters; no ref is looked at.

    Raises:
      InputError: there is none, or there are several.
    """
    if len(commit) in WHOLE:
        return commit
    names = text(root, "rev-parse", f"--disambiguate={commit}").split()
    found = [name for name in names if text(root, "cat-file", "-t", name) == "commit"]
    if len(found) != 1:
        raise InputError(
            f"The commit {commit}, which results.tsv names, is {len(found)} commits of this "
            "repository: it cannot be told what ran. Begin a new branch with --init."
        )
    return found[0]


@functools.cache
def directory(root: Path) -> Path:
    """The folder of a checkout's repository, which stays where it is while a process lasts.

    Raises:
      GitError: as `run`.
    """
    return Path(text(root, "rev-parse", "--absolute-git-dir"))


def stage(root: Path, path: str, entry: tuple[str, str] | None) -> None:
    """Set what the index has at a path.

    git sees an empty folder in the place of the checkout meanwhile: else it would compare files
    that were changed as late as the index, through their filters.

    Args:
      root: the checkout.
      path: in it.
      entry: mode and object name; None takes the path out.
    """
    repository = directory(root.resolve())
    change = ["--cacheinfo", ",".join((*entry, path))] if entry else ["--force-remove", path]
    with tempfile.TemporaryDirectory(prefix="autorl-git-") as empty:
        options = ["-C", empty, f"--git-dir={repository}", f"--work-tree={empty}"]
        _run(options, ["update-index", "--add", *change])


def clone(root: Path, commit: str, target: Path) -> None:
    """A copy of a repository without a way back: whatever is done to its refs stays in it.

    It has the refs of what was tried, too, so that its owner can look at that.

    Args:
      root: the checkout.
      commit: that the copy shows.
      target: a folder that is not there yet.
    """
    options = ("--quiet", "--no-checkout", "--no-hardlinks", "--template=", "--origin=origin")
    _run(CLONED, ("clone", *options, str(root.resolve()), str(target)), variables=CLONE_VARIABLES)
    run(target, "checkout", "--quiet", "--detach", commit)
    run(target, "remote", "remove", "origin")


def is_own(root: Path) -> bool:
    """Whether a folder is the top of a repository.

    Raises:
      InputError: it is, and git refuses to read it, as one that belongs to somebody else.
    """
    try:
        run(root, "rev-parse", "--git-dir")
    except NoGitError:
        return False
    except GitError as error:
        if (root / ".git").exists():
            raise InputError(f"git cannot read this checkout: {error.said}") from error
        return False
    return True


def surrounding(root: Path) -> Path | None:
    """The repository that a folder lies in without being its top; None where there is none."""
    return next((p for p in root.resolve().parents if (p / ".git").exists()), None)


def head(root: Path) -> str | None:
    """The branch that is checked out, by its full name; None where none is, or no repository."""
    try:
        return text(root, "symbolic-ref", "--quiet", "HEAD")
    except GitError:
        return None


def exists(root: Path, ref: str) -> bool:
    """Whether there is a ref of this full name."""
    with contextlib.suppress(GitError):
        return bool(run(root, "rev-parse", "--verify", "--quiet", ref))
    return False


def is_name(root: Path, name: str) -> bool:
    """Whether git takes something for a ref's name."""
    with contextlib.suppress(GitError):
        return not run(root, "check-ref-format", name)
    return False


def signature(root: Path, role: str, otherwise: Mapping[str, str]) -> str:
    """Who commits, as the user has told git, and when: as it stands in a commit.

    Args:
      root: the checkout.
      role: `AUTHOR` or `COMMITTER`.
      otherwise: `NAME` and `EMAIL` of who it is where git knows nobody.
    """
    told = {n: os.environ[n] for n in (*AUTHORSHIP, *OWN_SETTINGS, "HOME") if n in os.environ}
    known = _signature(root.resolve(), role, tuple(otherwise.items()), tuple(told.items()))
    if f"GIT_{role}_DATE" in told:
        return known
    return f"{known.rsplit(' ', 2)[0]} {time.time():.0f} {time.strftime('%z')}"


@functools.cache
def _signature(
    root: Path, role: str, otherwise: tuple[tuple[str, str], ...], told: tuple[tuple[str, str], ...]
) -> str:
    """The same at the first time that it is asked, with the variables as they are."""
    variables = {
        name: dict(told).get(name) or _own_setting(str(root), f"user.{key.lower()}") or value
        for key, value in otherwise
        for name in [f"GIT_{role}_{key}"]
    }
    return text(root, "var", f"GIT_{role}_IDENT", variables=variables)


def _run(
    options: Sequence[str],
    arguments: Sequence[str],
    data: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> bytes:
    """Run git; wait where another git holds a lock.

    Raises:
      GitError: it failed.
    """
    settings = [*SETTINGS.items(), *(("safe.directory", path) for path in _trusted())]
    given = [word for name, value in settings for word in ("-c", f"{name}={value}")]
    command = [_program(), *options, *given, *arguments]
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        done = subprocess.run(
            command, input=data, capture_output=True, check=False,
            env={**_environment(), **VARIABLES, **(variables or {})},
        )  # fmt: skip
        if done.returncode == 0:
            return done.stdout
        if not _BUSY.search(done.stderr) or time.monotonic() > deadline:
            raise _failed(arguments, done)
        time.sleep(LOCK_PAUSE)


def _failed(arguments: Sequence[str], done: subprocess.CompletedProcess[bytes]) -> GitError:
    """What a command that failed has said, and the next step."""
    said = done.stderr.decode(errors="replace").strip() or "git says nothing"
    name = " ".join(["git", *arguments[:COMMAND_WORDS]])
    return GitError(
        f"{name} failed with exit code {done.returncode}: {said}. Repair that and run again; "
        "harness.loop --resume continues a night.",
        said,
    )


def _program() -> str:
    """The path of git.

    Raises:
      NoGitError: it is not installed.
    """
    if GIT is None:
        raise NoGitError("There is no git outside the checkout: install it and run again.")
    return GIT


def _environment() -> dict[str, str]:
    """Our variables without those that git reads, but for who commits."""
    names = [name for name in os.environ if not name.startswith("GIT_") or name in AUTHORSHIP]
    return {name: os.environ[name] for name in names}


@functools.cache
def _trusted() -> tuple[str, ...]:
    """The checkouts of other people that the user has told git to trust."""
    return tuple(_own_setting(os.sep, "safe.directory", "--get-all").splitlines())


def _own_setting(folder: str, name: str, how: str = "--get") -> str:
    """A setting as the user has it; empty where there is none. To be read runs nothing."""
    theirs = {n: os.environ[n] for n in OWN_SETTINGS if n in os.environ}
    done = subprocess.run(
        [_program(), "-C", folder, "config", "--includes", how, name],
        capture_output=True, check=False, env={**_environment(), **theirs},
    )  # fmt: skip
    return done.stdout.decode(errors="replace").strip()
