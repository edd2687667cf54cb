"""What an agent may change and see: nothing that decides a score, no policy, no cluster."""

import site
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness import places
from harness.confinement import sandbox
from harness.measurement import cluster
from harness.night import agents, brief, leash
from harness.night.brief import Brief
from harness.places import TRAIN_FILE
from tests.conftest import git

needs_bubblewrap = pytest.mark.skipif(
    not sandbox.works(sandbox.BUBBLEWRAP), reason="needs Debian's package bubblewrap"
)


@pytest.fixture
def on_the_leash(root, tmp_path):
    """What a shell command says under the leash of this checkout, in a folder of its own."""
    own = tmp_path / "own"
    own.mkdir()

    def run(command):
        done = subprocess.run(
            leash.command(["sh", "-c", command], root, own), cwd=own, check=False,
            env=leash.environment(), capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


@needs_bubblewrap
def test_an_agent_cannot_change_what_decides_a_score(root, on_the_leash):
    """Also not as root, who could mount it anew; its own folder is its own."""
    places.state_folder().mkdir(exist_ok=True)
    installed = [path for path in map(Path, site.getsitepackages()) if path.is_dir()]
    kept = [
        root, root / ".git", places.state_folder(), places.PACKAGE, Path(sys.prefix),
        Path(sys.base_prefix), *installed, Path("/usr/bin"), Path("/etc"),
    ]  # fmt: skip
    assert installed
    for place in kept:
        said = on_the_leash(f"mount -o remount,bind,rw {place}; echo > {place}/evil")
        written = (place / "evil").exists()
        (place / "evil").unlink(missing_ok=True)
        assert "Read-only" in said
        assert not written, place
    assert on_the_leash("echo mine > file && cat file") == "mine\n"


@needs_bubblewrap
def test_the_repository_of_a_linked_worktree_is_kept_too(root, tmp_path):
    linked = tmp_path / "linked"
    git(root, "worktree", "add", "-q", "--detach", str(linked))
    own = tmp_path / "own"
    own.mkdir()
    attempt = leash.command(["sh", "-c", f"echo > {root}/.git/evil"], linked, own)
    done = subprocess.run(attempt, capture_output=True, check=False)
    assert b"Read-only" in done.stderr
    assert not (root / ".git" / "evil").exists()


@needs_bubblewrap
def test_an_agent_sees_no_policy_neither_of_a_run_nor_of_one_under_way(root, on_the_leash):
    policy = root / "runs" / "20260101-000000-a" / "policy"
    policy.mkdir(parents=True)
    (policy / "params.npz").write_text("weights")
    with tempfile.TemporaryDirectory(prefix="autorl-run-") as under_way:
        Path(under_way, "policy").write_text("weights")
        assert Path(under_way, "policy").read_text() == policy.joinpath("params.npz").read_text()
        said = on_the_leash(f"cat {policy}/* {under_way}/*; ls {root}/runs | wc -l")
    assert "weights" not in said
    assert said.splitlines()[0] == "0"


@needs_bubblewrap
def test_what_a_worker_begins_later_is_hidden_too(root, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary" / "own").mkdir(parents=True)
    place = cluster.under_way()
    own = tmp_path / "temporary" / "own"
    shell = f"touch ready; while [ ! -e go ]; do sleep 0.01; done; cat {place}/later/policy"
    agent = subprocess.Popen(
        leash.command(["sh", "-c", shell], root, own), cwd=own, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    while not (own / "ready").exists():
        assert agent.poll() is None
    (place / "later").mkdir()
    (place / "later" / "policy").write_text("weights")
    (own / "go").touch()
    assert b"No such file" in agent.communicate(timeout=60)[0]


def test_the_token_of_a_cluster_is_none_of_an_agent_s(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "the agent's")
    assert "secret" not in leash.environment().values()
    assert leash.environment()["ANTHROPIC_API_KEY"] == "the agent's"


def test_an_agent_s_python_is_the_one_with_the_installed_packages(on_the_leash):
    said = on_the_leash("python -c 'import sys, jax; print(sys.prefix)'")
    assert said == f"{sys.prefix}\n"


def test_where_there_is_no_environment_the_order_of_programs_stays(monkeypatch):
    monkeypatch.setenv("PATH", "/mine:/usr/bin")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert leash.environment()["PATH"] == "/mine:/usr/bin"


def test_an_agent_gets_curves_and_last_words_and_they_have_no_room_for_weights(root, tmp_path):
    folder = root / "runs" / "20260101-000000-a"
    (folder / "policy").mkdir(parents=True)
    (folder / TRAIN_FILE).write_text("")
    (folder / "curve.csv").write_text("seconds,step\n" + "".join(f"{i},{i}\n" for i in range(5000)))
    (folder / "train.log").write_text("x" * 10**6 + "\n\x1b[31mlast words\n")
    Brief("", (folder.name, "deleted")).lend(root, tmp_path / "clone")
    lent = tmp_path / "clone" / "runs"
    assert [path.name for path in lent.iterdir()] == [folder.name]
    assert {path.name for path in (lent / folder.name).iterdir()} == {"curve.csv", "train.log"}
    lines = (lent / folder.name / "curve.csv").read_text().splitlines()
    assert lines[:2] == ["seconds,step", "24,24"]
    assert lines[-1] == "4999,4999"
    assert len(lines) == brief.CURVE_LINES + 1
    assert (lent / folder.name / "train.log").read_text().endswith("\nlast words")
    assert (lent / folder.name / "train.log").stat().st_size < 30_000


def test_what_an_agent_was_lent_is_not_called_its_change(root):
    folder = root / "runs" / "20260101-000000-a"
    folder.mkdir(parents=True)
    (folder / "curve.csv").write_text("seconds,step\n1,1\n")
    (folder / "train.log").write_text("")
    lent = Brief("", (folder.name,))
    made = agents.call("cat runs/*/curve.csv; rm -r runs", root, "HEAD", b"", lent, 1, 60.0,
                       agents.threading.Event())  # fmt: skip
    assert "1,1" in made.detail
    assert made.forbidden == ()
