"""What a confined process sees; and a confinement that is not there is never done without."""

import ctypes
import json
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.checkout.beginning import create
from harness.confinement import launcher, sandbox, view
from harness.confinement.launcher import Mount
from harness.contract.order import Assignment, Order
from harness.errors import InputError
from harness.judgement import contest, experiment
from harness.judgement.contest import Contest
from harness.judgement.history import Conditions
from harness.measurement import child
from harness.system import machine, programs
from harness.terminal import options
from tests.conftest import HALF_CHEETAH, git

KINDS = [kind for kind in (sandbox.BUBBLEWRAP, sandbox.NAMESPACES) if sandbox.works(kind)]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A folder that is all of PATH but git's, and probes whose answers are not remembered."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("git", "sh", "sleep"):
        (folder / name).symlink_to(shutil.which(name))
    remembered = (sandbox.refusal, programs.find)
    for answers in remembered:
        answers.cache_clear()
    monkeypatch.setenv("PATH", str(folder))
    yield folder
    monkeypatch.undo()
    for answers in remembered:
        answers.cache_clear()


def program(folder, text):
    """A bwrap that does something else."""
    (folder / "bwrap").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bwrap").chmod(0o755)


def test_a_branch_that_was_begun_confined_goes_on_so_or_not_at_all(root, site, path, monkeypatch):
    Contest(create(root, "test"), HALF_CHEETAH, sandbox.BUBBLEWRAP, site=site).measure()
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match=r"begun confined by bubblewrap .* is not installed"):
        contest.resume(root, options.confinement, experiment.run)


def test_a_branch_that_was_begun_free_goes_on_so(root, site, path):
    Contest(create(root, "test"), HALF_CHEETAH, sandbox.NONE, site=site).measure()
    ongoing = contest.resume(root, options.confinement, experiment.run)
    assert ongoing.conditions == Conditions(("HalfCheetah-v5",), ("native",), 1.0, 2, sandbox.NONE)
    assert ongoing.replicates._confinement == sandbox.NONE


def test_what_is_refused_is_not_called_missing(path):
    program(path, 'echo "bwrap: setting up uid map: Permission denied" >&2; exit 1')
    assert sandbox.refusal(sandbox.BUBBLEWRAP) == (
        "confining by bubblewrap fails (bwrap: setting up uid map: Permission denied)"
    )


def test_a_probe_that_does_not_end_says_nothing(path, monkeypatch):
    program(path, "exec sleep 100")
    with monkeypatch.context() as impatient:
        impatient.setattr(sandbox, "PROBE_SECONDS", 0.3)
        with pytest.raises(InputError, match="Try again when the machine is less busy"):
            sandbox.available()
    program(path, "exit 3")
    assert sandbox.refusal(sandbox.BUBBLEWRAP) == "confining by bubblewrap fails (exit 3)"


def test_a_record_of_a_confined_run_is_not_played_again_unconfined(monkeypatch):
    monkeypatch.setattr(sandbox, "refusal", lambda kind: "" if kind == "none" else "it is gone")
    assert sandbox.as_safe_as(sandbox.NONE) == sandbox.NONE
    with pytest.raises(InputError, match=r"begun confined by namespaces .* it is gone"):
        sandbox.as_safe_as(sandbox.NAMESPACES)


def sees(mounts, path):
    """Whether a path is in sight, by the mount that it lies in."""
    made = {mount.path: mount.action for mount in view.arranged(mounts)}
    places = (str(place) for place in (Path(path), *Path(path).parents))
    return next((made[place] for place in places if place in made), "") in ("show", "write")


@pytest.fixture
def files(tmp_path):
    """Makes files in a folder, each with its name as content."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        return tmp_path

    return make


def test_of_a_checkout_is_seen_the_package_of_the_task_without_what_git_ignores(files):
    root = files("my_task/__init__.py", "my_task/assets/body.xml", "my_task/assets/kept.bin",
                 "agent_space/train.py", "runs/1/policy", "results.tsv", "odd/weights",
                 "program.md", "other.py", "tests/trained/x", "tests/test.py")  # fmt: skip
    (root / ".gitignore").write_text("/runs/\n/results.tsv\n/odd/\n*.bin\n")
    git(root, "init", "-q")
    seen = view.checkout(root, "my_task.envs:X-v0")
    for name in ("my_task/__init__.py", "my_task/assets/body.xml"):
        assert sees(seen, root / name), name
    for name in ("my_task/assets/kept.bin", "runs/1/policy", "results.tsv", "odd/weights",
                 "agent_space/train.py", "program.md", "other.py", "tests/test.py",
                 ".git/HEAD"):  # fmt: skip
        assert not sees(seen, root / name), name
    assert sees(view.checkout(root, "other:X-v0"), root / "other.py")
    assert sees(view.checkout(root, "tests.x:X-v0"), root / "tests/test.py")
    assert not sees(view.checkout(root, "tests.x:X-v0"), root / "tests/trained/x")
    assert not any(sees(view.checkout(root, "Hopper-v5"), path) for path in root.iterdir())


def test_without_a_task_s_package_nothing_of_a_checkout_reaches_a_training(files, monkeypatch):
    """Nor what it says in words beside its task: texts, and variables of the shell."""
    root = files("agent_space/train.py", "program.md", "tests/__init__.py", "notes.py")
    monkeypatch.chdir(root)
    names = "LC_NOTE TZ TERM LANG PATH PYTHONHASHSEED VIRTUAL_ENV CUDA_NOTE NVIDIA_NOTE TPU_NOTE"
    for name in (*names.split(), *sandbox.PICTURES):
        monkeypatch.setenv(name, f"{os.environ.get(name, '')}:weights")
    for place in ("", str(root), "."):
        monkeypatch.setenv("PYTHONPATH", place)
        seen = [*view.system(), *view.checkout(root, "Hopper-v5")]
        assert not any(sees(seen, path) for path in root.rglob("*"))
        assert not any("weights" in value for value in sandbox.environment().values())


def test_what_reaches_a_training_from_the_shell_is_recorded(monkeypatch, tmp_path):
    for name in ("JAX_NOTE", "XLA_FLAGS", "OMP_NOTE", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    given = {**sandbox.environment(), "PYTHONPATH": str(tmp_path)}
    told = {one.partition("=")[0]: one.partition("=")[2] for one in machine.variables()}
    assert given.items() - sandbox.FIXED.items() == told.items()


def test_without_git_a_checkout_hides_what_the_harness_writes(files):
    root = files("my_task.py", "runs/1/policy", "results.tsv", "matrix/5/x", "report/index.html",
                 ".ssh/id")  # fmt: skip
    seen = view.checkout(root, "my_task:X-v0")
    assert sees(seen, root / "my_task.py")
    for name in ("runs/1/policy", "results.tsv", "matrix/5/x", "report/index.html", ".ssh/id"):
        assert not sees(seen, root / name), name
        package = name.partition("/")[0]
        if package in view.LEFT_BEHIND:
            assert not sees(view.checkout(root, f"{package}:X-v0"), root / name), name


def test_a_home_is_hidden_wherever_it_is(files, monkeypatch):
    home = files("home/.ssh/id", "home/notes.txt", "home/tool.py", "home/src/my_task.py",
                 "home/src/data.xml") / "home"  # fmt: skip
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", f"{home}{os.pathsep}{home / 'src'}")
    seen = view.system()
    for name in ("tool.py", "src/my_task.py", "src/data.xml"):
        assert sees(seen, home / name), name
    for name in (".ssh/id", "notes.txt"):
        assert not sees([*seen, *view.checkout(home)], home / name), name


def test_the_runs_and_git_directories_of_other_checkouts_are_hidden(files, monkeypatch):
    base = files("main/agent_space/train.py", "main/my_task.py", "main/.gitignore")
    main, tree = base / "main", base / "tree"
    (main / ".gitignore").write_text("/runs/\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-qm", "start"),
                      ("worktree", "add", "-q", str(tree), "-b", "other")):  # fmt: skip
        git(main, *arguments)
    files("main/runs/1/policy", "lone/runs/1/policy", "lone/agent_space/train.py")
    monkeypatch.chdir(tree)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (base, main))))
    seen = [*view.system(), *view.checkout(tree, "my_task:X-v0")]
    assert sees(seen, tree / "my_task.py")
    assert not sees(seen, main / "my_task.py")
    for name in ("main/runs/1/policy", "main/.git/HEAD", "tree/.git", "lone/runs/1/policy"):
        assert not sees(seen, base / name), name


def test_packages_in_development_are_seen_before_anything_imports_them(files, monkeypatch):
    """By a path (`.pth`), and by a finder that the package's own record (PEP 610) tells of."""
    base = files("by_path/first.py", "by_finder/src/second.py", "by_finder/.git/HEAD")
    info = base / "site" / "second-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: second\nVersion: 1\n")
    origin = {"url": (base / "by_finder").as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(base / "site")
    monkeypatch.syspath_prepend(base / "by_path")
    view._editable.cache_clear()
    seen = view.system()
    view._editable.cache_clear()
    assert sees(seen, base / "by_path" / "first.py")
    assert sees(seen, base / "by_finder" / "src" / "second.py")
    assert not sees(seen, base / "by_finder" / ".git" / "HEAD")


def test_what_is_not_ours_to_look_into_is_left_out(monkeypatch):
    assert view.arranged([Mount("folder", "/"), Mount("empty", "/home")]) == []

    def refused(*arguments):
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refused)
    assert not sees(view.checkout(Path("/srv"), "my_task:X"), "/srv/my_task.py")


def test_links_lead_where_they_lead_outside(files):
    base = files("store/python-3.11.9/bin/python").resolve()
    (base / "store" / "python-3.11").symlink_to("python-3.11.9")
    (base / "bin").mkdir()
    (base / "bin" / "python").symlink_to(base / "store/python-3.11/bin/python")
    asked = [Mount("show", str(base / "bin/python")), Mount("fresh", "/tmp")]
    made = [m for m in view.arranged(asked) if m.action != "fresh"]
    assert made == [
        Mount("link", str(base / "bin/python")),
        Mount("link", str(base / "store/python-3.11")),
        Mount("show", str(base / "store/python-3.11.9/bin/python")),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_mounts_does_not_matter_and_links_are_followed(kind, files):
    base = files("seen/file", "seen/hidden/file", "seen/hidden/again/file")
    inner, outer = Mount("show", str(base / "seen/hidden/again")), Mount("show", str(base / "seen"))
    asked = [inner, *view.system(), Mount("empty", str(base / "seen/hidden")), outer]
    (base / "way").symlink_to("seen")
    code = "import glob; print(sorted(glob.glob('**/file', recursive=True)))"
    child = sandbox.start(kind, [sys.executable, "-c", code], asked, {}, base / "way",
                          stdout=subprocess.PIPE)  # fmt: skip
    assert child.communicate()[0] == b"['file', 'hidden/again/file']\n"


NAMES_A_THREAD = """
import threading
number, ready, over = [], threading.Event(), threading.Event()
def work():
    number.append(threading.get_native_id())
    ready.set()
    over.wait()
threading.Thread(target=work, daemon=True).start()
ready.wait()
print(open(f"/proc/self/task/{number[0]}/comm", "w").write("cuda"))
"""
"""As CUDA's driver does when it begins; where it cannot, there is no device."""

CHANGES_THE_MACHINES = """
import os
def works(change, *arguments):
    try:
        change(*arguments)
    except OSError:
        return False
    return True
found = [entry for entry in os.listdir("/proc") if not entry.isdecimal()]
mine = ("self", "thread-self", "net", "mounts")
paths = [f"/proc/{entry}" for entry in found if entry not in mine]
paths += ["/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory", "/proc/sys/fs"]
print([path for path in paths if works(os.utime, path) or works(os.chmod, path, 0o777)])
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("there", [True, False])
def test_where_there_is_an_accelerator_a_process_names_its_threads_and_no_more(
    kind, there, monkeypatch
):
    found = [Path("/dev/null")] if there else []
    monkeypatch.setattr(view, "accelerators", lambda: found)

    def said(code):
        child = sandbox.start(kind, [sys.executable, "-c", code], sandbox.system(), {}, Path("/"),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        out, error = child.communicate()
        return out.decode(), error.decode()

    out, error = said(NAMES_A_THREAD)
    assert out == "4\n" if there else "Read-only file system" in error
    assert said(CHANGES_THE_MACHINES) == ("[]\n", "")


@pytest.mark.skipif(not KINDS, reason="nothing can be confined on this system")
def test_what_a_run_leaves_in_the_page_cache_is_forgotten_before_the_next(tmp_path):
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, check=False)
    if kind.stdout.strip() == b"tmpfs":
        pytest.skip("the files of this system's /tmp are always in memory")
    apart = 64  # pages, beyond what is read ahead
    file, message = tmp_path / "library", [1, 0, 0, 1, 1, 0, 1, 0]
    seen = [*sandbox.system(), Mount("show", str(file))]
    with open(file, "wb+", buffering=0) as opened:
        opened.write(os.urandom(len(message) * apart * mmap.PAGESIZE))
        os.fsync(opened.fileno())
        view.forget(seen[-1:])
        offsets = [i * apart * mmap.PAGESIZE for i, bit in enumerate(message) if bit]
        code = f"import os; f = os.open({str(file)!r}, 0); [os.pread(f, 1, at) for at in {offsets}]"
        assert sandbox.start(KINDS[0], [sys.executable, "-c", code], seen, {}).wait() == 0
        assert _cached(opened)[::apart] == bytes(message)  # nothing refuses to read
        view.forget(seen[-1:])
        assert not any(_cached(opened))


@pytest.mark.skipif(not KINDS, reason="nothing can be confined on this system")
def test_a_long_confined_training_begins_with_cold_files(tmp_path, monkeypatch):
    begun = []
    (tmp_path / "train.py").write_text("")
    monkeypatch.setattr(sandbox, "forget", lambda mounts: begun.append(len(mounts)))
    for budget, kind in ((9.9, KINDS[0]), (10.0, sandbox.NONE), (10.0, KINDS[0])):
        order = Order(Assignment("HalfCheetah-v5", "native", 0, budget), 2, kind)
        child.train(order, tmp_path, tmp_path)
    assert len(begun) == 1
    assert begun[0] > 0


def _cached(file):
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 4, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    size = os.fstat(file.fileno()).st_size
    seen = ctypes.create_string_buffer(size // mmap.PAGESIZE + 1)
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    assert libc.mincore(address, size, seen) == 0
    libc.munmap(address, size)
    return bytes(page & 1 for page in seen.raw[:-1])


def test_a_machine_of_many_cores_has_room_for_a_thread_a_core_in_a_worker_a_core():
    assert launcher.most_processes(2) >= 4096
    assert launcher.most_processes(64) > 64 * 64 + 4096
