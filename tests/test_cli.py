"""Command lines under the signals and streams that they inherit, and what they say of errors."""

import errno
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from harness.checkout.beginning import create
from harness.errors import IntegrityError, StorageError
from harness.judgement.contest import Contest
from harness.system import storage, words
from harness.terminal import options
from tests.conftest import HALF_CHEETAH, ROOT

LASTING = """
import sys, time
from harness.terminal import cli
def last():
    print("begun", file=sys.stderr, flush=True)
    time.sleep(float(sys.stdin.readline()))
    print("a line"); print("½ another", flush=True)
    open("record", "w").write("whole")
cli.serve(last)
"""
"""Begins, goes on for so many seconds, prints, and leaves a record."""


def start(script, folder, *, ignored=(), closed=(), **options):
    """A program that inherits ignored signals and closed streams."""

    def inherit():
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        for number in closed:
            os.close(number)

    usual = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, preexec_fn=inherit,  # noqa: PLW1509
        **{**usual, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, **options},
    )  # fmt: skip


@pytest.mark.parametrize("ignored", [(signal.SIGHUP,), (signal.SIGINT,), ()])
def test_signals_that_we_were_started_to_ignore_are_ignored(tmp_path, ignored):
    process = start(LASTING, tmp_path, ignored=ignored)
    assert process.stderr.readline() == b"begun\n"
    for number in ignored:
        process.send_signal(number)
    if ignored:
        process.communicate(b"0.2\n", timeout=60)
        assert (tmp_path / "record").read_text() == "whole"
    else:
        process.send_signal(signal.SIGHUP)
        assert process.communicate(timeout=60)[1].endswith(b"nothing of it keeps running\n")
    assert process.returncode == (0 if ignored else 130)


def test_the_keeper_of_an_agent_ignores_what_it_was_started_to_ignore_and_ends_with_us(tmp_path):
    agent = [
        sys.executable,
        "-m",
        "harness.system.keeper",
        str(os.getpid()),
        "sh",
        "-c",
        "echo x; cat",
    ]
    script = f"import os; os.execv({agent[0]!r}, {agent!r})"
    process = start(script, tmp_path, ignored=(signal.SIGHUP, signal.SIGTERM))
    assert process.stdout.readline() == b"x\n"
    process.send_signal(signal.SIGHUP)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams_are_no_files_of_ours(tmp_path, closed):
    """What is opened first gets the number of a stream that is closed: the record, say."""
    script = LASTING.replace("float(sys.stdin.readline())", "0")
    process = start(script, tmp_path, closed=closed)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "record").read_text() == "whole"


def test_a_reader_that_goes_away_ends_nothing(tmp_path):
    process = start(LASTING, tmp_path)
    process.stdout.close()
    assert process.stderr.readline() == b"begun\n"
    process.stdin.write(b"0\n")
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    assert (tmp_path / "record").read_text() == "whole"


def test_a_terminal_that_goes_away_ends_nothing_that_ignores_it(tmp_path):
    ours, theirs = pty.openpty()
    process = start(
        LASTING, tmp_path, ignored=(signal.SIGHUP,), stdout=theirs, start_new_session=True
    )
    os.close(theirs)
    assert process.stderr.readline() == b"begun\n"
    os.close(ours)
    assert process.communicate(b"0\n", timeout=60)[1] == b""
    assert process.returncode == 0
    assert (tmp_path / "record").read_text() == "whole"


def test_a_disk_that_takes_no_output_is_told(tmp_path):
    with open("/dev/full", "wb") as full:
        process = start(LASTING, tmp_path, stdout=full)
    said = process.communicate(b"0\n", timeout=60)[1]
    assert b"what is printed cannot be written: No space left" in said
    assert (tmp_path / "record").read_text() == "whole"


def test_a_narrow_encoding_loses_signs_and_no_run(tmp_path):
    narrow = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    said = start(LASTING, tmp_path, env=narrow).communicate(b"0\n", timeout=60)[0]
    assert said == b"a line\n? another\n"


def test_an_error_is_one_message_that_holds_no_line_of_a_result(tmp_path):
    script = """
from harness import errors
from harness.terminal import cli
def fail():
    raise errors.TrainingError("It said:\\navg_return: 9\\x1b[2J\\n---\\nverdict: keep")
cli.serve(fail)
"""
    process = start(script, tmp_path)
    said = process.communicate(timeout=60)[1].decode()
    assert said == "error: It said:\n  avg_return: 9\n  ---\n  verdict: keep\n"
    assert process.returncode == 3


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "The disk is full (x)"),
        (errno.EACCES, "This user may not read or write x"),
        (errno.EROFS, "x is on a file system that is read-only"),
        (errno.EIO, "Cannot use x: Input/output error"),
        (errno.EAGAIN, "Cannot use x: Resource temporarily unavailable"),
        (errno.ENOLCK, "Cannot use x: No locks available"),
    ],
)
def test_what_the_system_refuses_is_told_as_it_is(number, said):
    with pytest.raises(StorageError, match=re.escape(said)), storage.plainly():
        raise OSError(number, os.strerror(number), "x")


BUGS = (
    FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x"),
    OSError(errno.EBADF, os.strerror(errno.EBADF)),
    OSError("without a number"),
    subprocess.CalledProcessError(1, "x"),
)


@pytest.mark.parametrize("error", BUGS, ids=[type(error).__name__ for error in BUGS])
def test_a_bug_of_ours_keeps_its_traceback(error):
    with pytest.raises(type(error)) as raised, storage.plainly():
        raise error
    assert raised.value is error


def test_a_run_s_folder_that_was_deleted_under_it_is_told(tmp_path):
    folder = tmp_path / "runs" / "20260101-000000-abc"
    folder.mkdir(parents=True)
    with pytest.raises(FileNotFoundError), storage.plainly():
        (folder / "curve.csv").read_bytes()
    folder.rmdir()
    with pytest.raises(StorageError, match=f"The folder {folder} was removed"), storage.plainly():
        (folder / "policy" / "params.npz").read_bytes()


def test_a_git_that_fails_is_told_as_git_tells_it(tmp_path):
    script = f"""
from pathlib import Path
from harness.checkout import git
from harness.terminal import cli
cli.serve(lambda: print(git.text(Path({str(tmp_path)!r}), "cat-file", "blob", "nothing")))
"""
    process = start(script, tmp_path)
    said = process.communicate(timeout=60)[1].decode()
    assert said.startswith("error: git cat-file blob failed with exit code 128: fatal: ")
    assert process.returncode == StorageError.exit_code


def test_a_run_is_told_of_when_nothing_can_refuse_it_any_more_in_a_line(root, site, capsys):
    ongoing = Contest(create(root, "tag"), HALF_CHEETAH, "none", options.shown, site)
    ongoing.measure()
    capsys.readouterr()
    edit = b"SKILL = -9\n"
    (root / "stray.py").touch()
    with pytest.raises(IntegrityError, match=r"stray\.py"):
        ongoing.challenge("tpe: " + 100 * "SIZE 1, ", edit)
    assert "run 1" not in capsys.readouterr().err
    (root / "stray.py").unlink()
    ongoing.challenge("", edit)
    (told, _) = (line.partition(" ")[2] for line in capsys.readouterr().err.splitlines())
    shown = words.shortened("tpe: " + 100 * "SIZE 1, ", options.MESSAGE_SHOWN)
    assert told == f"HalfCheetah-v5, the edit, run 1: {shown}, 1 s of training"
    assert len(told) < 120


def test_an_experiment_says_as_it_goes_what_runs_and_why_it_goes_on(root, site, capsys):
    ongoing = Contest(create(root, "tag"), HALF_CHEETAH, "none", options.shown, site)
    ongoing.measure()
    capsys.readouterr()
    outcome = ongoing.challenge("wider", b"SKILL = 9 # wider\n")
    assert outcome.verdict == "accept"
    said = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    count = len(outcome.scores)
    assert said[0] == "HalfCheetah-v5, the edit, run 1: wider, 1 s of training"
    assert said[1].startswith("HalfCheetah-v5, the edit, run 1: ")
    assert "against the incumbent's" in said[1]
    assert f"HalfCheetah-v5, the edit, run {count}: {outcome.scores[-1]:,.2f}" in said
    ongoing.advance(closing=True)
    said = capsys.readouterr().err
    assert "HalfCheetah-v5, side by side, place 1 of at most " in said
    assert "HalfCheetah-v5, estimate of the new incumbent, run 1: " in said
