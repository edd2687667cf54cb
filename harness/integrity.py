"""What was changed outside the one file that may change.

Files are compared by content with git's own object names, never through git's index, which can be
told to look away (`update-index --assume-unchanged`).
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

from harness.errors import InputError, IntegrityError

EDITABLE = "agent_space/train.py"
"""The file that an agent edits."""

HARNESS = Path(__file__).resolve().parent
LISTED = 20
"""Paths in a message."""

ABSENT, REPOSITORY = "", "a repository"


def committed(root: Path) -> dict[str, str] | None:
    """Object names by path in the commit that is checked out; None without git or a commit.

    Raises:
      InputError: git refuses to read the checkout, as it does one that belongs to somebody else.
    """
    try:
        top = _git(root, "rev-parse", "--show-toplevel").strip()
    except OSError:
        return None
    except subprocess.CalledProcessError as error:
        if (root / ".git").exists():
            said = error.stderr.decode(errors="replace").strip()
            raise InputError(f"git cannot read this checkout: {said}") from error
        return None
    if Path(top) != root.resolve():
        return None
    try:
        listing = _git(root, "ls-tree", "-r", "-z", "--full-tree", "HEAD")
    except subprocess.CalledProcessError:
        return None
    files = {}
    for entry in filter(None, listing.split("\0")):
        kind, path = entry.split("\t", 1)
        mode, _, name = kind.split()
        if path != EDITABLE and mode != "160000":  # a submodule is a commit, not a file
            files[path] = name
    return files


def present(root: Path, length: int = 40) -> dict[str, str]:
    """Object names by path of what is there: tracked, or neither tracked nor ignored by .gitignore.

    A git repository in the checkout is one path with a slash at its end: git does not look into it.

    Args:
      root: a checkout.
      length: of the repository's object names, 40 or 64.
    """
    listing = _git(
        root, "ls-files", "-z", "--cached", "--others", "--exclude-per-directory=.gitignore"
    )
    paths = {path for path in listing.split("\0") if path and path != EDITABLE}
    names = {path: REPOSITORY for path in paths if path.endswith("/")}
    files = {path: _name(root / path, length) for path in paths - names.keys()}
    return names | {path: name for path, name in files.items() if name != ABSENT}


def listed(root: Path) -> list[str] | None:
    """Files of a checkout that are tracked, or neither tracked nor ignored; None without git."""
    try:
        listing = _git(
            root, "ls-files", "-z", "--cached", "--others", "--exclude-per-directory=.gitignore"
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return [path for path in listing.split("\0") if path and not path.endswith("/")] or None


def harness_files() -> dict[str, str]:
    """Object names by path of the harness that runs, wherever it is installed."""
    return {str(path): _name(path, 40) for path in sorted(HARNESS.rglob("*.py"))}


def fingerprint() -> str:
    """Twelve characters that change with any file of the harness that runs."""
    text = "".join(f"{Path(path).name}:{name}\n" for path, name in harness_files().items())
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Paths that are not the same in both."""
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


class Guard:
    """Compares a checkout with its commit before a run, and with itself after it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._committed = committed(root)

    def check(self) -> None:
        """Make sure that nothing outside `EDITABLE` differs.

        Raises:
          IntegrityError: something does; the message lists it.
        """
        changed = differences(AT_START, harness_files())
        if self._committed is not None:
            length = len(next(iter(self._committed.values()), "0" * 40))
            changed += differences(self._committed, present(self._root, length))
        if changed:
            more = f" and {len(changed) - LISTED} more" if len(changed) > LISTED else ""
            raise IntegrityError(
                f"Changed outside {EDITABLE}: {', '.join(changed[:LISTED])}{more}. Only that file "
                "may differ from the commit during an experiment. If these changes are yours, "
                "commit them and run again; if not, git restore puts them back."
            )


def put_back(root: Path, copies: Path) -> list[str]:
    """Make the checkout what was committed, `EDITABLE` left aside; the paths that were not.

    Args:
      root: the checkout.
      copies: a folder, ignored by git, to which what is there goes first.
    """
    then = committed(root)
    if then is None:
        return []
    length = len(next(iter(then.values()), "0" * 40))
    changed = differences(then, present(root, length))
    for path in changed:
        if path.endswith("/") or (root / path).is_file() or (root / path).is_symlink():
            (copies / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(root / path, copies / path)
        if path in then:
            _git(root, "checkout", "HEAD", "--", path)
    return changed


def _name(path: Path, length: int) -> str:
    """What git would call the content of a file; a link's is where it points."""
    try:
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ABSENT
    digest = hashlib.sha1 if length == 40 else hashlib.sha256
    return digest(b"blob %d\0" % len(content) + content).hexdigest()


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
    return done.stdout.decode(errors="surrogateescape")


AT_START = harness_files()
"""As this process has loaded it: what is changed later is no part of what it measures with."""
