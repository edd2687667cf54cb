"""The documentation: every command in it exists, with every option that it gives."""

import importlib
import json
import re
import shlex
import subprocess
import sys

import pytest
import typer

from harness.places import EDITABLE
from tests.conftest import ROOT

PAGES = ["README.md", "CONTRIBUTING.md", "program.md", *sorted(
    str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))]  # fmt: skip


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
