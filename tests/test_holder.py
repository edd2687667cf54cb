"""One command at a time works in a checkout, and whoever waits is told for whom."""

import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from harness import places
from harness.checkout import holder
from harness.errors import BusyError
from tests.conftest import ROOT, TRAIN_FILES, command


def test_a_second_one_is_told_who_is_at_work_and_since_when(tmp_path):
    with holder.hold(tmp_path):
        words = rf"process {os.getpid()}, since 20\d\d-"
        with pytest.raises(BusyError, match=words) as raised, holder.hold(tmp_path):
            pass
        assert "pytest" in str(raised.value)  # the command, as it was typed
        with holder.hold(tmp_path.parent):
            pass  # another checkout is another matter
    with holder.hold(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_checkout_whose_note_was_removed_is_held_all_the_same(tmp_path):
    with holder.hold(tmp_path):
        (tmp_path / places.HOLDER).unlink()
        with pytest.raises(BusyError, match="Another command is at work"), holder.hold(tmp_path):
            pass
    with holder.hold(tmp_path):
        pass


def test_all_threads_of_the_holder_may_work_and_none_of_them_twice(tmp_path):
    refused = []

    def another():
        try:
            with holder.hold(tmp_path):
                pass
        except BusyError as error:
            refused.append(error)

    with holder.hold(tmp_path):
        threads = [threading.Thread(target=another) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(refused) == 3


def test_a_checkout_is_free_when_its_holder_is_killed(tmp_path):
    code = (
        "import sys, pathlib; from harness.checkout import holder\n"
        "with holder.hold(pathlib.Path.cwd()): print('held', flush=True); sys.stdin.read()"
    )
    held = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert held.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=f"kill {held.pid}"), holder.hold(tmp_path):
        pass
    held.send_signal(signal.SIGKILL)
    held.wait()
    assert (tmp_path / places.HOLDER).exists()
    with holder.hold(tmp_path):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["harness.run", "--train", str(TRAIN_FILES / "honest.py")],
        ["harness.run", "--init", "one"],
        ["harness.loop", "--agent", "true"],
    ],
)
def test_commands_that_measure_are_refused_with_an_exit_code_of_their_own(checkout, arguments):
    with holder.hold(checkout):
        done = command(checkout, *arguments)
    assert done.returncode == 9
    assert "is at work in" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout / "results.tsv").exists()
    assert not (checkout / "runs").exists()


def test_commands_that_read_go_on(checkout):
    with holder.hold(checkout):
        done = command(checkout, "harness.verify")
    assert done.returncode == 0, done.stderr


def test_who_is_at_work_can_be_asked_and_keeps_nobody_from_work(tmp_path):
    assert holder.at_work(tmp_path) == ""
    with holder.hold(tmp_path):
        assert f"(process {os.getpid()}, since" in holder.at_work(tmp_path)
        (tmp_path / places.HOLDER).write_text("\x1b[2J")
        assert holder.at_work(tmp_path) == "Another command"
    looking = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)  # as a look does, for a moment
    threading.Timer(holder.LOOK / 4, os.close, (looking,)).start()
    with holder.hold(tmp_path):
        pass
