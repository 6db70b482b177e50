"""Whatever comes in: a violation or a reason that a person understands, and never a crash."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kedge.monitoring.reading import rows
from tests.monitoring.conftest import CAPTURED, CSV, Job, captured

N = 400
RNG = np.random.default_rng(6)
AGES, PRICES = RNG.integers(18, 90, N), RNG.lognormal(3, 1, N)
CITIES = RNG.choice(["Rome", "Oslo"], N)
WINDOW = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T01:00:00Z"}
HEADER = "age,price,city"


def lines(rows: int = N) -> list[str]:
    return [f"{a},{p},{c}" for a, p, c in zip(AGES[:rows], PRICES, CITIES, strict=False)]


def each(change) -> list[str]:
    """The same rows, each changed."""
    return [",".join(change(*line.split(","))) for line in lines()]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return Job(tmp_path_factory.mktemp("baseline")).baseline("\n".join([HEADER, *lines()]) + "\n")


DRIFTS = [("age", "drift"), ("price", "drift"), ("city", "drift")]
GONE, CAME = ("Missing columns", "missing_column"), ("Extra columns", "extra_column")
INPUTS = {
    "the same": (HEADER, lines(), []),
    "one row": (HEADER, lines(1), []),
    "all null": (HEADER, [",,"] * N, sorted([*DRIFTS, *((name, "completeness") for name, _ in DRIFTS)])),
    "constant": (HEADER, [lines(1)[0]] * N, DRIFTS),
    "missing": ("age,city", each(lambda a, p, c: (a, c)), [GONE]),
    "renamed": ("age,cost,city", lines(), [GONE, CAME]),
    "reordered": ("city,age,price", each(lambda a, p, c: (c, a, p)), []),
    "another model": ("a,b", ["1,2"] * N, [GONE, CAME]),
    "mixed types": (
        HEADER,
        each(lambda a, p, c: (a if int(a) % 2 else f"about {a}", p, c)),
        [("age", "data_type"), ("age", "drift")],
    ),
    "no number": (HEADER, each(lambda a, p, c: (a, "NaN", c)), [("price", "completeness"), ("price", "drift")]),
    "infinite": (HEADER, each(lambda a, p, c: (a, "inf" if p < "3" else "-inf", c)), [("price", "drift")]),
    "vast": (HEADER, each(lambda a, p, c: (a, f"{float(p) * 1e300}", c)), [("price", "drift")]),
    "10,000 columns": (
        ",".join([HEADER, *(f"c{i}" for i in range(10_000))]),
        [f"{line}{',1' * 10_000}" for line in lines(3)],
        [CAME],
    ),
    "different strings": (
        HEADER,
        each(lambda a, p, c: (a, p, f"{c}-{p}")),
        [("city", "categorical_values"), ("city", "drift")],
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_window_is_judged_whatever_it_holds(job: Job, baseline: dict[str, str], name):
    header, rows, want = INPUTS[name]
    job.put("data.csv", "\n".join([header, *rows]) + "\n")
    assert job.run(**baseline, **WINDOW) == 0, job.message
    found = [(name, kind.removesuffix("_check").replace("baseline_drift", "drift")) for name, kind in job.violations()]
    assert sorted(found) == sorted(want)
    for file in ("kedge_drift.json", "kedge_drift_state.json", "statistics.json"):
        text = (job.root / "processing/output" / file).read_text()
        json.loads(text, parse_constant=lambda no: pytest.fail(f"a file holds {no}"))
    # What it left is a state that the next execution takes.
    after = Job(job.root / "after")
    after.put("data.csv", "\n".join([HEADER, *lines()]) + "\n")
    state = {"kedge_drift_state": str(job.root / "processing/output")}
    later = {"start_time": WINDOW["end_time"], "end_time": "2026-01-01T02:00:00Z"}
    assert after.run(**baseline, **state, **later) == 0, after.message


@pytest.mark.parametrize(
    "data",
    [
        "a\n1\n",
        "a\n\n\n",
        "a,b\n,1\n,2\n",
        "a\n" + "7\n" * N,
        "a\nNaN\ninf\n",
        "a\ninf\n-inf\n",
        "a\n1\nx\ntrue\n",
        'a\n""\n',
    ],
)
def test_a_baseline_of_it_can_be_judged_by(job: Job, data):
    """A baseline of one row, of nothing, of a constant, of no numbers."""
    before = Job(job.root / "first")
    before.put("data", data)
    if before.run() != 0:
        assert before.message.startswith(("Job inputs had no data", "None of "))
        return
    out = before.root / "processing/output"
    given = {
        "baseline_statistics": str(out / "statistics.json"),
        "baseline_constraints": str(out / "constraints.json"),
    }
    job.put("data.csv", "\n".join([HEADER.replace("age", "a"), *lines()]) + "\n")
    assert job.run(**given, **WINDOW) == 0, job.message


def test_no_record_of_the_window(job: Job, baseline: dict[str, str]):
    job.put("one.jsonl", captured("1", "2,Rome", at="2025-12-31T23:00:00Z"))
    assert job.run(CAPTURED, **baseline, **WINDOW) == 1
    assert job.message.startswith("Job inputs had no data")
    assert job.message.endswith(f"holds no rows from {WINDOW['start_time']} to {WINDOW['end_time']}.")


def test_a_script_that_drops_every_record(job: Job, baseline: dict[str, str], tmp_path: Path):
    script = tmp_path / "pre.py"
    script.write_text("def preprocess_handler(record):\n    return []\n")
    job.put("data.csv", "\n".join([HEADER, *lines()]) + "\n")
    assert job.run(**baseline, record_preprocessor_script=str(script)) == 1
    assert job.message.endswith("holds no rows, or pre.py has dropped them all.")


def test_records_of_which_none_can_be_read(job: Job, baseline: dict[str, str]):
    """No window without data: the alert counts it."""
    job.put("one.jsonl", "no record\nnor this\n")
    assert job.run(CAPTURED, **baseline, **WINDOW) == 1
    assert job.message.startswith("None of 2 records could be used: A line is no JSON")


def violated(job: Job) -> dict[str, str]:
    """Descriptions by check."""
    found = json.loads((job.root / "processing/output/constraint_violations.json").read_text())["violations"]
    return {each["constraint_check_type"]: each["description"] for each in found}


@pytest.mark.parametrize(
    ("bad", "more", "violates"), [(12, {}, True), (2, {}, False), (12, {"kedge_strict_aws": "Enabled"}, False)]
)
def test_records_of_which_many_cannot_be_read(job: Job, baseline: dict[str, str], bad, more, violates):
    """Else a monitor that reads but a part of what came would find nothing."""
    records = [captured(line.partition(",")[0], line.partition(",")[2]).encode() for line in lines(300)]
    broken = [line.replace(b"captureData", b"c\xffptureData") for line in records[:bad]]
    job.put("one.jsonl", b"\n".join([*records[bad:], *broken]))
    assert job.run(CAPTURED, **baseline, **WINDOW, **more) == 0, job.message
    assert ("unreadable_records_check" in violated(job)) == violates
    if violates:
        told = violated(job)["unreadable_records_check"]
        assert told.startswith("12 of 300 records could not be read (4.0%; 1.0% may be).")
        assert "A line is not UTF-8" in told


def test_a_value_that_is_a_whole_page_is_named_by_its_beginning(job: Job, baseline: dict[str, str]):
    job.put("data.csv", "\n".join([HEADER, *(f"{number % 70},1,{'z' * 100_000}" for number in range(20))]) + "\n")
    assert job.run(**baseline, **WINDOW) == 0, job.message
    assert f"'{'z' * 100}...'" in violated(job)["categorical_values_check"]
    assert len(violated(job)["categorical_values_check"]) < 400


def test_statistics_and_constraints_of_two_models(job: Job, baseline: dict[str, str], tmp_path: Path):
    other = Job(tmp_path / "other").baseline("x,y\n1,2\n3,4\n")
    job.put("data.csv", "\n".join([HEADER, *lines()]) + "\n")
    mixed = {**baseline, "baseline_statistics": other["baseline_statistics"]}
    assert job.run(**mixed, **WINDOW) == 1
    assert "are they of two models?" in job.message


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"counts": "no"}, "kedge_drift of age in the baseline statistics cannot be read"),
        ({"counts": ""}, "kedge_drift of age"),
        ({"blocks": 10**9}, "kedge_drift of age"),
        ({"uppers": "x"}, "kedge_drift of age"),
    ],
)
def test_what_drift_is_judged_by_is_broken(job: Job, baseline: dict[str, str], tmp_path: Path, change, want):
    document = json.loads(Path(baseline["baseline_statistics"]).read_text())
    document["features"][0]["kedge_drift"] |= change
    file = tmp_path / "statistics.json"
    file.write_text(json.dumps(document))
    job.put("data.csv", "\n".join([HEADER, *lines()]) + "\n")
    assert job.run(**{**baseline, "baseline_statistics": str(file)}, **WINDOW) == 1
    assert want in job.message


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"start_time": "yesterday"}, "start_time is 'yesterday'"),
        ({"end_time": WINDOW["start_time"]}, "is not after it"),
    ],
)
def test_a_window_that_is_none(job: Job, baseline: dict[str, str], change, want):
    job.put("data.csv", "\n".join([HEADER, *lines()]) + "\n")
    assert job.run(**baseline, **{**WINDOW, **change}) == 1
    assert want in job.message


def test_a_script_that_fails_at_the_end(job: Job, baseline: dict[str, str], tmp_path: Path):
    script = tmp_path / "post.py"
    script.write_text("def postprocess_handler():\n    1 / 0\n")
    job.put("data.csv", "\n".join([HEADER, *lines()]) + "\n")
    assert job.run(**baseline, **WINDOW, post_analytics_processor_script=str(script)) == 1
    assert job.message == "The script post.py failed: ZeroDivisionError: division by zero (line 2)"


NAMES = "\n".join(json.dumps({f"k{row}.{n}": 1 for n in range(1_000)}) for row in range(51))
DEEP = '{"a": ' * 5000 + "1" + "}" * 5000


@pytest.mark.parametrize(
    ("data", "form", "want"),
    [
        ("\n\n\n", CSV, "Job inputs had no data"),
        ("1," * 4_000_000, CSV, "has 4000001 columns in its first line; more than 50000 are not read"),
        ("a,b\n" + "1," * 4_000_000, CSV, "a row has more than 50000 fields"),
        (DEEP, {"json": {"lines": True}}, "A line is no JSON: depth limit exceeded"),
        (f"[{DEEP}]", {"json": {"lines": False}}, "A line is no JSON: depth limit exceeded"),
        (NAMES, {"json": {"lines": True}}, "are values used as names?"),
    ],
)
def test_what_is_too_wide_or_too_deep_is_the_reason(job: Job, data, form, want):
    job.put("data", data)
    assert job.run(form) == 1
    assert want in job.message


def test_a_row_of_millions_of_fields_is_left_out_and_a_file_may_begin_with_empty_lines(job: Job):
    job.put("data", "\n\r\na,b\n1,x\n" + "1," * 4_000_000 + '\n2,"y\n' + "," * 60_000 + '"\n')
    assert job.run() == 0
    assert job.result("statistics.json")["dataset"]["item_count"] == 2
    assert job.result("data_quality_report.json")["left_out"]["records"] == 1
    assert job.feature("b")["string_statistics"]["distinct_count"] == 2


def test_records_that_differ_in_their_names_make_pieces_of_a_bounded_size():
    made = list(rows.pieces(({f"k{n}": n} for n in range(4_000)), None))
    assert sum(piece.rows for piece in made) == 4_000
    assert max(piece.rows * len(piece.columns) for piece in made) <= 2_001_000
