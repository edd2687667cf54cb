"""Several runs at a time: nothing is lost or shared, and a worker's death costs one run."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from unittest import mock

import psutil
import pytest

from harness.checkout.beginning import create
from harness.contract.order import Assignment, Order
from harness.errors import HarnessError, InputError, WorkerError
from harness.judgement import search
from harness.judgement.contest import Contest
from harness.judgement.rulings import LOSSES
from harness.measurement import claims, cluster
from harness.measurement.cluster import Crew, Room
from harness.measurement.sites import Site
from harness.night.turns import Night
from harness.places import EDITABLE, LEDGER, TRAIN_FILE
from harness.record.entries import Plan
from harness.record.ledger import Ledger
from tests.conftest import HALF_CHEETAH, TRAIN_FILES, command, git, rows, turns
from tests.fake_site import FakeSite
from tests.test_branch import refs

SLOTS = 4
ATTEMPTS = 3  # to start a cluster: its port may be taken between the look and the start


@pytest.fixture
def site():
    """A place with several slots, where a measurement takes its time."""
    free = threading.Semaphore(SLOTS)  # as with a crew: what finds no free slot waits for one
    made = FakeSite(SLOTS, "test")

    def takes_time(row):
        with free:
            time.sleep(0.01)

    made.before = takes_time
    return made


@pytest.fixture
def ongoing(root, site):
    """A branch in that place."""
    return Contest(create(root, "night"), HALF_CHEETAH, "none", site=site)


def test_the_baseline_is_measured_in_all_slots_at_a_time(root, ongoing, site):
    first = iter(range(SLOTS))
    all_there = threading.Barrier(SLOTS, timeout=60)

    def together(row):
        if next(first, None) is not None:
            all_there.wait()

    site.before = together
    assert len(ongoing.measure()) == search.BASELINE_RUNS == len(rows(root))
    numbers = {i + 1 for i in range(search.BASELINE_RUNS)}
    assert {row.replicate for row in rows(root)} == numbers


@pytest.mark.slow
def test_a_night_in_several_slots_ends_with_everything_in_the_ledger(root, ongoing):
    """Every edit is five better than the incumbent that the agent was shown."""
    agent = (
        f'read _ _ skill _ < {EDITABLE}; echo "SKILL = $((skill + 5)) # $AUTORL_TURN" > {EDITABLE}'
    )
    Night(ongoing, Plan(agent, 1.0, 80, 60.0)).run()
    Ledger(root / LEDGER).check()
    made = turns(root)
    assert [turn.number for turn in made] == [i + 1 for i in range(len(made))]
    ended = [row for row in rows(root) if row.role == "challenger" and row.verdict.final]
    assert {row.challenger for row in ended} == {turn.challenger for turn in made}
    kept = [row for row in rows(root) if row.verdict == "keep"]
    assert len(kept) >= 2
    branch = ongoing.branch
    assert branch.trials() == []
    assert branch.edit_of("tip") == branch.edit_of(kept[-1].challenger)
    assert branch.edit() == branch.edit_of("lead")
    pairs = zip(branch.steps(), ongoing.read().progress().stack, strict=True)
    assert all(any(one.startswith(name) for one in step) for step, name in pairs)
    skills = [float(branch.edit_of(row.challenger).split()[2]) for row in kept]
    assert skills == sorted(skills)
    assert len(ongoing.measure()) >= search.ESTIMATE_RUNS
    assert ongoing.settle() == []


@pytest.mark.slow
def test_other_hardware_measures_its_incumbent_anew(root, ongoing):
    ongoing.measure()
    elsewhere = Contest(ongoing.branch, HALF_CHEETAH, "none", site=FakeSite(1, "bigger"))
    assert elsewhere.read().fresh() == []
    assert len(elsewhere.measure()) == search.BASELINE_RUNS
    assert len(rows(root)) == 2 * search.BASELINE_RUNS
    assert len(ongoing.read().fresh()) == search.BASELINE_RUNS


@pytest.mark.parametrize("deaths", [1, LOSSES])
def test_a_run_whose_worker_died_is_made_again_but_not_for_ever(root, ongoing, site, deaths):
    ongoing.measure()
    died = []

    def dies(row):
        if len(died) < deaths:
            died.append(row)
            raise WorkerError("The worker died.")

    site.before = dies
    (root / EDITABLE).write_text("SKILL = 9\n")
    if deaths < LOSSES:
        assert ongoing.challenge("better").verdict == "accept"
    else:
        with pytest.raises(WorkerError):
            ongoing.challenge("eats all memory")
        assert "cut off too often: 3 times, the last one as lost" in rows(root)[-1].reason
        assert len(refs(root)) == 1
    assert sum(row.status == "lost" for row in rows(root)) == (deaths if deaths < LOSSES else 2) + (
        deaths == LOSSES
    )


def test_a_baseline_that_only_kills_workers_ends_the_night(ongoing, site):
    def dies(row):
        raise WorkerError("The worker died.")

    site.before = dies
    with pytest.raises(WorkerError):
        ongoing.measure()


def test_an_error_in_one_slot_ends_the_others(root, ongoing, site, monkeypatch):
    ongoing.measure()
    monkeypatch.setattr(ongoing, "pursue", lambda *arguments: 1 / 0)
    agent = f'echo "SKILL = $AUTORL_TURN" > {EDITABLE}'
    with pytest.raises(ZeroDivisionError):
        Night(ongoing, Plan(agent, 1.0, 80, 60.0)).run()
    assert site.stopped


def test_no_core_is_claimed_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(claims.tempfile, "gettempdir", lambda: str(tmp_path))
    there = len(os.sched_getaffinity(0))
    held = [claims.claim(1, patience=0) for _ in range(there)]
    assert len({core for one in held for core in one}) == there
    with pytest.raises(InputError, match="0 are free"):
        claims.claim(1, patience=0)
    for one in held:
        for lock in one.values():
            lock.release()
    assert len(claims.claim(there, patience=0)) == there


@pytest.mark.parametrize(
    ("resources", "cores", "expected"),
    [
        ({"CPU": 16.0}, None, Room("n", 8, 2, 0)),
        ({"CPU": 16.0}, 5, Room("n", 3, 5, 0)),
        ({"CPU": 16.0, "GPU": 4.0}, None, Room("n", 4, 4, 1)),
        ({"CPU": 16.0, "GPU": 4.0}, 8, Room("n", 2, 8, 1)),
        ({"memory": 1.0}, None, Room("n", 0, 2, 0)),
    ],
)
def test_a_machine_has_a_worker_for_each_gpu_or_for_so_many_cores(resources, cores, expected):
    assert cluster.room({"NodeID": "n", "Resources": resources}, cores) == expected


def ray(*arguments, check=True):
    """The command `ray`; an error carries what it said."""
    subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *arguments],
        check=check, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
    )  # fmt: skip


def start_two_nodes():
    """A Ray cluster of two nodes on this machine, without its network: the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    node = ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--disable-usage-stats"]
    ray("start", "--head", f"--port={port}", "--include-dashboard=false", *node)
    ray("start", f"--address=127.0.0.1:{port}", *node)
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def address():
    """A Ray cluster; what Ray said where it does not start."""
    if any(process.info["name"] == "raylet" for process in psutil.process_iter(["name"])):
        pytest.skip("somebody else's Ray runs here, and these tests end every one")
    said = ""
    for _ in range(ATTEMPTS):
        try:
            found = start_two_nodes()
        except subprocess.SubprocessError as error:
            said = f"{error}: {error.output}"
            ray("stop", "--force", check=False)
        else:
            yield found
            ray("stop", "--force", check=False)
            return
    pytest.fail(said)


@pytest.fixture
def checkout(tmp_path):
    """A committed checkout whose training file is quick."""
    (tmp_path / "agent_space").mkdir()
    (tmp_path / EDITABLE).write_bytes((TRAIN_FILES / "honest.py").read_bytes())
    (tmp_path / "program.md").write_text("# Be bold\n")
    (tmp_path / ".gitignore").write_text("/runs/\n/results.tsv\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "start")):
        git(tmp_path, *arguments)
    return tmp_path


def kill_a_worker(folder):
    """SIGKILL for a worker that trains, once the first run has arrived."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        arrived = (folder / LEDGER).exists() and rows(folder)
        for worker in psutil.process_iter(["name"]):
            if worker.info["name"].startswith("ray::Worker") and arrived and worker.children():
                worker.send_signal(signal.SIGKILL)
                return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_night_on_a_cluster_of_two_nodes_survives_the_death_of_a_worker(address, checkout):
    killer = threading.Thread(target=kill_a_worker, args=(checkout,))
    killer.start()
    agent = f"sed -i 's/action_size, 0.1/action_size, 0.'$AUTORL_TURN'/' {EDITABLE}"
    done = command(
        checkout, "harness.loop", "--agent", agent, "--budget", 2, "--max-runs", 3,
        "--tag", "night", "--ray", address, "--cores", 1,
    )  # fmt: skip
    killer.join()
    assert done.returncode == 0, done.stderr
    lost = [row for row in rows(checkout) if row.status == "lost"]
    assert len(lost) == 1
    baseline = [r for r in rows(checkout) if r.commit == r.challenger and r.role == "incumbent"]
    assert sum(row.scored for row in baseline) >= search.BASELINE_RUNS
    assert {row.harness.split(" ", 1)[1].split("x ")[0] for row in rows(checkout)} == {"1"}
    for row in rows(checkout):
        if row.scored:
            folder = checkout / "runs" / row.run_id
            assert {"train.py", "train.log", "curve.csv", "policy", "summary.json"} <= {
                path.name for path in folder.iterdir()
            }
    done = command(checkout, "harness.verify", baseline[-1].run_id)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "1000"], "this process may use"),
        (["--workers", "2", "--ray", "127.0.0.1:1"], "give one of them"),
        (["--cores", "2"], "--cores needs --ray"),
    ],
)
def test_workers_that_cannot_be_get_one_message(checkout, arguments, message):
    done = command(checkout, "harness.loop", "--agent", "true", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (checkout / "results.tsv").exists()


def test_a_cluster_of_our_own_joins_no_other_and_asks_for_a_secret(monkeypatch, tmp_path):
    """Whoever reaches its port without the token runs nothing on it; Ray sees to that."""
    begun = []
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(cluster.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cluster, "_site", lambda ray, cores: Site("test", 1, None))

    def begin(root, **options):
        names = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
        begun.append((options["address"], *(os.environ[name] for name in names)))

    monkeypatch.setattr(cluster, "_init", begin)
    for _ in range(2):
        cluster.local(1, tmp_path)
    assert {(address, mode) for address, mode, _ in begun} == {("local", "token")}
    first, second = (token for _, _, token in begun)
    assert first != second
    assert len(first) == 2 * cluster.SECRET_BYTES


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.0.0.5:6379", "No Ray cluster is reached at 10.0.0.5:6379: no port"),
        (cluster.LOCAL, "Ray does not start here: no port"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_as_what_it_was(monkeypatch, tmp_path, address, said):
    def refuses(**options):
        raise ConnectionError("no \x1b[31mport")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=refuses))
    with pytest.raises(InputError, match=said):
        cluster._init(tmp_path, address=address)


ORDER = Order(Assignment("Hopper-v5", "native", 0, 1.0), 1, "none")
GOOD = {"train.log": b"", "curve.csv": b"x", "policy/params.npz": b"x"}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        (None, {}),
        (HarnessError("x"), []),
        (HarnessError("x"), {**GOOD, "../../../x": b""}),
        (HarnessError("x"), {**GOOD, "/tmp/x": b""}),
        (HarnessError("x"), {**GOOD, "policy/../../x": b""}),
        (HarnessError("x"), {**GOOD, "policy/..": b""}),
        (HarnessError("x"), {**GOOD, "train.py": b""}),
        (HarnessError("x"), {**GOOD, "summary.json": b"{}"}),
        (HarnessError("x"), {**GOOD, "train.log\n": b""}),
        (HarnessError("x"), {**GOOD, "train.log": "text"}),
        (HarnessError("x"), {**GOOD, 7: b""}),
        (HarnessError("x"), {f"policy/{i}": b"" for i in range(1000)}),
    ],
)
def test_an_answer_that_no_worker_of_ours_gives_is_refused(tmp_path, monkeypatch, answer):
    """A machine that was taken over writes no file of its choice, and loses its place."""
    crew = lonely_crew(monkeypatch, lambda _: answer)
    (tmp_path / TRAIN_FILE).write_text("mine")
    with pytest.raises(InputError, match="All workers are gone"):
        crew.measure(ORDER, tmp_path, tmp_path, None, None)
    crew._ray.kill.assert_called_once()
    assert [path.name for path in tmp_path.iterdir()] == [TRAIN_FILE]
    assert (tmp_path / TRAIN_FILE).read_text() == "mine"


def test_the_files_of_an_answer_are_those_of_the_run(tmp_path, monkeypatch):
    crew = lonely_crew(monkeypatch, lambda _: (HarnessError("as it went"), GOOD))
    (tmp_path / TRAIN_FILE).write_text("")
    with pytest.raises(HarnessError, match="as it went"):
        crew.measure(ORDER, tmp_path, tmp_path, None, None)
    for name, content in GOOD.items():
        assert (tmp_path / name).read_bytes() == content


def lonely_crew(monkeypatch, get):
    """A crew of one worker, whose answers `get` gives."""

    class RayError(Exception):
        """As Ray's."""

    kinds = SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=RayError)
    monkeypatch.setattr(Crew, "__init__", lambda self: None)
    monkeypatch.setattr(Crew, "_recruit", lambda self: None)
    crew, worker = Crew(), mock.Mock()
    crew._ray = SimpleNamespace(get=get, exceptions=kinds, kill=mock.Mock())
    crew._workers, crew._free = {worker: "node"}, queue.Queue()
    crew.instrument, crew._stopping, crew._recruiting = "test", False, threading.Lock()
    crew._free.put(worker)
    return crew


def test_when_all_workers_are_gone_nobody_waits_for_one(tmp_path, monkeypatch):
    def dead(_):
        raise crew._ray.exceptions.RayError

    crew = lonely_crew(monkeypatch, dead)
    (tmp_path / TRAIN_FILE).write_text("")
    for _ in range(2):
        with pytest.raises(InputError, match="All workers are gone"):
            crew.measure(ORDER, tmp_path, tmp_path, None, None)


@pytest.mark.slow
def test_nights_with_workers_on_this_machine_measure_with_one_instrument(checkout):
    """Each night's loop runs from another copy of the harness, of which workers know."""
    agent = f"sed -i 's/action_size, 0.[0-9]*/action_size, 0.'$AUTORL_TURN'/' {EDITABLE}"
    begin = (checkout, "harness.loop", "--agent", agent, "--budget", 1, "--workers", 2)
    for more in (("--max-runs", 1, "--tag", "night"), ("--max-runs", 1)):
        done = command(*begin, *more)
        assert done.returncode == 0, done.stderr
    (tool,) = {row.harness for row in rows(checkout)}
    assert "PYTHONPATH" not in tool
