"""Coding agents: commands that read a brief and edit one file in a folder of their own."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from harness import git, processes, sandbox
from harness.integrity import EDITABLE

DESCRIPTION = "DESCRIPTION"
"""File in which an agent leaves one line on its edit; else the last line that it prints is it."""

LITTER = {".git", ".venv", "__pycache__", "runs", "build"}
"""Folders in a clone that tools fill and that are never taken."""

OUTPUT = "output"
"""File that takes what an agent prints."""

OUTPUT_KEPT = 20_000
"""Characters of an agent's output that are looked at: its end."""

POLL = 0.2
"""Seconds between looks at whether the night is given up."""

DESCRIPTION_LENGTH = 200
"""Characters of a line of description."""

RATE_LIMITED = re.compile(
    r"rate.?limit|too many requests|\b429\b|\b529\b|overloaded|usage limit|quota exceeded", re.I
)
"""What agents print when their provider makes them wait."""

PRESETS = {
    "claude": "claude -p --permission-mode acceptEdits --output-format json",
    "codex": "codex exec --full-auto -",
    "gemini": "gemini --approval-mode auto_edit",
    "opencode": 'opencode run "$(cat "$AUTORL_BRIEF")"',
    "aider": 'aider --yes-always --no-git --message-file "$AUTORL_BRIEF" agent_space/train.py',
    "goose": 'goose run --instructions "$AUTORL_BRIEF"',
}
"""Command lines of known coding agents. All get the brief on standard input and as a file."""

EDITED, NO_EDIT, HUNG, FAILED, WAITING, BROKEN = (
    "edit", "no-edit", "hung", "agent-crash", "rate-limited", "broken"
)  # fmt: skip
"""How a turn ends. `broken` is an edit that is no Python."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """What came of one call of an agent.

    Attributes:
      status: one of those above.
      edit: the training file, where it was changed.
      description: one line on it.
      forbidden: other files that it changed; they were not taken.
      detail: what went wrong, or the end of its output.
      seconds: that it took.
      tokens, cost: as it reports them; cost in US dollars.
      repairs: the number of the turn whose edit it was to repair.
    """

    status: str
    edit: bytes | None = None
    description: str = ""
    forbidden: tuple[str, ...] = ()
    detail: str = ""
    seconds: float = 0.0
    tokens: int | None = None
    cost: float | None = None
    repairs: int | None = None


def call(
    command: str,
    root: Path,
    tip: str,
    start: bytes,
    brief: str,
    number: int,
    limit: float,
    ending: threading.Event,
) -> Turn:
    """Let an agent work on one edit, in a throwaway clone of the branch.

    Args:
      command: a preset's name, or a shell command.
      root: the checkout; it is not handed out.
      tip: the commit that the clone shows.
      start: the training file that the agent finds.
      brief: Markdown, on its standard input and in the file `$AUTORL_BRIEF`.
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
        brief_file.write_text(brief, encoding="utf-8", errors="replace")
        before = _files(clone)
        begin = time.monotonic()
        shell = PRESETS.get(command, command)
        code = _run(shell, root, clone, brief_file, number, limit, ending)
        seconds = time.monotonic() - begin
        text = (folder / OUTPUT).read_text(errors="replace")[-OUTPUT_KEPT:]
        return _outcome(clone, before, start, code, text, seconds)


def _run(
    command: str,
    root: Path,
    clone: Path,
    brief: Path,
    number: int,
    limit: float,
    ending: threading.Event,
) -> int | None:
    """Run the agent; its exit code, or None where it had to be ended."""
    variables = {"AUTORL_BRIEF": str(brief), "AUTORL_TURN": str(number)}
    kept = [sys.executable, "-P", "-m", "harness.keeper", str(os.getpid())]
    kept += sandbox.leash(["sh", "-c", command], root)
    with open(brief, "rb") as stdin, open(brief.with_name(OUTPUT), "wb") as out:
        agent = subprocess.Popen(
            kept, cwd=clone, stdin=stdin, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, **processes.python_path(), **variables}, start_new_session=True,
        )  # fmt: skip
        try:
            return _wait(agent, limit, ending)
        finally:
            agent.terminate()
            agent.wait()


def _wait(agent: subprocess.Popen, limit: float, ending: threading.Event) -> int | None:
    """An agent's exit code; None where its time is up."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if ending.is_set():
            raise KeyboardInterrupt
        with contextlib.suppress(subprocess.TimeoutExpired):
            return agent.wait(timeout=POLL)
    return None


def _outcome(
    clone: Path, before: dict[str, str], start: bytes, code: int | None, text: str, seconds: float
) -> Turn:
    """What a turn came to, from what the agent left and said."""
    reported = _report(text)
    path = clone / EDITABLE
    edit = path.read_bytes() if path.is_file() and not path.is_symlink() else start
    after = _files(clone)
    forbidden = sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
    turn = Turn(
        status=EDITED,
        edit=edit,
        description=_description(clone, reported.get("result") or text),
        forbidden=tuple(p for p in forbidden if p not in (EDITABLE, DESCRIPTION)),
        detail=text[-2000:],
        seconds=seconds,
        tokens=reported.get("tokens"),
        cost=reported.get("cost"),
    )
    if edit == start:
        status = NO_EDIT
        if code is None:
            status = HUNG
        elif RATE_LIMITED.search(text):
            status = WAITING
        elif code:
            status = FAILED
        return dataclasses.replace(turn, status=status, edit=None)
    try:
        compile(edit, EDITABLE, "exec")
    except (SyntaxError, ValueError) as error:
        return dataclasses.replace(turn, status=BROKEN, detail=f"{EDITABLE}: {error}")
    return turn


def _files(clone: Path) -> dict[str, str]:
    """Hashes of what is in a clone, by path. Without git: an agent may have set up its own."""
    found = {}
    for folder, folders, names in os.walk(clone):
        folders[:] = [name for name in folders if name not in LITTER]
        for path in (Path(folder, name) for name in names):
            if path.is_file():
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[str(path.relative_to(clone))] = digest
    return found


def _description(clone: Path, text: str) -> str:
    """The agent's line on its edit."""
    path = clone / DESCRIPTION
    said = path.read_text(errors="replace") if path.is_file() else ""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    lines = lines[:1] or [line.strip() for line in text.splitlines() if line.strip()][-1:]
    return lines[0][:DESCRIPTION_LENGTH] if lines else ""


def _report(text: str) -> dict:
    """Result, tokens and cost from an agent that ends with a JSON object; else nothing."""
    try:
        said = json.loads(text.strip().splitlines()[-1])
        usage = said.get("usage") or {}
        tokens = sum(v for k, v in usage.items() if k.endswith("_tokens") and isinstance(v, int))
        return {
            "result": str(said.get("result") or ""),
            "tokens": tokens or None,
            "cost": float(said["total_cost_usd"]) if "total_cost_usd" in said else None,
        }
    except (ValueError, IndexError, AttributeError, TypeError):
        return {}


def missing(command: str) -> str | None:
    """The program that a preset needs and that is not there."""
    program = PRESETS.get(command, "").split(" ")[0]
    return program if program and shutil.which(program) is None else None
