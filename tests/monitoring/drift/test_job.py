"""Drift in the analyzer's job: a baseline that knows its hours, window after window, segments, and AWS's rule."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from kedge.monitoring.drift.job import DRIFT, PAGE, STATE
from tests.monitoring.conftest import CAPTURED, Job, captured

HOUR_S, FIRST = 3600, 1_767_225_600  # 2026-01-01T00:00:00Z
HOURS = 336


def rows(rng: np.random.Generator, first_hour: int, hours: int, n: int, age: float = 0.0, oslo: float = 0.0) -> str:
    """warmth has a season of the day; age and, in Oslo alone, income are moved by so many sigma."""
    at = FIRST + HOUR_S * first_hour + np.sort(rng.uniform(0, HOUR_S * hours, n))
    ages = rng.normal(40 + 10 * age, 10, n)
    cities = rng.choice(["Rome", "Oslo", "Lima"], n, p=[0.5, 0.4, 0.1])
    incomes = np.exp(rng.normal(10 + np.where(cities == "Oslo", oslo, 0.0), 1, n))
    warmth = rng.normal(np.sin(2 * np.pi * at / 86_400), 1)
    table = zip(at, ages, incomes, cities, warmth, strict=True)
    return "t,age,income,city,warmth\n" + "".join(f"{t:.0f},{a},{i},{c},{w}\n" for t, a, i, c, w in table)


def iso(hour: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(FIRST + HOUR_S * hour))


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two weeks, 72 rows an hour."""
    job = Job(tmp_path_factory.mktemp("baseline"))
    job.put("data.csv", rows(np.random.default_rng(1), 0, HOURS, 24_192))
    assert job.run(kedge_time_column="t", kedge_segment_column="city") == 0
    out = job.root / "processing/output"
    return {
        "baseline_statistics": str(out / "statistics.json"),
        "baseline_constraints": str(out / "constraints.json"),
    }


class Series:
    """Executions of one schedule, an hour each."""

    def __init__(self, root: Path, baseline: dict[str, str]) -> None:
        self.root, self.environment = root, dict(baseline)
        self.rng = np.random.default_rng(2)
        self.jobs: list[Job] = []

    def run(self, hour: int, n: int = 1000, data: str = "", **environment: str) -> Job:
        job = Job(self.root / str(len(self.jobs)))
        job.put("data.csv", data or rows(self.rng, HOURS + hour, 1, n))
        return self.judge(job, hour, **environment)

    def moved(self, hour: int, n: int = 1000, age: float = 0.0, oslo: float = 0.0, **environment: str) -> Job:
        return self.run(hour, data=rows(self.rng, HOURS + hour, 1, n, age, oslo), **environment)

    def judge(self, job: Job, hour: int, **environment: str) -> Job:
        before = {"kedge_drift_state": str(self.jobs[-1].root / "processing/output")} if self.jobs else {}
        window = {"start_time": iso(HOURS + hour), "end_time": iso(HOURS + hour + 1)}
        assert job.run(**{**self.environment, **before, **window, **environment}) == 0, job.message
        self.jobs.append(job)
        return job


@pytest.fixture
def series(tmp_path: Path, baseline: dict[str, str]) -> Series:
    return Series(tmp_path, baseline)


def of(job: Job, name: str) -> dict[str, Any]:
    return job.feature(name, "kedge_drift.json")


def test_a_baseline_keeps_awss_keys_and_its_time_is_no_feature(baseline: dict[str, str], tmp_path: Path):
    document = json.loads(Path(baseline["baseline_statistics"]).read_text())
    assert [each["name"] for each in document["features"]] == ["age", "income", "city", "warmth"]
    age = document["features"][0]
    assert set(age) == {"name", "inferred_type", "numerical_statistics", "kedge_drift"}
    assert len(age["kedge_drift"]["starts_s"]) == age["kedge_drift"]["blocks"] == HOURS
    assert set(document["kedge_segments"]["values"]) == {"Rome", "Oslo", "Lima"}
    strict = Job(tmp_path)
    strict.put("data.csv", rows(np.random.default_rng(1), 0, 1, 300))
    assert strict.run(kedge_strict_aws="Enabled") == 0
    assert "kedge" not in (strict.root / "processing/output/statistics.json").read_text()


def test_hours_without_drift_do_not_alert_though_warmth_has_a_season(series: Series):
    for hour in (0, 6, 12, 18):
        job = series.run(hour)
        assert job.result("constraint_violations.json") == {"violations": []}
    warm = of(job, "warmth")
    assert warm["judged"]
    assert abs(warm["effect"]) < 0.25
    assert not warm["alerts"]
    assert job.result("kedge_drift.json")["baseline_in_order"]


def test_drift_is_told_with_its_size_since_when_and_how_long(series: Series):
    series.run(0)
    series.moved(1, age=0.6)
    job = series.moved(2, age=0.6)
    assert job.violations() == [("age", "baseline_drift_check")]
    said = job.result("constraint_violations.json")["violations"][0]["description"]
    assert "2 windows in a row" in said
    was, now = said.partition("value: mean ")[2].partition(")")[0].split(" -> ")
    assert (float(was), float(now)) == (pytest.approx(40, abs=1), pytest.approx(46, abs=2))
    age = of(job, "age")
    assert age["interval"][0] > 0.25
    assert (age["since"], age["windows_in_a_row"], age["alerts_of_last"]) == (iso(HOURS + 1), 2, [2, 3])
    assert age["severity"] == "material"
    assert age["discovery"]
    assert age["distance"]["method"] == "kolmogorov"
    assert not of(job, "income")["alerts"]


def test_a_change_of_the_material_size_is_seen_where_awss_rule_sees_none(series: Series):
    data = rows(series.rng, HOURS, 1, 1000, age=0.27)
    ours = series.run(0, data=data)
    assert ours.violations() == [("age", "baseline_drift_check")]
    for switch in (
        {"kedge_strict_aws": "Enabled"},
        {"baseline_constraints": configured(series, kedge_strict_aws="Enabled")},
    ):
        strict = Series(series.root / str(len(switch)) / next(iter(switch)), series.environment).run(
            0, data=data, **switch
        )
        assert strict.violations() == []
        assert not (strict.root / "processing/output" / DRIFT).exists()


def configured(series: Series, **config: Any) -> str:
    """A copy of the baseline's constraints."""
    document = json.loads(Path(series.environment["baseline_constraints"]).read_text())
    document["monitoring_config"] |= config
    series.root.mkdir(parents=True, exist_ok=True)
    file = series.root / "constraints.json"
    file.write_text(json.dumps(document))
    return str(file)


def test_what_is_material_can_be_said_and_a_distance_that_somebody_chose_counts(series: Series):
    data = rows(series.rng, HOURS, 1, 1000, age=0.6)
    large = configured(series, kedge_drift={"material_size": 1.0})
    assert series.run(0, data=data, baseline_constraints=large).violations() == []
    chosen = configured(series, distribution_constraints={"comparison_threshold": 0.15, "comparison_method": "Simple"})
    found = series.run(1, data=data, baseline_constraints=chosen).result("constraint_violations.json")["violations"]
    assert [each["feature_name"] for each in found] == ["age"]
    assert "exceeds threshold: 0.15" in found[0]["description"]
    series.environment["baseline_constraints"] = configured(series, kedge_drift={"false_alert_probability": 2})
    job = Job(series.root / "bad")
    job.put("data.csv", data)
    assert job.run(**series.environment) == 1
    assert "it has to be above 0 and below 1" in job.message


def test_a_segment_that_moves_alone_is_named(series: Series):
    job = series.moved(0, n=2000, oslo=0.7)
    assert job.violations() == [("income", "baseline_drift_check")]
    said = job.result("constraint_violations.json")["violations"][0]["description"]
    assert "Where city is 'Oslo'" in said
    assert "'Rome'" not in said
    parts = {each["value"]: each for each in job.result("kedge_drift.json")["segments"]["values"]}
    moved = {value: [f["name"] for f in each["features"] if f["alerts"]] for value, each in parts.items()}
    assert moved == {"Oslo": ["income"], "Rome": [], "Lima": []}
    assert sum(each["rows"] for each in parts.values()) == 2000


def state(job: Job) -> dict[str, Any]:
    return job.result(STATE)


def test_a_window_counts_once_however_often_it_is_judged(series: Series):
    data = rows(series.rng, HOURS + 1, 1, 1000, age=0.6)
    series.run(0)
    once = series.run(1, data=data)
    again = Series(series.root / "again", series.environment)
    again.jobs = [series.jobs[0]]
    tried = again.run(1, data=data)
    for name in (STATE, DRIFT, "constraint_violations.json"):
        assert tried.result(name) == once.result(name)
    after = series.run(1, data=data)  # the same window, from the state that knows it
    assert [each["start_s"] for each in state(after)["windows"]] == [FIRST + HOUR_S * (HOURS + h) for h in (0, 1)]
    assert of(after, "age")["windows_in_a_row"] == 1
    assert after.result("kedge_drift.json")["rule"] == once.result("kedge_drift.json")["rule"]


def test_windows_that_overlap_do_not_spend_the_same_hours_twice(series: Series):
    wide = series.run(0, end_time=iso(HOURS + 4))
    late = series.run(2, end_time=iso(HOURS + 6))
    spent = [each.result("kedge_drift.json")["rule"]["spent_on_this_window"] for each in (wide, late)]
    assert spent == pytest.approx([0.01 * 4 / 720, 0.01 * 2 / 720])


def test_few_rows_are_judged_with_those_before_them(series: Series):
    alerts = []
    for hour in range(4):
        job = series.moved(hour, n=90, age=2.0)
        age = of(job, "age")
        alerts.append(age["alerts"])
        assert age["judged"] == (hour >= 2)
    assert alerts == [False, False, True, True]
    assert age["windows"] == 4


def test_a_state_of_another_baseline_is_begun_anew_and_a_broken_one_is_the_reason(series: Series, tmp_path: Path):
    job = series.run(0)
    held = state(job)
    held["baseline"] = "another"
    file = tmp_path / "state.json"
    file.write_text(json.dumps(held))
    after = series.run(1, kedge_drift_state=str(file))
    assert len(state(after)["windows"]) == 1
    for broken, want in (("{", "is no JSON"), ('{"version": 7}', "its version is 7"), ("[]", "cannot be read")):
        file.write_text(broken)
        bad = Job(tmp_path / "bad")
        bad.put("data.csv", rows(series.rng, HOURS, 1, 300))
        assert bad.run(**series.environment, kedge_drift_state=str(file)) == 1
        assert want in bad.message


def test_where_the_baseline_has_no_times_it_is_said_that_no_season_is_known(series: Series, tmp_path: Path):
    learned = Job(tmp_path / "learned")
    learned.put("data.csv", rows(np.random.default_rng(1), 0, HOURS, 6_000))
    assert learned.run() == 0
    out = learned.root / "processing/output"
    files = {f"baseline_{name}": str(out / f"{name}.json") for name in ("statistics", "constraints")}
    for one, has_times in ((series, True), (Series(tmp_path / "timeless", files), False)):
        job = one.run(0)
        told = job.result("kedge_drift.json")
        assert (told["baseline_in_order"], told["baseline_has_times"]) == (True, has_times)
        page = (job.root / "processing/output/kedge_drift.html").read_text()
        assert ("a season of the day or the week is not known" in page) == (not has_times)


def test_a_baseline_of_aws_has_no_order_and_is_judged_all_the_same(series: Series, tmp_path: Path):
    document = json.loads(Path(series.environment["baseline_statistics"]).read_text())
    del document["kedge_segments"]
    for feature in document["features"]:
        del feature["kedge_drift"]
    series.environment["baseline_statistics"] = str(tmp_path / "aws.json")
    (tmp_path / "aws.json").write_text(json.dumps(document))
    job = series.moved(0, age=0.6)
    assert ("age", "baseline_drift_check") in job.violations()
    assert not of(job, "city")["alerts"]
    assert not job.result("kedge_drift.json")["baseline_in_order"]


def test_the_page_is_one_file_with_a_picture_of_each_column_and_no_text_breaks_it(series: Series):
    series.run(0)
    job = series.moved(1, n=2000, age=0.6, oslo=0.7)
    page = (job.root / "processing/output" / PAGE).read_text()
    assert "2 of 4 columns have drifted" in page
    assert not re.search(r"https?://(?!www\.w3\.org)|<script|src=", page)
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 1 + 2 * 4  # all effects; of each column its shares and its course
    for picture in pictures:
        ElementTree.fromstring(picture)
    for name in ("age", "income", "city", "warmth", "Oslo"):
        assert name in page


def requests(rng: np.random.Generator, first_hour: int, hours: int, n: int, form: str, warmer: float = 0.0) -> str:
    """Captured ones, in whose answer there is a season of the day; held repeats the row before it 7 times in 10."""
    at = FIRST + HOUR_S * first_hour + np.sort(rng.uniform(0, HOUR_S * hours, n))
    warmth, held, last = rng.normal(np.sin(2 * np.pi * at / 86_400) + warmer, 1), rng.normal(size=n), np.arange(n)
    last[1:][rng.random(n - 1) < 0.7] = 0
    held = held[np.maximum.accumulate(last)]
    lines = []
    for time_s, w, h in zip(at, warmth, held, strict=True):
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_s))
        if form == "CSV":
            lines.append(captured(f"{w}\n", f"{h}\n", at=when))
        elif form == "JSON":
            lines.append(captured(json.dumps({"_c0": w}), json.dumps({"_c1": h}), out="JSON", into="JSON", at=when))
        else:
            lines.append(captured(f"[{w}]", f"{h}", out="JSON", at=when))
    return "\n".join(lines)


@pytest.mark.parametrize("form", ["CSV", "JSON", "JSON and CSV"])
def test_captured_records_say_themselves_when_they_were(tmp_path: Path, form: str):
    rng = np.random.default_rng(3)
    baseline = Job(tmp_path / form).baseline(requests(rng, 0, HOURS, 20_160, form), CAPTURED)
    document = json.loads(Path(baseline["baseline_statistics"]).read_text())
    assert [each["name"] for each in document["features"]] == ["_c0", "_c1"]
    assert [len(each["kedge_drift"]["starts_s"]) for each in document["features"]] == [HOURS, HOURS]
    assert "kedge_time_column" not in document
    assert "repeats" not in document["features"][0]["kedge_drift"]
    assert document["features"][1]["kedge_drift"]["repeats"] == pytest.approx(1.7 / 0.3, rel=0.1)
    for hour, warmer in ((0, 0.0), (6, 0.0), (12, 0.0), (18, 0.0), (30, 0.5)):
        job = Job(tmp_path / str(hour))
        job.put("data", requests(rng, HOURS + hour, 1, 1000, form, warmer))
        window = {"start_time": iso(HOURS + hour), "end_time": iso(HOURS + hour + 1)}
        assert job.run(CAPTURED, **baseline, **window) == 0, job.message
        assert job.violations() == ([("_c0", "baseline_drift_check")] if warmer else [])


@pytest.mark.parametrize(
    ("variable", "want"),
    [("kedge_time_column", "no row has seconds since 1970"), ("kedge_segment_column", "the columns are age")],
)
def test_a_column_that_is_not_there_is_the_reason(job: Job, variable: str, want: str):
    job.put("data.csv", "age\n1\n2\n")
    assert job.run(**{variable: "no"}) == 1
    assert want in job.message
