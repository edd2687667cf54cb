"""What was changed outside the files that may change.

Files are compared by content with git's own object names, never through git's index, which can be
told to look away (`update-index --assume-unchanged`). A line may end as in Windows where git has
been told so: the content is the same.

Of what nobody has committed only what Python could import counts. The rest cannot influence a run:
child processes import from a copy of the harness and from what is installed (`sources`, `origin`).
"""

import hashlib
import importlib.machinery
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from harness.checkout import git
from harness.errors import IntegrityError
from harness.places import EDITABLE, PACKAGE, PROGRAM, RUNS

FREE = (EDITABLE, PROGRAM)

PATHS_LISTED = 20
"""Paths in a message."""

NO_FILE = ""
NO_INDEX = {"GIT_INDEX_FILE": "/nonexistent/index"}
"""For git to list everything that is there, whatever its index says."""

SUBMODULE, LINK, PROGRAM_MODE = "160000", "120000", "100755"
"""Modes of git's trees: a commit of another repository, a link, a file that can be run."""

IGNORED = ".gitignore"


def plain(content: bytes) -> bytes:
    """A text with line ends as git keeps them."""
    return content.replace(b"\r\n", b"\n")


def committed(root: Path) -> dict[str, tuple[str, str]] | None:
    """Modes and object names by path in the commit that is checked out, `FREE` left out.

    None where the folder is no repository of its own, or one without a commit.

    Raises:
      InputError: git refuses to read the checkout, as it does one that belongs to somebody else.
    """
    if not (root / ".git").exists():
        return None
    try:
        listing = git.run(root, "ls-tree", "-r", "-z", "--full-tree", "HEAD")
    except git.GitError:
        git.is_own(root)  # one that git refuses to read is not one without a commit
        return None
    files = {}
    for entry in filter(None, listing.decode(errors="surrogateescape").split("\0")):
        kind, path = entry.split("\t", 1)
        mode, _, name = kind.split()
        if path not in FREE:
            files[path] = (mode, name)
    return files


def listed(root: Path) -> list[str] | None:
    """The files of a checkout that a run may see: what is committed, `FREE` left out.

    Before a first commit it is what its .gitignore does not name; None where there is no git.
    """
    if (then := committed(root)) is not None:
        return sorted(then)
    return _unignored(root, (root / IGNORED).is_file()) if git.is_own(root) else None


def changed(root: Path, then: Mapping[str, tuple[str, str]]) -> list[str]:
    """Committed files that are not there as they were.

    Args:
      root: the checkout.
      then: as of `committed`.
    """
    files = {path: name for path, (mode, name) in then.items() if mode != SUBMODULE}
    return sorted(p for p, name in files.items() if name not in _names(root / p, len(name)))


def added(root: Path, then: Iterable[str]) -> list[str]:
    """What Python could import, and nobody has committed; repositories with a slash at their end.

    What is ignored by the checkout's own .gitignore is left out, if that is committed: a folder
    cannot hide itself.

    Args:
      root: the checkout.
      then: the committed paths.
    """
    known = set(then)
    new = (
        path
        for path in _unignored(root, IGNORED in known)
        if path.rstrip("/") not in known and path not in FREE
    )
    return sorted(path for path in new if _importable(root, path))


def _unignored(root: Path, asked: bool) -> list[str]:
    """What is there, committed or not; without what .gitignore names, if that is to be asked."""
    ignored = [f"--exclude-from={root.resolve() / IGNORED}"] if asked else []
    listing = git.run(root, "ls-files", "-z", "--others", *ignored, variables=NO_INDEX)
    return [*filter(None, listing.decode(errors="surrogateescape").split("\0"))]


def name(path: Path) -> str:
    """What git would call a text."""
    content = _content(path)
    return NO_FILE if content is None else _hash(plain(content), 40)


def harness_files() -> dict[str, str]:
    """Object names by path of the harness that runs, wherever it is installed."""
    return {str(path): name(path) for path in sorted(PACKAGE.rglob("*.py"))}


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Paths that are not the same in both."""
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


class Guard:
    """Compares a checkout with its commit before a run, and with itself after it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._committed = committed(root)

    def check(self) -> None:
        """Make sure that nothing outside `FREE` differs.

        Raises:
          IntegrityError: something does; the message lists it.
        """
        different = differences(AT_START, harness_files())
        new: list[str] = []
        if self._committed is not None:
            different += changed(self._root, self._committed)
            new = added(self._root, self._committed)
        if different or new:
            raise IntegrityError(_told(different, new))


def _told(different: list[str], new: list[str]) -> str:
    """What differs, and what to do about it."""
    parts = []
    if different:
        parts.append(
            f"Changed outside {EDITABLE}: {_listed(different)}. Only that file and {PROGRAM} may "
            "differ from the commit during an experiment. If these changes are yours, commit them "
            "and run again; if not, git restore reverts them."
        )
    if new:
        parts.append(
            f"Not committed, and Python could import it: {_listed(new)}. Delete it or move it out "
            f"of the checkout; or commit it, or a line for it in {IGNORED}."
        )
    return " ".join(parts)


def _listed(paths: list[str]) -> str:
    """Some paths, and how many more there are."""
    more = f" and {len(paths) - PATHS_LISTED} more" if len(paths) > PATHS_LISTED else ""
    return ", ".join(paths[:PATHS_LISTED]) + more


def commit(root: Path) -> tuple[str, str]:
    """The commit that is checked out, `+` where committed files differ from it, and the difference.

    The name is `-` where the folder is no repository of its own, or one without a commit.
    """
    then = committed(root)
    if then is None:
        return "-", ""
    name = git.text(root, "rev-parse", "--short", "HEAD")
    free = git.text(root, "ls-tree", "HEAD", *FREE)
    entries = [line.split("\t") for line in free.splitlines()]
    then |= {path: (kind.split()[0], kind.split()[2]) for kind, path in entries}
    different = changed(root, then)
    return name + ("+" if different else ""), _difference(root, then, different)


def harness_commit() -> str:
    """The commit of the checkout that this harness is from, `+` where the harness differs from it.

    It is `-` where it is from none, as one that is installed, or a copy.
    """
    home = PACKAGE.parent
    then = committed(home)
    if then is None:
        return "-"
    files = {path: entry for path, entry in then.items() if path.startswith(f"{PACKAGE.name}/")}
    new = [path for path in added(home, then) if path.startswith(f"{PACKAGE.name}/")]
    name = git.text(home, "rev-parse", "--short", "HEAD")
    return name + ("+" if new or changed(home, files) else "")


def unguarded(root: Path) -> str:
    """A note for the user where there is no commit that a checkout could be compared with."""
    if committed(root) is not None:
        return ""
    other = git.surrounding(root)
    where = (
        f"is inside the repository of {other}" if other else "is not a git checkout with a commit"
    )
    return (
        f"note: {root.resolve()} {where}: nothing can be compared with a commit, and the rows of "
        "results.tsv show the commit -."
    )


def _difference(root: Path, then: Mapping[str, tuple[str, str]], paths: list[str]) -> str:
    """A patch from the commit to what is there, as git writes them."""
    if not paths:
        return ""
    with tempfile.TemporaryDirectory(prefix="autorl-index-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        git.run(root, "read-tree", "HEAD", variables=index)
        for path in paths:
            content = _content(root / path)
            if content is None:
                git.run(root, "update-index", "--force-remove", "--", path, variables=index)
                continue
            name = git.text(root, "hash-object", "-w", "--stdin", data=plain(content))
            entry = f"{then[path][0]},{name},{path}"
            git.run(root, "update-index", "--cacheinfo", entry, variables=index)
        tree = git.text(root, "write-tree", variables=index)
    shown = ("--no-ext-diff", "--no-textconv", "--no-color")
    return git.run(root, "diff-tree", "-p", *shown, "HEAD", tree).decode(errors="replace")


def put_back(root: Path, copies: Path) -> list[str]:
    """Make the checkout what was committed, `FREE` left aside; the paths that were not.

    Args:
      root: the checkout.
      copies: a folder, ignored by git, to which what is there goes first.
    """
    then = committed(root)
    if then is None:
        return []
    different, new = changed(root, then), added(root, then)
    for path in (*new, *different):
        _put_away(root, path, copies)
    for path in different:
        mode, name = then[path]
        _write(root / path, mode, git.run(root, "cat-file", "blob", name))
        git.stage(root, path, then[path])
    for path in new:
        git.stage(root, path.rstrip("/"), None)
    return sorted([*different, *new])


def _put_away(root: Path, path: str, copies: Path) -> None:
    """Move what stands at a path, or in its way, to another folder."""
    parts = PurePosixPath(path).parts
    for depth in range(1, len(parts) + 1):
        part = Path(*parts[:depth])
        there = root / part
        in_the_way = there.is_symlink() or (there.exists() and not there.is_dir())
        if in_the_way or (depth == len(parts) and there.exists()):
            (copies / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(there, copies / part)
            return


def _write(path: Path, mode: str, content: bytes) -> None:
    """Write a file as git has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == LINK:
        path.symlink_to(os.fsdecode(content))
        return
    path.write_bytes(content)
    if mode == PROGRAM_MODE:
        path.chmod(path.stat().st_mode | 0o111)


def _importable(root: Path, path: str) -> bool:
    """Whether an import statement could reach something in a checkout."""
    *folders, name = PurePosixPath(path).parts
    stem, _, rest = name.partition(".")
    if not all(part.isidentifier() for part in (*folders, stem)):
        return False
    if not rest:  # a repository, or a link to a folder, is a package; a folder of runs is ours
        return path != RUNS and (root / path).is_dir()
    return any(name == stem + suffix for suffix in importlib.machinery.all_suffixes())


def _names(path: Path, length: int) -> tuple[str, ...]:
    """What git would call the content of a file, as it stands and with git's own line ends."""
    content = _content(path)
    if content is None:
        return (NO_FILE,)
    return tuple(_hash(text, length) for text in dict.fromkeys((content, plain(content))))


def _content(path: Path) -> bytes | None:
    """Of a file; a link's is where it points. None where there is none that can be read."""
    try:
        if path.is_symlink():
            return os.fsencode(path.readlink())
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None


def _hash(content: bytes, length: int) -> str:
    digest = hashlib.sha1 if length == 40 else hashlib.sha256
    return digest(b"blob %d\0" % len(content) + content).hexdigest()


AT_START = harness_files()
"""As this process has loaded it: what is changed later is no part of what it measures with."""
