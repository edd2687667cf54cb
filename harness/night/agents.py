"""Coding agents: commands that read a brief and edit one file in a folder of their own."""

import contextlib
import dataclasses
import difflib
import hashlib
import json
import math
import os
import re
import shlex
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness.checkout import git, sources, syntax
from harness.night import leash
from harness.night.brief import Brief
from harness.places import EDITABLE, NOTES, RUNS
from harness.record.entries import Ending
from harness.system import words

DESCRIPTION = "DESCRIPTION"
"""File in which an agent leaves one line on its edit; else the last line that it prints is it."""

OWN = (EDITABLE, DESCRIPTION, NOTES)
"""What an agent may write in its clone."""

LITTER = {".git", ".venv", "__pycache__", RUNS, "build", "MUJOCO_LOG.TXT"}
"""What tools leave in a clone, and is never taken."""

OUTPUT = "output"
"""File that takes what an agent prints."""

OUTPUT_KEPT = 2**18
"""Bytes of an agent's output that are looked at: its end, a long JSON object."""

OUTPUT_ROOM = 2**28
"""Bytes of output on the disk at a time; what is older is thrown away."""

NOTES_KEPT = 5000
"""Characters of an agent's notes."""

DETAIL = 2000
"""Characters of it that are kept."""

LAST_LINES = 5
"""Of an agent that failed: where it says what it failed with."""

COMPARED = 2**24
"""Bytes of a file in a clone up to which it is compared by content, else by size."""

MOST_TOKENS = 2**53
"""Of a turn that are believed."""

GIVEN_UP_POLL = 0.2
"""Seconds between looks at whether the night is given up."""

DESCRIPTION_LENGTH = 200
"""Characters of a line of description."""

RATE_LIMITED = re.compile(
    r"rate.?limit|too many requests|\b429\b|\b529\b|overloaded|usage limit|quota exceeded"
    r"|limit reached|hit your .{,20}limit",
    re.I,
)
"""What agents that failed print when their provider makes them wait."""

FAILURE = re.compile(r"\W*((api|http|request) )?(error|fatal|exception)\b", re.I)
"""How the last line of an agent begins that has failed and ends with exit code 0."""

PRESETS = {
    "claude": "claude -p --permission-mode acceptEdits --output-format json",
    "codex": "codex exec --full-auto -",
    "gemini": "gemini --approval-mode auto_edit",
    "opencode": 'opencode run "$(cat "$AUTORL_BRIEF")"',
    "aider": 'aider --yes-always --no-git --message-file "$AUTORL_BRIEF" agent_space/train.py',
    "goose": 'goose run --instructions "$AUTORL_BRIEF"',
}
"""Command lines of known coding agents. All get the brief on standard input and as a file."""

SHELL = "/bin/sh"
"""Runs an agent's command."""

NOT_FOUND = (126, 127)
"""Exit codes of a shell whose command is no program, or is not there."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of one call of an agent.

    Attributes:
      status: how it ended.
      edit: the training file, where it was changed.
      description: one line on it.
      forbidden: other files that it changed; they were not taken.
      detail: what went wrong, or the end of its output.
      seconds: that it took.
      tokens, cost: as it reports them; cost in US dollars.
      repairs: the number of the turn whose edit it was to repair.
      notes: for its next turns; None where it has left them as they were.
    """

    status: Ending
    edit: bytes | None = None
    description: str = ""
    forbidden: tuple[str, ...] = ()
    detail: str = ""
    seconds: float = 0.0
    tokens: int | None = None
    cost: float | None = None
    repairs: int | None = None
    notes: str | None = None


def call(
    command: str,
    root: Path,
    tip: str,
    start: bytes,
    brief: Brief,
    number: int,
    limit: float,
    ending: threading.Event,
) -> Answer:
    """Let an agent work on one edit, in a throwaway clone of the branch.

    Args:
      command: a preset's name, or a shell command.
      root: the checkout; it is not handed out.
      tip: the commit that the clone shows.
      start: the training file that the agent finds.
      brief: on its standard input and in the file `$AUTORL_BRIEF`.
      number: of the turn, in `$AUTORL_TURN`.
      limit: seconds after which it is ended.
      ending: set when the night is given up.

    Raises:
      KeyboardInterrupt: it was.
    """
    with tempfile.TemporaryDirectory(prefix="autorl-agent-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        clone, brief_file = folder / "checkout", folder / "brief.md"
        git.clone(root, tip, clone)
        (clone / EDITABLE).write_bytes(start)
        brief_file.write_text(brief.text, encoding="utf-8", errors="replace")
        brief.lend(root, clone)
        if brief.notes:
            (clone / NOTES).unlink(missing_ok=True)  # a link that somebody has committed
            (clone / NOTES).write_text(brief.notes, encoding="utf-8")
        before = _files(clone)
        begin = time.monotonic()
        shell = PRESETS.get(command, command)
        with open(folder / OUTPUT, "a+b") as output:  # by its name the agent could take it away
            told = {"AUTORL_BRIEF": str(brief_file), "AUTORL_TURN": str(number)}
            variables = {**brief.variables, **told}
            code = _run(shell, root, clone, variables, output, limit, ending)
            text = _end_of(output)
        turn = Answer(
            status=_status(code, text),
            detail=words.plain(text[-DETAIL:]),
            seconds=time.monotonic() - begin,
        )
        try:
            return _outcome(turn, clone, before, start, text)
        except OSError as error:
            reason = f"What it has left cannot be read: {error.strerror}: {error.filename}"
            return dataclasses.replace(turn, status=Ending.FAILED, detail=words.line(reason))


def _run(
    command: str,
    root: Path,
    clone: Path,
    variables: Mapping[str, str],
    output: IO[bytes],
    limit: float,
    ending: threading.Event,
) -> int | None:
    """Run the agent, with its variables and what takes its output; its exit code, None if ended."""
    brief = Path(variables["AUTORL_BRIEF"])
    kept = [sys.executable, "-P", "-m", "harness.system.keeper", str(os.getpid())]
    kept += leash.command([SHELL, "-c", command], root, brief.parent)
    with open(brief, "rb") as stdin:
        agent = subprocess.Popen(
            kept, cwd=clone, stdin=stdin, stdout=output, stderr=subprocess.STDOUT,
            env={**leash.environment(), **sources.python_path(), **variables},
            start_new_session=True,
        )  # fmt: skip
        try:
            return _wait(agent, output, limit, ending)
        finally:
            agent.terminate()
            agent.wait()


def _wait(
    agent: subprocess.Popen, output: IO[bytes], limit: float, ending: threading.Event
) -> int | None:
    """An agent's exit code; None where its time is up."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if ending.is_set():
            raise KeyboardInterrupt
        with contextlib.suppress(subprocess.TimeoutExpired):
            return agent.wait(timeout=GIVEN_UP_POLL)
        if os.fstat(output.fileno()).st_size > OUTPUT_ROOM:
            os.ftruncate(output.fileno(), 0)  # it is open for appending: the agent goes on at 0
    return None


def _end_of(output: IO[bytes]) -> str:
    """The end of what an agent has printed."""
    output.seek(max(output.seek(0, os.SEEK_END) - OUTPUT_KEPT, 0))
    return words.decoded(output.read())


def _status(code: int | None, text: str) -> Ending:
    """How a turn without an edit has ended."""
    if code is None:
        return Ending.HUNG
    report, last = _report(text), _lines(text)[-LAST_LINES:]
    if not (code or report.get("failed") or (last and FAILURE.match(last[-1]))):
        return Ending.NO_EDIT
    if code in NOT_FOUND:
        return Ending.ABSENT
    said = report.get("result") or "\n".join(last)
    return Ending.WAITING if RATE_LIMITED.search(said) else Ending.FAILED


def _outcome(turn: Answer, clone: Path, before: dict[str, str], start: bytes, text: str) -> Answer:
    """What a turn, as it is without an edit, came to with what the agent has left.

    Raises:
      OSError: the training file cannot be read, or the clone is gone.
    """
    if not stat.S_ISDIR(os.lstat(clone).st_mode):
        raise NotADirectoryError(0, "no folder", str(clone))
    after = _files(clone)
    forbidden = sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
    report = _report(text)
    turn = dataclasses.replace(
        turn,
        description=_description(clone, report.get("result") or text),
        forbidden=tuple(words.line(path) for path in forbidden if path not in OWN),
        notes=_notes(clone) if NOTES in forbidden else None,
        tokens=report.get("tokens"),
        cost=report.get("cost"),
    )
    try:
        edit = _content(clone / EDITABLE, syntax.MAX_BYTES + 1)
    except FileNotFoundError:
        return turn
    if edit is None or edit == start:
        return turn
    if fault := syntax.fault(edit):
        kept = edit if len(edit) <= syntax.MAX_BYTES else None
        detail = f"{EDITABLE}: {fault}"
        return dataclasses.replace(turn, status=Ending.BROKEN, edit=kept, detail=detail)
    return dataclasses.replace(turn, status=Ending.EDITED, edit=edit)


def _files(clone: Path) -> dict[str, str]:
    """What is in a clone, by path. Without git: an agent may have set up its own."""
    found = {}
    for folder, folders, names in os.walk(clone):
        folders[:] = [name for name in folders if name not in LITTER]
        for name in set(names) - LITTER:
            path = Path(folder, name)
            found[str(path.relative_to(clone))] = _identity(path)
    return found


def _identity(path: Path) -> str:
    """What changes with a file; links are not followed, and only files are read."""
    try:
        kind = os.lstat(path)
        if stat.S_ISLNK(kind.st_mode):
            return f"link to {os.readlink(path)}"
        if not stat.S_ISREG(kind.st_mode):
            return "neither file nor folder"
        if kind.st_size > COMPARED:
            return f"{kind.st_size} bytes"
        content = _content(path, COMPARED)
        return hashlib.sha256(content or b"").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _content(path: Path, most: int) -> bytes | None:
    """The beginning of a file; None where it is a link, or something else than a file.

    Args:
      path: that may be of any kind.
      most: bytes that are read.

    Raises:
      OSError: there is none, or it cannot be read.
    """
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return None
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read(most)


def _description(clone: Path, text: str) -> str:
    """The agent's line on its edit."""
    said = b""
    with contextlib.suppress(OSError):
        said = _content(clone / DESCRIPTION, OUTPUT_KEPT) or b""
    lines = _lines(words.decoded(said))[:1] or _lines(text)[-1:]
    return lines[0][:DESCRIPTION_LENGTH] if lines else ""


def _notes(clone: Path) -> str | None:
    """The agent's notes, as they may be shown; None where it has taken them away."""
    with contextlib.suppress(OSError):
        if (said := _content(clone / NOTES, OUTPUT_KEPT)) is not None:
            return words.plain(words.decoded(said))[:NOTES_KEPT]
    return None


def _lines(text: str) -> list[str]:
    """The lines of a text that say something."""
    return [said for one in words.plain(text).split("\n") if (said := words.line(one))]


def _report(text: str) -> dict[str, Any]:
    """What an agent says that ends with a JSON object; nothing where it does not.

    Returns:
      result: its last words; failed: whether it calls itself failed; tokens, cost: None where it
      does not say, or says nonsense.
    """
    try:
        said = json.loads(text.strip().split("\n")[-1])
        usage = said.get("usage") or {}
        counts = [v for k, v in usage.items() if k.endswith("_tokens") and type(v) is int]
        tokens = sum(count for count in counts if count > 0)
        cost = float(said.get("total_cost_usd") or "nan")
    except (ValueError, AttributeError, TypeError, RecursionError, OverflowError):
        return {}
    return {
        "result": str(said.get("result") or ""),
        "failed": said.get("is_error") is True,
        "tokens": tokens if 0 < tokens < MOST_TOKENS else None,
        "cost": cost if math.isfinite(cost) and cost > 0 else None,
    }


def complaint(command: str, others: Sequence[str] = ()) -> str:
    """Why an agent cannot be called at all, with the next step; empty where it can be tried.

    Args:
      command: a preset's name, or a shell command.
      others: names, beside the presets', that may have been meant.
    """
    shell = PRESETS.get(command, command)
    try:
        checked = subprocess.run([SHELL, "-n", "-c", shell], capture_output=True, check=False)
    except ValueError:
        return "The agent's command holds a NUL byte."
    if checked.returncode:
        said = words.line(words.decoded(checked.stderr))
        return f"The agent's command is none that a shell understands: {said}"
    program = _program(shell)
    if not program or _is_there(program):
        return ""
    if command in PRESETS:
        return f"The agent {command} needs the program {program}, which is not installed."
    near = difflib.get_close_matches(program, [*PRESETS, *others], n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return (
        f"The agent's command begins with {words.line(program)!r}, and there is no such program "
        f"here.{meant} --list-agents prints the presets; anything else is a shell command."
    )


def _program(shell: str) -> str:
    """The first word of a shell command that is no assignment; empty where only a shell can say."""
    lexer = shlex.shlex(shell, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        for word in lexer:
            if not re.match(r"\w+=", word):
                return "" if re.search(r"[$`*?\[(){}<>|&;~]", word) else word
    except ValueError:
        pass
    return ""


def _is_there(program: str) -> bool:
    """Whether a shell would find a program, or knows the word itself."""
    asked = [SHELL, "-c", 'command -v -- "$0"', program]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0
