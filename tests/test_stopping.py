"""Runs that report too little are stopped; what is reported never helps a run."""

import dataclasses
import json
import math
import pickle
import random
import re
import shutil
import statistics
from types import SimpleNamespace

import pytest
from scipy import stats

from harness import run
from harness.checkout.beginning import create
from harness.confinement import sandbox
from harness.contract import reports
from harness.contract.order import Assignment, Order, Stop
from harness.errors import InputError, StandstillError
from harness.judgement import rulings, stopping
from harness.judgement.contest import Contest
from harness.judgement.history import History
from harness.judgement.notes import told_apart
from harness.judgement.stopping import Course
from harness.measurement import cluster, instrument, sites, training
from harness.measurement.training import Training
from harness.morning import charts, hours, page, reader, standing
from harness.night.memory import Memory
from harness.places import CURVE, EDITABLE, LEDGER, POLICY, SUMMARY, TRAIN_FILE
from harness.record.entries import UNLIMITED, Plan, Role, Status, Verdict
from harness.record.ledger import Ledger
from harness.record.runs import Record
from harness.record.snapshot import HEADERS
from harness.terminal import options
from tests.conftest import HALF_CHEETAH, TRAIN_FILES, command, git, rows, run_row, summary_block
from tests.fake_site import FakeSite

STOPPING = dataclasses.replace(HALF_CHEETAH, stopping=True)
HALFWAY = (Stop(0.5, 100.0),)
LOG = {"kind": "log", "step": 1, "compile_seconds": 0}


def reporting(*values):
    """A training file that reports these, again and again."""
    text = (TRAIN_FILES / "reports.py").read_text()
    listed = ", ".join(f'float("{value}")' for value in values)
    return text.replace("REPORTED = [1.0]", f"REPORTED = [{listed}]")


def order(budget, stops=(), confinement=None):
    assignment = Assignment("HalfCheetah-v5", "native", 3, budget)
    return Order(assignment, 2, confinement or sandbox.available(), stops=stops)


def told(values, stops, budget=100.0):
    """A training that has reported these in equal parts of its budget, and was looked at since."""
    seen = Training(budget, clock_start=0.0, stops=stops)
    for i, value in enumerate(values, start=1):
        metrics = {} if value is None else {reports.RETURN: value}
        seen.take(LOG | {"metrics": metrics}, b"", i * budget / len(values))
    seen.look(budget)
    return seen.stopped


# What was reported


def test_a_mean_is_of_the_finite_reports_in_a_tenth_of_the_budget():
    every_second = [(float(i), float(i)) for i in range(1, 101)]
    assert reports.mean(every_second, 100.0, 0.5) == statistics.fmean(range(41, 51))
    assert reports.mean(every_second, 100.0, 0.05) == statistics.fmean(range(1, 6))
    assert reports.mean(every_second, 1000.0, 0.5) is None
    odd = [(49.0, math.nan), (49.1, math.inf), (49.2, -math.inf), (49.3, 7.0), (50.001, 9.0)]
    assert reports.mean(odd, 100.0, 0.5) == 7.0
    assert reports.mean(odd[:3], 100.0, 0.5) is None


def test_what_was_reported_before_the_clock_started_is_not_counted():
    assert reports.mean([(0.0, -5.0), (2.0, 7.0)], 100.0, 0.05) == 7.0


@pytest.mark.parametrize(("share", "least"), [(0, 1), (1.5, 1), (0.5, math.nan), (0.5, math.inf)])
def test_a_stop_that_is_none_is_refused(share, least):
    with pytest.raises(ValueError, match="no place in a training"):
        Stop(share, least)


def test_a_training_is_stopped_by_its_last_reports_and_no_earlier_ones():
    falls, rises = [*[300.0] * 40, *[20.0] * 60], [*[20.0] * 40, *[300.0] * 60]
    stopped = told(falls, HALFWAY)
    assert (stopped.stop, stopped.reported) == (HALFWAY[0], 20.0)
    assert told(rises, HALFWAY) is None


def test_what_is_reported_after_the_stop_comes_too_late():
    assert told([*[20.0] * 50, *[1e6] * 50], HALFWAY).reported == 20.0
    assert told([*[200.0] * 50, *[20.0] * 50], HALFWAY) is None


def test_every_stop_counts_for_itself():
    stops = (Stop(0.25, 10.0), Stop(0.5, 100.0))
    assert told([20.0] * 100, stops).stop == stops[1]
    assert told([5.0] * 100, stops).stop == stops[0]
    assert told([200.0] * 100, stops) is None


@pytest.mark.parametrize(
    "values",
    [
        [math.inf],
        [math.nan],
        [-math.inf],
        [None],
        [1e308],  # logged as infinite
        [3e38],
        [math.inf, math.nan, 1e308],
        [],
    ],
)
def test_what_is_no_report_or_a_huge_one_stops_nothing(values):
    assert told(values * 100, HALFWAY) is None


def test_infinite_reports_do_not_hide_what_else_was_reported():
    assert told([math.inf, 20.0] * 50, HALFWAY).reported == 20.0


def test_a_report_that_is_far_too_low_ends_its_own_run():
    assert told([-3e38] * 100, HALFWAY).reported == pytest.approx(-3e38)


def test_who_decides_and_who_reads_the_curve_later_count_the_same_reports(tmp_path):
    """Though the curve is written with three digits of a second and six of a return."""
    generator = random.Random(0)
    for _ in range(50):
        seen = Training(1.0, clock_start=0.0, stops=(Stop(0.5, 1e30),))
        moments = sorted(generator.uniform(0.499, 0.501) for _ in range(5))
        for now in [0.45, *moments]:
            metrics = {reports.RETURN: generator.gauss(1000, 300)}
            seen.take(LOG | {"metrics": metrics}, b"", now)
        seen.look(1.0)
        sites._write_curve(tmp_path / CURVE, seen)
        again = reports.mean(reports.read(tmp_path / CURVE), 1.0, 0.5)
        assert again == pytest.approx(seen.stopped.reported, rel=1e-5)


# Trainings


def test_a_training_is_ended_at_the_share_and_nothing_of_it_is_taken(tmp_path):
    (tmp_path / TRAIN_FILE).write_text(reporting(12.0))
    measured = sites.measure(order(3.0, HALFWAY), tmp_path, tmp_path)
    seen = measured.training
    assert (seen.stopped.reported, measured.scores, measured.second) == (12.0, (), ())
    assert 1.5 < seen.seconds(seen.ended) < 1.5 + 1.0
    assert seen.exit_code is None  # it was ended
    assert seen.curve[-1][0] < 2.0
    assert (tmp_path / CURVE).read_text().count("\n") == len(seen.curve) + 1
    assert not (tmp_path / POLICY).exists()


SILENT = (TRAIN_FILES / "honest.py").read_text().replace("charts/episodic_return", "a/b")


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", [reporting("inf", "nan"), reporting(100.0), SILENT], ids=["nonsense", "enough", "none"]
)
def test_a_training_that_reports_enough_or_nothing_is_scored(tmp_path, text):
    (tmp_path / TRAIN_FILE).write_text(text)
    measured = sites.measure(order(1.0, HALFWAY), tmp_path, tmp_path)
    assert measured.training.stopped is None
    assert len(measured.scores[0].evaluation.returns) == 2


def test_a_run_in_which_we_stood_still_is_no_measurement_though_it_reported_too_little(
    tmp_path, monkeypatch
):
    seen = Training(10.0, stood_still=5.0, stopped=training.Stopped(HALFWAY[0], 1.0))
    monkeypatch.setattr(sites, "train", lambda *arguments: seen)
    with pytest.raises(StandstillError):
        sites.measure(order(10.0), tmp_path, tmp_path)


@pytest.mark.slow
def test_a_worker_of_a_cluster_stops_a_run_and_sends_its_curve(tmp_path, monkeypatch):
    """What goes there and comes back does so as Ray's pickles."""
    monkeypatch.chdir(tmp_path)
    worker = SimpleNamespace()
    asked = pickle.loads(pickle.dumps(order(1.0, HALFWAY)))
    text = reporting(12.0).encode()
    answer = cluster.Worker.measure(worker, asked, instrument.described(), text)
    outcome, files = cluster._checked(pickle.loads(pickle.dumps(answer)), 1)
    assert (outcome.scores, outcome.training.stopped.reported) == ((), 12.0)
    assert outcome.training.stopped.stop == HALFWAY[0]
    assert set(files) == {"train.log", "curve.csv"}


# The record


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A branch with a run that was really stopped, and its row."""
    root = tmp_path_factory.mktemp("stopped")
    (root / EDITABLE).parent.mkdir()
    (root / EDITABLE).write_text("SKILL = 500\n")
    (root / ".gitignore").write_text("/runs/\n/results.tsv\n")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "go")):
        git(root, *arguments)
    conditions = dataclasses.replace(STOPPING, budget=2.0)
    branch, confinement = create(root, "tag"), sandbox.available()
    Contest(branch, conditions, confinement, site=FakeSite()).measure()
    shutil.rmtree(root / "runs")  # of measurements that were none
    (root / EDITABLE).write_text(reporting(12.0))
    ongoing = Contest(branch, conditions, confinement)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopping, "stops_of_edit", lambda *_: (Stop(0.25, 1250.5),))
        outcome = ongoing.challenge("hopeless")
    return SimpleNamespace(root=root, row=rows(root)[-1], ongoing=ongoing, outcome=outcome)


def test_a_stopped_run_discards_its_challenger_with_its_figures_in_words(stopped):
    row = stopped.row
    assert (row.status, row.verdict, row.avg_return) == (Status.STOPPED, Verdict.DISCARD, None)
    assert row.reason == (
        "Stopped at a quarter of the budget: it reported 12 where 1,250 was the least that still "
        "gives hope."
    )
    assert row.startup > 0
    assert row.stopping
    assert (stopped.outcome.verdict, stopped.outcome.scores) == (Verdict.DISCARD, [])
    assert stopped.outcome.last.reason == row.reason
    assert stopped.ongoing.branch.trials() == []
    assert (stopped.root / EDITABLE).read_text() == "SKILL = 500\n"


def test_the_folder_of_a_stopped_run_has_its_curve_and_figures_and_nothing_like_a_score(stopped):
    folder = stopped.root / "runs" / stopped.row.run_id
    details = json.loads((folder / SUMMARY).read_text())
    assert details["stopped"] == {"share": 0.25, "least": 1250.5, "reported": 12.0}
    assert details["total_seconds"] > details["startup_seconds"] > 0
    assert details["training_seconds"] < 1.0
    assert not [name for name in details if "return" in name or "episode" in name]
    assert (folder / CURVE).exists()
    assert not (folder / POLICY).exists()
    assert not (folder / "error.txt").exists()


def test_a_record_with_a_stopped_run_is_whole(stopped):
    done = command(stopped.root, "harness.verify")
    assert done.returncode == 0, done.stderr
    assert "1 that were stopped" in done.stdout
    written = (stopped.root / LEDGER).read_text().splitlines()[1:]  # without the header
    assert done.stdout.startswith(f"{len(written)} rows, ")


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda d: d | {"avg_return": 9.0}, "has a score all the same"),
        (lambda d: d | {"stopped": d["stopped"] | {"least": 3.0}}, "no less than was asked for"),
        (lambda d: d | {"stopped": d["stopped"] | {"reported": 11.0}}, "its curve says 12"),
        (lambda d: {k: v for k, v in d.items() if k != "stopped"}, "cannot be read"),
    ],
)
def test_a_stop_that_its_own_curve_does_not_bear_out_is_told(stopped, forge, message):
    record = Record.measured(stopped.root, stopped.row.run_id)
    assert record.faults(stopped.row) == []
    (fault,) = dataclasses.replace(record, details=forge(record.details)).faults(stopped.row)
    assert message in fault


def test_nobody_takes_a_stopped_run_for_one_with_a_policy(stopped):
    with pytest.raises(InputError, match="has no score: Stopped at a quarter"):
        Record.load(stopped.root, stopped.row.run_id)


def test_a_status_and_a_page_say_what_was_stopped(stopped):
    said = "\n".join(standing.lines(standing.read(stopped.root)))
    assert "hopeless runs are stopped" in said
    assert "tried: 1 edit; 0 proved, 1 stopped" in said
    assert re.search("stopped +hopeless", said)
    found = reader.read(stopped.root / LEDGER)
    (experiment,) = found.experiments
    assert (experiment.outcome, experiment.scores) == ("stopped", [])
    text = page.write(found, {"progress": charts.progress(found).svg}, [])
    assert "0 proved, 1 stopped</p>" in text
    assert 'class="verdict stopped">stopped<' in text
    assert stopped.row.reason in text
    assert hours.spent(found, stopped.root).training > 0


def test_a_stopped_run_is_printed_without_anything_like_a_score(stopped, capsys):
    run._print_outcome(stopped.ongoing, stopped.outcome)
    block = summary_block(capsys.readouterr().out)
    assert (block["verdict"], block["replicates"]) == ("discard", "0")
    assert block["reason"] == stopped.row.reason
    assert not [name for name in block if name.endswith("_return")]


def test_a_stopped_run_is_no_failure_and_none_that_was_cut_off(stopped):
    past = stopped.ongoing.read()
    assert past.cut_off(Role.CHALLENGER) == []
    assert past.missing() == []
    assert not Status.STOPPED.at_fault
    without = {Status.CRASH, Status.TIMEOUT, Status.STOPPED}
    without |= {s for s in Status if s.cut_off}
    assert without | {s for s in Status if s.decided} | {Status.BEGUN, Status.SCORED} == {*Status}


def test_a_tuner_is_told_how_far_a_stopped_run_had_got(stopped):
    memory = Memory(stopped.root, stopped.ongoing.read(), Plan("tpe", 1.0, 1, 1.0), 0)
    assert memory.stopped() == {stopped.row.challenger: (0.25, 12.0)}
    assert memory.tried().keys() == {stopped.ongoing.read().incumbent}


@pytest.mark.parametrize("slots", [1, 2])
def test_the_runs_that_are_left_are_whole_ones_in_all_slots(stopped, slots, tmp_path, monkeypatch):
    past = stopped.ongoing.read()
    assert any(row.status == Status.STOPPED for row in past.runs)
    for row in past.runs:
        seconds = 15.0 if row.status == Status.STOPPED else 60.0
        folder = tmp_path / "runs" / row.run_id
        folder.mkdir(parents=True)
        (folder / SUMMARY).write_text(json.dumps({"total_seconds": seconds}))
    monkeypatch.setattr(Memory, "used", lambda memory: (0.5, 0))
    memory = Memory(tmp_path, past, Plan("tpe", 1.0, UNLIMITED, 1.0), 0, slots)
    assert memory.runs_left() == pytest.approx(slots * 1800 / 60)


def test_an_incumbent_is_never_stopped(root, site):
    ongoing = Contest(create(root, "tag"), STOPPING, "none", site=site)
    ongoing.measure()
    past = ongoing.read()
    part = ongoing.replicates.part(Role.INCUMBENT, past.incumbent, past.incumbent, 11)
    with pytest.raises(AssertionError):
        ongoing.replicates.request(past, "HalfCheetah-v5", "auto", part, "", HALFWAY)
    assert rulings.rule(past, STOPPING.tasks, part, "HalfCheetah-v5", Status.STOPPED, None) == (
        rulings.Ruling(Status.STOPPED, Verdict.NONE)
    )


def test_on_a_branch_without_stopping_nothing_is_stopped(root, site):
    ongoing = Contest(create(root, "tag"), HALF_CHEETAH, "none", site=site)
    ongoing.measure()
    part = ongoing.replicates.part(Role.CHALLENGER, "a" * 40, "a" * 40, 1)
    with pytest.raises(AssertionError):
        ongoing.replicates.request(ongoing.read(), "HalfCheetah-v5", "auto", part, "", HALFWAY)


def test_figures_in_words_have_the_digits_that_tell_them_apart():
    assert told_apart(412.3, 1250.0) == ["412", "1,250"]
    assert told_apart(412.3, 412.4) == ["412.30", "412.40"]
    assert told_apart(0.30001, 0.30002) == ["0.30001", "0.30002"]


# Conditions of a branch


@pytest.mark.parametrize("stops", [True, False])
def test_a_branch_knows_whether_its_runs_are_stopped(root, site, stops):
    conditions = dataclasses.replace(HALF_CHEETAH, stopping=stops, sandbox="none")
    Contest(create(root, "tag"), conditions, "none", site=site).measure()
    there = Ledger(root / LEDGER).read()
    assert {row.stopping for row in there.runs()} == {stops}
    assert History(there.entries, "autorl/tag", site.instrument).conditions == conditions
    said = standing.lines(standing.read(root))[0]
    assert ("hopeless runs are stopped" in said) == stops


def test_a_branch_in_a_ledger_from_before_has_no_stopping(root, site):
    (root / LEDGER).write_text("\t".join(HEADERS[3]) + "\n")
    Contest(create(root, "tag"), STOPPING, "none", site=site).measure()
    there = Ledger(root / LEDGER).read()
    assert not History(there.entries, "autorl/tag", site.instrument).conditions.stopping


@pytest.mark.parametrize(
    ("tasks", "unwanted", "columns", "stops", "note"),
    [
        (("A",), False, 5, True, ""),
        (("A",), True, 5, False, ""),
        (("A", "B"), False, 5, False, "several tasks"),
        (("A",), False, 4, False, "did not record"),
    ],
)
def test_where_nothing_can_be_stopped_that_is_said(
    tmp_path, capsys, tasks, unwanted, columns, stops, note
):
    (tmp_path / LEDGER).write_text("\t".join(HEADERS[columns - 1]) + "\n")
    assert options.stopping(tmp_path, tasks, unwanted) == stops
    said = capsys.readouterr().err
    assert note in said if note else not said


# The forecast


def courses(count, correlation, seed=0, share=0.25):
    """Finished runs, whose reports and scores are normal and correlate."""
    generator = random.Random(seed)
    found = []
    for _ in range(count):
        known, rest = generator.gauss(0, 1), generator.gauss(0, 1)
        score = correlation * known + math.sqrt(1 - correlation**2) * rest
        found.append(Course({share: 300 + 50 * known}, 1000 + 200 * score))
    return found


def test_the_line_is_that_of_least_squares():
    runs = courses(15, 0.8)
    said = stopping.forecast(runs, 0.25)
    x, y = [run.reported[0.25] for run in runs], [run.score for run in runs]
    line = stats.linregress(x, y)
    assert said.slope == pytest.approx(line.slope)
    assert said.expected(0.0) == pytest.approx(line.intercept)
    assert said.correlation == pytest.approx(line.rvalue)
    assert said.residual / math.sqrt(said.spread) == pytest.approx(line.stderr)
    assert (said.runs, said.share) == (15, 0.25)


def test_the_least_report_is_that_with_the_chance():
    said = stopping.forecast(courses(15, 0.8), 0.25)
    for bar in (700.0, 1000.0, 1090.0, 2000.0):
        for chance in (0.05, 0.3, 0.5, 0.7):
            asked = stopping.least(said, bar, chance)
            assert said.chance(asked, bar) == pytest.approx(chance)
            assert said.chance(asked - 1, bar) < chance < said.chance(asked + 1, bar)


def test_a_stop_errs_as_often_as_it_says():
    """Of runs just at the least report, a share as large as the chance scores above the bar."""
    generator, above, count = random.Random(1), 0, 4000
    for seed in range(count):
        said = stopping.forecast(courses(12, 0.8, seed), 0.25)
        if said is None:
            continue
        asked = stopping.least(said, 1090.0, 0.3)
        known = (asked - 300) / 50
        score = 1000 + 200 * (0.8 * known + 0.6 * generator.gauss(0, 1))
        above += score > 1090.0
    assert above / count == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(
    "runs",
    [
        courses(stopping.LEAST_PAIRS - 1, 0.9),
        courses(30, -0.9),
        courses(400, 0.2),
        [Course({0.25: 5.0}, float(score)) for score in range(20)],
        [Course({0.25: 0.1 * i}, 7.0) for i in range(20)],
        courses(30, 0.9, share=0.5),
        [],
    ],
    ids=["few", "falling", "loose", "one report", "one score", "another share", "none"],
)
def test_where_runs_say_nothing_nothing_is_stopped(runs):
    assert stopping.forecast(runs, 0.25) is None
    assert stopping.stops(runs, 1000.0, 0.3, (0.25,)) == ()


def test_a_line_that_is_too_uncertain_asks_for_nothing():
    said = dataclasses.replace(stopping.forecast(courses(15, 0.8), 0.25), slope=1e-6)
    assert stopping.least(said, 1000.0, 0.05) == -math.inf


def test_each_share_has_its_own_stop():
    both = [Course({**one.reported, 0.5: one.score / 2}, one.score) for one in courses(20, 0.7)]
    early, late = stopping.stops(both, 1090.0, 0.3)
    assert (early.share, late.share) == (0.25, 0.5)
    assert late.least == pytest.approx(1090.0 / 2)  # the score is known then


def test_who_reports_what_the_edited_file_does_goes_on():
    """Else a file that reports a constant has every edit of it stopped."""
    constant = [Course({0.25: 1e6}, 1400.0 + i) for i in range(3)]
    runs = [*courses(12, 0.6), *constant]
    (stop,) = stopping.stops(runs, 1600.0, 0.3, (0.25,))
    assert stop.least > 1e6
    (stop,) = stopping.stops(runs, 1600.0, 0.3, (0.25,), constant)
    assert stop.least == 1e6


def test_a_false_report_among_many_makes_runs_stop_less_and_never_helps_its_own():
    honest = courses(20, 0.8)
    (before,) = stopping.stops(honest, 1090.0, 0.3, (0.25,))
    for lie, score in ((3e38, 700.0), (-3e38, 1300.0)):
        assert stopping.stops([*honest, Course({0.25: lie}, score)], 1090.0, 0.3, (0.25,)) == ()
    assert before.least < 400


def test_a_course_is_read_from_the_curve_that_a_run_has_left(root):
    site = FakeSite(reported=lambda text, score: score / 2)
    Contest(create(root, "tag"), STOPPING, "none", site=site).measure()
    for row in rows(root):
        course = stopping.course(root, row)
        assert course.score == row.avg_return
        assert course.reported == {
            share: pytest.approx(row.avg_return / 2, abs=1e-3) for share in stopping.SHARES
        }
    assert stopping.course(root, run_row("no-folder", avg_return=3.0)) == Course({}, 3.0)
    assert stopping.course(root, run_row("unscored", avg_return=None)) is None


def test_a_branchs_own_runs_stop_an_edit_that_is_worse(root):
    noise = random.Random(2)
    site = FakeSite(reported=lambda text, score: 3 * score + noise.gauss(0, 0.5))
    ongoing = Contest(create(root, "tag"), STOPPING, "none", site=site)
    ongoing.repeat(10)
    assert [stop.share for stop in stopping.stops_of_edit(root, ongoing.read(), "")] == [0.25, 0.5]
    (root / EDITABLE).write_text("SKILL = -5\n")
    outcome = ongoing.challenge("worse")
    assert (outcome.verdict, rows(root)[-1].status) == (Verdict.DISCARD, Status.STOPPED)
    assert len(rows(root)) == 11  # no second run was made
