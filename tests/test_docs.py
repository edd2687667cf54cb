"""The documentation: every command, file and message in it exists, and its examples run."""

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys

import pytest
import typer

from harness.measurement import instrument
from harness.places import EDITABLE
from harness.system import machine
from harness.tasks import anchors
from tests.conftest import ROOT, summary_block

PAGES = ["README.md", "CONTRIBUTING.md", "program.md", *sorted(
    str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]  # fmt: skip

WIDTH = 120
"""Characters of a line of prose."""

README_LINES = 150
"""What a newcomer reads at once."""

MADE = {
    "results.tsv", "runs/", "NOTES.md", "report/index.html", "run.log", "matrix", "report",
    "harness/tasks/inverted_pendulum_v4.py", "harness/engines/sync.py", "harness/engines/NAME.py",
}  # fmt: skip
"""Paths in the pages that a user makes, or a command."""

OTHERS = {
    "ensurepip is not available", "No module named harness", "No module named 'typer",
    "FileNotFoundError",
    "An NVIDIA GPU may be present on this machine, but a CUDA-enabled jaxlib is not installed",
    "Permission denied", "Network is unreachable", "backend: native", "exact: no",
    "overflow - please increase",
}  # fmt: skip
"""Messages in the page of trouble that are not the harness's, or lines of a result."""


def commands(page):
    """The command lines of a page's code, in blocks and in sentences, without their comments."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```(?:sh|bash)?\n(.*?)^```", text, re.S | re.M)
    spans = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    for line in [line for block in blocks for line in block.splitlines()] + spans:
        try:
            words = shlex.split(" ".join(line.split()), comments=True)
        except ValueError:  # prose, or a picture of a file
            continue
        pairs = zip(["", *words], words, strict=False)
        words = [w for last, w in pairs if w not in ("…", "...") or last.startswith("--")]
        while words and re.fullmatch(r"[A-Z_0-9]+=\S*", words[0]):
            words = words[1:]
        if words and re.fullmatch(r"(.*/)?(python|make|bash|modal)|scripts/\w+\.py", words[0]):
            yield words


def after(words, *marks):
    """What follows the first of some words; None where there is none of them."""
    for i, word in enumerate(words):
        if word in marks:
            return words[i + 1 :]
    return None


HARNESS = [
    (page, words) for page in PAGES for words in commands(page)
    if any(word.startswith("harness.") for word in (after(words, "-m") or ())[:1])
]  # fmt: skip
SCRIPTS = [
    (page, word, words) for page in PAGES for words in commands(page)
    for word in words if re.fullmatch(r"scripts/\w+\.py", word)
]  # fmt: skip
TARGETS = [(page, words) for page in PAGES for words in commands(page) if words[:1] == ["make"]]


def test_there_are_commands_to_look_at():
    assert len(HARNESS) > 20
    assert len(SCRIPTS) > 5
    assert {words[1] for _, words in TARGETS} >= {"run", "test", "lint", "setup"}


@pytest.mark.parametrize(("page", "words"), HARNESS, ids=str)
def test_a_command_of_the_harness_takes_these_options(page, words):
    module, *arguments = after(words, "-m")
    arguments = [a for a in arguments if a not in (">", "2>&1", "run.log")]
    if not arguments or module in ("harness.tasks", "harness.system.keeper"):
        importlib.import_module(module)
        return
    place = importlib.import_module(module)
    function = getattr(place, "main", None) or getattr(place, module.rpartition(".")[2])
    app = typer.Typer()
    app.command()(function)
    arguments = [
        re.sub(r"^<(\w+)>$", r"\1", a).replace("SECONDS", "1").replace("[", "").replace("]", "")
        for a in arguments
    ]
    typer.main.get_command(app).make_context(module, arguments)


@pytest.mark.parametrize(("page", "script", "words"), SCRIPTS, ids=str)
def test_a_script_is_there_and_knows_its_options(page, script, words):
    text = (ROOT / script).read_text()
    options = [w.strip("[]") for w in after(words, script) if w.strip("[").startswith("--")]
    for option in options:
        assert option.partition("=")[0] in text or option.lstrip("-").replace("-", "_") in text


@pytest.mark.parametrize(("page", "words"), TARGETS, ids=str)
def test_make_has_this_target(page, words):
    arguments = [word for word in words[1:] if word != "..."]
    done = subprocess.run(
        ["make", "-n", "PYTHON=python3", *arguments], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted({script for _, script, _ in SCRIPTS}))
def test_a_script_starts_from_a_checkout(script, tmp_path):
    if not re.search(r"argparse|main\(__doc__", (ROOT / script).read_text()):
        pytest.skip("it has no --help")
    done = subprocess.run(
        [sys.executable, ROOT / script, "--help"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_every_published_run_that_was_made_beside_other_changed_files_is_listed():
    folder = ROOT / "docs" / "evidence"
    beside = {
        str(path.parent.relative_to(folder))
        for path in folder.rglob("summary.json")
        for changed in [json.loads(path.read_text()).get("git_diff") or ""]
        if set(re.findall(r"^diff --git a/(\S+)", changed, re.M)) - {EDITABLE}
    }
    listed = re.findall(r"^\| `(\S+)`", (folder / "README.md").read_text(), re.M)
    assert len(listed) == len(set(listed))
    assert set(listed) == beside


def prose(page):
    """The lines of a page that are filled: without code, tables, headings and single long words."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line for line in text.splitlines() if re.match(r"\s*[^\s|#]+ ", line)]


@pytest.mark.parametrize("page", PAGES)
def test_lines_of_prose_have_one_length(page):
    assert [line for line in prose(page) if len(line) > WIDTH] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < README_LINES


def spans(page):
    """What stands in code spans in a page's sentences and tables."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.S | re.M)
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


@pytest.mark.parametrize("page", PAGES)
def test_every_path_of_the_project_in_a_page_exists(page):
    folders = "harness|agent_space|algorithms|peers|scripts|tests|docs"
    named = [
        found.group() for span in spans(page)
        for found in [re.match(rf"({folders})/[\w./-]*\w/?(?![\w*])|\w+\.md", span)] if found
    ]  # fmt: skip
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", (ROOT / page).read_text())
    here = (ROOT / page).parent
    missing = [path for path in {*named} - MADE if not (ROOT / path).exists()]
    assert missing + [link for link in links if not (here / link.partition("#")[0]).exists()] == []


def test_every_page_is_in_the_index():
    index = (ROOT / "README.md").read_text()
    missing = [page for page in PAGES if page.count("/") == 1 and f"`{page}`" not in index]
    assert missing == []
    pages = [page for page in PAGES if page.startswith("docs/evidence/") and page.count("/") == 2]
    cited = "".join((ROOT / page).read_text() for page in PAGES)
    assert [page for page in pages if f"`{page}`" not in cited] == []


def messages():
    """All texts in the harness's code, without what is filled into them."""
    for path in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    yield (ROOT / "Makefile").read_text()


def test_every_message_in_the_page_of_trouble_is_one_of_the_harness():
    text = (ROOT / "docs" / "trouble.md").read_text().partition("## Exit codes")[0]
    first = "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| "))
    parts = {
        part.strip(" .:'") for span in re.findall(r"`([^`]+)`", first) for part in span.split("…")
    }
    known = "\n".join(messages())
    assert len(parts) > 50
    assert [part for part in parts - OTHERS if part and part not in known] == []


@pytest.mark.slow
def test_the_complete_training_file_trains_and_is_scored(harness_run, checkout):
    page = (ROOT / "docs" / "trial.md").read_text()
    name, code = re.search(r"```python\n# (\S+)\n(.*?)```", page, re.DOTALL).groups()
    (checkout / name).write_text(code)
    done = harness_run(
        "--train", name, "--task", "InvertedPendulum-v5", "--budget", 4, "--episodes", 10
    )
    assert done.returncode == 0, done.stderr
    assert (
        float(summary_block(done.stdout)["avg_return"]) > 2 * anchors.RANDOM["InvertedPendulum-v5"]
    )


def test_the_page_of_upgrading_names_all_that_changes_the_instrument():
    page = " ".join((ROOT / "docs" / "upgrading.md").read_text().split())
    rooms, modules, packages = instrument.ROOMS, instrument.MODULES, machine.PACKAGES
    named = [f"`{name}`" for name in (*rooms, *modules) if name != "__init__.py"]
    named += [name for name in packages if not re.match("jax-|libtpu", name)]  # by their devices
    assert [name for name in named if name not in page] == []
