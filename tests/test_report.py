"""The report: the same figures as the ledger's, on a page that needs nothing else."""

import base64
import dataclasses
import datetime
import html
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness import report
from harness.checkout.beginning import create
from harness.errors import InputError, LedgerError, TrainingError
from harness.judgement.contest import Contest
from harness.morning import charts, hours, page, reader, standing
from harness.places import EDITABLE, LEDGER
from harness.record.entries import Role, Verdict
from harness.record.ledger import Ledger
from harness.system import words as plain
from scripts.bench_report import write_ledger
from tests import searched as branch
from tests.conftest import HALF_CHEETAH, ROOT, command, rows

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
MAX_BYTES = 10 * 2**20


@pytest.fixture
def night(root, site):
    """A branch whose lead is not proved; training and evaluation are replaced."""
    contest = Contest(create(root, "night"), HALF_CHEETAH, "none", site=site)
    contest.measure()
    for i, skill in enumerate((-5, 5, 4, 10)):
        (root / EDITABLE).write_text(f"SKILL = {skill} # {i}\n")
        contest.challenge(f"skill {skill}")
    (root / EDITABLE).write_text("SKILL = 9 crash\n")
    with pytest.raises(TrainingError):
        contest.challenge("it fails")
    return contest


FATES = {
    branch.SET_ASIDE: "discard",
    branch.PROVED_BELOW: "keep",
    branch.CRASHED: "crash",
    branch.PROVED: "keep",
    branch.SET_BACK: "set back",
    branch.STOPPED: "stopped",
    branch.LEADS: "accept",
}


def test_findings_are_what_the_keep_rule_rests_on(searched):
    found, past = reader.read(searched.branch.root / LEDGER), searched.read()
    assert {e.number: e.outcome for e in found.experiments} == FATES
    assert found.reigns[-1].fresh == past.fresh()
    assert found.reigns[0].fresh == past.baseline()
    for e in found.experiments:
        assert e.scores == past.scores("challenger", e.commit)
        assert e.reason.startswith(past.verdict(e.commit).reason)
    lead = past.files()[past.progress().incumbent]
    assert sorted(found.experiments[-1].against) == sorted(lead.scores)


def test_edits_are_proved_together_by_a_confirmation_and_fall_back_one_by_one(searched):
    found = reader.read(searched.branch.root / LEDGER)
    proved, unproved = found.confirmations
    assert [e.number for e in found.kept] == proved.edits == [branch.PROVED_BELOW, branch.PROVED]
    assert [e.number for e in found.leading] == [branch.LEADS]
    assert (proved.verdict, unproved.verdict) == ("keep", "unproved")
    assert unproved.edits == [branch.SET_BACK]
    assert unproved.reason.endswith("The lead fell back by 1 edit.")
    reasons = {e.number: e.reason for e in found.experiments}
    assert reasons[branch.PROVED_BELOW].endswith("Confirmation 1 has proved it since.")
    assert reasons[branch.SET_BACK].endswith("The lead fell back behind it after confirmation 2.")
    sides = {(r.commit == r.challenger): [] for r in rows(searched.branch.root)}
    for row in rows(searched.branch.root):
        if row.role == Role.CONFIRMATION and row.replicate // 100 == 1:
            sides[row.commit == row.challenger].append(row.avg_return)
    assert (proved.lead, proved.incumbent) == (sides[True], sides[False])


def test_an_incumbent_is_estimated_by_runs_that_did_not_prove_it(searched):
    found = reader.read(searched.branch.root / LEDGER)
    there = [row for row in rows(searched.branch.root) if row.role == Role.ESTIMATE]
    assert found.reigns[-1].runs == [row.run_id for row in there]
    assert not set(found.reigns[-1].fresh) & set(found.confirmations[0].lead)
    # What one run is like is seen from both: those that another lead was compared with count, too.
    assert set(found.reigns[-1].single) > set(found.confirmations[1].incumbent)


def test_a_page_says_whose_runs_the_search_has_seen_and_how_many_proofs_there_were(searched):
    found = reader.read(searched.branch.root / LEDGER)
    said = "No proof rests on the runs of either; the search has seen the baseline's."
    assert page._gain(found).endswith(said)
    text = page.write(found, {"progress": charts.progress(found).svg}, [])
    assert said in text.replace("&#39;", "'")
    assert "no decision" not in text
    proofs = "<b>2</b><span>edits proved; 2 confirmations made, 1 with success</span>"
    assert proofs in text
    assert re.search(r"UTC, \d+ seconds?</p>", text)


def test_a_lead_is_drawn_from_its_acceptance_to_its_proof_or_fall(searched):
    found = reader.read(searched.branch.root / LEDGER)
    places = [(lead.since, bool(lead.commit)) for lead in found.leads]
    assert places == [(2, True), (4, True), (4.5, False), (5, True), (5.5, False), (7, True)]
    assert [reign.since for reign in found.reigns] == [0, 4.5]
    last = found.experiments[branch.LEADS - 1]
    assert found.leads[-1].scores == last.scores


def until(contest, last):
    """What was found up to the first row that is so."""
    there = Ledger(contest.branch.root / LEDGER).rows()
    at = next(at for at, row in enumerate(there) if last(row))
    return reader._Reader(there[: at + 1]).findings(contest.branch.name)


def test_a_confirmation_that_goes_on_is_shown_as_one(searched):
    found = until(searched, lambda row: getattr(row, "role", "") == Role.CONFIRMATION)
    (one,) = found.confirmations
    assert (one.verdict, one.reason, len(one.lead) + len(one.incumbent)) == ("go on", "", 1)
    text = page.write(found, {"progress": charts.progress(found).svg}, [])
    assert '<span class="verdict on">goes on</span>' in text
    assert f"1 of at most {one.most} runs" in text
    said = (
        f"confirmation 1 of the lead against the incumbent: goes on, 1 of at most {one.most} runs"
    )
    assert standing._of(found)[-1] == said


def test_a_new_incumbent_is_not_shown_by_the_runs_that_proved_it(searched):
    """Before its first estimate is there."""
    found = until(searched, lambda row: getattr(row, "verdict", "") == Verdict.KEEP)
    assert len(found.kept) == 2
    assert found.reigns[-1].fresh == searched.read().baseline()
    first = standing._of(found)[0]
    assert first.startswith("incumbent: a new one is being measured; the last one was -0.144 (")
    assert charts.progress(found).svg


@pytest.mark.slow
def test_the_page_shows_every_experiment_confirmation_and_the_diffs_of_what_is_ahead(
    searched, tmp_path
):
    root = searched.branch.root
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = command(root, "harness.report", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "7 experiments, 2 proved, 1 on top of them not yet" in done.stdout
    text = (tmp_path / "out" / "index.html").read_text()
    found = reader.read(root / LEDGER)
    for e in found.experiments:
        assert f">{html.escape(e.description)}<".replace("&quot;", "&#34;") in text
    for one in found.confirmations:
        assert one.reason in text
    assert "-SKILL = 12 # truly 12 # 4" in text  # what leads, against what is proved
    assert "+SKILL = 15 # truly 15 # 7" in text
    assert "SKILL = 17" not in text  # of what fell back there is no diff
    assert "1 edit ahead of the incumbent, not proved yet: experiment 7" in text
    assert "alert(&#34;x&#34;)" in text  # an agent's words are words
    assert "<script" not in text
    assert (tmp_path / "out" / "progress.png").read_bytes().startswith(b"\x89PNG")
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


WORDS = {
    "mathtext": r"Clip at $\nosuch$, and $\frac12$ of it_^{",
    "markup": "[red]x[/red] </text></title> --> :smile:",
    "letters": "😀 ½ \u202eegnp " + "à" * 50,
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_whatever_a_kept_edit_is_called_there_is_a_report(tmp_path, words):
    write_ledger(tmp_path / LEDGER, 3, words.replace("{", "{{").replace("}", "}}"))
    found = reader.read(tmp_path / LEDGER)
    assert [e.number for e in found.kept] == [2]
    chart = charts.progress(found)
    text = page.write(found, {"progress": chart.svg}, [])
    page_words = plain.plain(html.escape(words)).replace("&#x27;", "&#39;")
    assert text.count(page_words) >= 3
    xml.etree.ElementTree.fromstring(chart.svg.replace("xlink:href", "href"))


def test_a_diff_shows_lines_of_the_file_without_what_a_terminal_takes_for_commands():
    before, after = b"A = 1\n# \x0c page\nB = 1\n", b"A = 1\n# \x0c page\nB = 2 \x1b[2J\xff\n"
    assert page.diff(before, after) == [
        ("at", "@@ -1,3 +1,3 @@"),
        ("", " A = 1"),
        ("", " #   page"),
        ("del", "-B = 1"),
        ("add", "+B = 2 ?"),
    ]


def bench(folder, **changes):
    """The rows of a made-up night, the challengers' last one changed."""
    write_ledger(folder / LEDGER, 2)
    first, *others = rows(folder)[::-1]
    return [*others[::-1], dataclasses.replace(first, **changes)]


@pytest.mark.parametrize(
    "changes",
    [
        {"run_id": "not-a-date"},
        {"run_id": "20261399-000000-x"},
        {"run_id": "20260101-000000-../../etc"},
        {"avg_return": math.nan},
        {"avg_return": 1e308},
        {"budget": math.inf},
    ],
)
def test_a_row_that_holds_no_figure_is_told(tmp_path, changes, monkeypatch):
    made = bench(tmp_path, **changes)
    monkeypatch.setattr(reader.Ledger, "rows", lambda self: made)
    with pytest.raises(LedgerError, match="holds no time, or a figure that is none"):
        reader.read(tmp_path / LEDGER)


def test_two_nights_a_week_apart_have_the_hours_of_two_nights(tmp_path):
    write_ledger(tmp_path / LEDGER, 4)
    one = reader.read(tmp_path / LEDGER)
    week = datetime.timedelta(days=7)
    later = [
        dataclasses.replace(r, run_id=f"{reader.stamp(r) + week:%Y%m%d-%H%M%S}-b") for r in one.rows
    ]
    two = dataclasses.replace(one, rows=[*one.rows, *later])
    assert one.hours > 1
    assert two.hours == pytest.approx(2 * one.hours)
    spent = hours.spent(two, tmp_path)
    assert spent.other == pytest.approx(2 * one.hours)


def test_an_incumbent_reigns_from_the_experiment_that_made_it_one(tmp_path):
    """Trials beside each other: the second is kept when four have begun, the third after it."""
    first, *_ = baseline = bench(tmp_path)[:10]

    def run(name, replicate, verdict, score):
        return dataclasses.replace(
            first,
            role=Role.CHALLENGER,
            commit=name,
            challenger=name,
            replicate=replicate,
            verdict=verdict,
            avg_return=float(score),
        )

    def fresh(name, score):
        return dataclasses.replace(first, commit=name, challenger=name, avg_return=float(score))

    begun = [run(name, 1, Verdict.GO_ON, 2000) for name in "abcd"]
    kept = [
        run("c", 2, Verdict.KEEP, 2000),
        fresh("c", 1900),
        run("b", 2, Verdict.KEEP, 3000),
        fresh("b", 2900),
    ]
    found = reader._Reader([*baseline, *begun, *kept]).findings("autorl/bench")
    assert [(reign.commit, reign.since) for reign in found.reigns[1:]] == [("c", 3), ("b", 2)]
    assert charts.progress(found).svg


@pytest.mark.slow
def test_the_page_asks_for_nothing_from_elsewhere(searched, tmp_path):
    command(searched.branch.root, "harness.report", "--output", tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert not re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?\s*(?:https?:)?//', text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert used
    assert set(used) <= set(ids)


def test_colours_follow_the_screen():
    assert charts.COLOURS.keys() == page.DARK.keys()
    figure = Figure()
    figure.add_subplot().plot([0, 1], color=charts.COLOURS["keep"])
    svg = charts.finished("test", figure).svg
    assert "var(--keep)" in svg
    assert charts.COLOURS["keep"] not in svg


@pytest.mark.slow
@pytest.mark.parametrize("experiments", [0, 1, 1000])
def test_few_and_many_experiments_fit(tmp_path, experiments):
    write_ledger(tmp_path / LEDGER, experiments)
    done = command(tmp_path, "harness.report")
    assert done.returncode == 0, done.stderr
    files = list((tmp_path / "report").iterdir())
    assert sum(file.stat().st_size for file in files) < MAX_BYTES
    text = (tmp_path / "report" / "index.html").read_text()
    assert text.count('class="row"') == experiments
    assert (">experiment, " in text) == (experiments == 1)
    assert "No video: the folder of run" in text


@pytest.mark.slow
@pytest.mark.parametrize("experiments", [2, 1000])
def test_the_latest_of_what_was_kept_are_numbered_and_named_below(
    tmp_path, monkeypatch, experiments
):
    write_ledger(tmp_path / LEDGER, experiments)
    found = reader.read(tmp_path / LEDGER)
    monkeypatch.setattr(charts, "finished", lambda name, figure: figure)
    figure = charts.progress(found)
    figure.draw_without_rendering()
    (axis,), (_, key) = figure.axes, figure.legends
    numbers, names = (
        {text.get_text(): Text.get_window_extent(text) for text in texts}
        for texts in (axis.texts, key.get_texts())
    )
    kept = found.kept[-charts.NAMED :]
    assert kept
    frame = axis.get_window_extent()
    for e in kept:
        assert frame.contains(*numbers[str(e.number)].p0)
        name = names[f"{e.number}  {e.description}"]
        assert name.y1 < frame.y0
        assert figure.bbox.contains(*name.p0)
        assert figure.bbox.contains(*name.p1)


@pytest.mark.slow
def test_learning_curves_times_and_transfer_come_from_the_runs_folders(root, night, monkeypatch):
    for row in rows(root):
        folder = root / "runs" / row.run_id
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{i},{i * 1000},{i * 2.0}" for i in range(100)]
        (folder / "curve.csv").write_text(
            "seconds,step,charts/episodic_return\n" + "\n".join(lines)
        )
        (folder / "summary.json").write_text('{"training_seconds": 3600, "eval_seconds": 60}')
    night.transfer(night.read().incumbent, "Hopper-v5")
    drawn = report.draw(reader.read(root / LEDGER), root)
    assert [chart.name for chart in drawn] == ["progress", "curves", "transfer", "time"]


@pytest.mark.slow
def test_a_ledger_without_a_branch_gets_one_message(tmp_path):
    done = command(tmp_path, "harness.report")
    assert done.returncode == 2
    assert "There is no file results.tsv" in done.stderr
    write_ledger(tmp_path / LEDGER, 2)
    with pytest.raises(InputError, match=r"has no branch autorl/x; it has autorl/bench"):
        reader.read(tmp_path / LEDGER, "autorl/x")


def test_a_recorded_night_can_be_reported_on_anywhere(tmp_path):
    ledger = ROOT / "docs" / "evidence" / "issue6" / "night_tpe.tsv"
    done = command(tmp_path, "harness.report", "--ledger", ledger, "--no-video")
    assert done.returncode == 0, done.stderr


def browse(page_file, picture, width, *, dark=False):
    """Chromium's picture of a page, and what it said on its console."""
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--window-size={width},900", "--enable-logging=stderr", *scheme,
         f"--screenshot={picture}", page_file.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert picture.exists(), done.stderr
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("experiments", [2, 1000])
def test_a_browser_shows_the_page_without_an_error_light_and_dark(tmp_path, experiments):
    write_ledger(tmp_path / LEDGER, experiments)
    command(tmp_path, "harness.report")
    file = tmp_path / "report" / "index.html"
    pictures = {}
    for dark in (False, True):
        pictures[dark] = tmp_path / f"{dark}.png"
        assert browse(file, pictures[dark], 1060, dark=dark) == []
    assert pictures[False].read_bytes() != pictures[True].read_bytes()


@pytest.mark.slow
@needs_chromium
def test_a_page_with_an_error_would_be_noticed(tmp_path):
    file = tmp_path / "index.html"
    file.write_text("<script>nonsense()</script>")
    assert browse(file, tmp_path / "a.png", 400)


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [360, 1060])
def test_nothing_is_wider_than_the_screen_on_a_phone(searched, tmp_path, width):
    """The page in a frame as wide as a phone's screen; charts scroll within their own box."""
    command(searched.branch.root, "harness.report", "--output", tmp_path)
    inner = base64.b64encode((tmp_path / "index.html").read_bytes()).decode()
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<iframe id="f" width="{width}" height="800" style="border:0"></iframe><p id="said"></p>'
        f'<script>const f = document.getElementById("f"); f.srcdoc = new TextDecoder().decode('
        f'Uint8Array.from(atob("{inner}"), c => c.charCodeAt(0)));'
        "f.onload = () => { const d = f.contentDocument.documentElement;"
        'document.getElementById("said").textContent = "wide " + d.scrollWidth; };</script>'
    )
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
         "--dump-dom", outer.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    (wide,) = re.findall(r"wide (\d+)", done.stdout)
    assert int(wide) <= width
