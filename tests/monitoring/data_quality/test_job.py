"""The analyzer as a job runs it: a folder of data, variables, and the files that come out."""

from __future__ import annotations

import base64
import gzip
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kedge.monitoring.profiles import kll
from tests.monitoring.conftest import CAPTURED, CSV, Job, captured

RNG = np.random.default_rng(3)
N = 3000
AGES = RNG.integers(18, 90, N)
INCOMES = RNG.lognormal(10, 1, N)
CITIES = RNG.choice(["Rome", "Oslo", "Lima"], N)


def table(ages=AGES, incomes=INCOMES, cities=CITIES) -> str:
    rows = [f"{a},{i},{c}" for a, i, c in zip(ages, incomes, cities, strict=True)]
    return "age,income,city\n" + "\n".join(rows) + "\n"


def test_a_baseline_is_suggested(job: Job):
    job.put("data.csv", table())
    assert job.run() == 0
    assert job.message == "Completed: Job completed successfully with no violations."
    statistics = job.result("statistics.json")
    assert statistics["version"] == 0.0
    assert statistics["dataset"] == {"item_count": N}
    assert [each["name"] for each in statistics["features"]] == ["age", "income", "city"]

    income = job.feature("income")
    assert income["inferred_type"] == "Fractional"
    numbers = income["numerical_statistics"]
    assert numbers["common"] == {"num_present": N, "num_missing": 0}
    for key, want in (
        ("mean", INCOMES.mean()),
        ("sum", INCOMES.sum()),
        ("std_dev", INCOMES.std()),
        ("min", INCOMES.min()),
        ("max", INCOMES.max()),
    ):
        assert math.isclose(numbers[key], want, rel_tol=1e-12), key
    assert job.feature("age")["inferred_type"] == "Integral"

    sketch = numbers["distribution"]["kll"]["sketch"]
    assert sketch["parameters"] == {"c": 0.64, "k": 2048.0}
    assert sum(len(level) << height for height, level in enumerate(sketch["data"])) == N
    counted = [each["count"] for each in numbers["distribution"]["kll"]["buckets"]]
    want, edges = np.histogram(INCOMES, 10)
    assert np.allclose([b["lower_bound"] for b in numbers["distribution"]["kll"]["buckets"]], edges[:-1])
    assert np.allclose(counted, want, atol=0.003 * N)
    assert sum(counted) == N

    city = job.feature("city")["string_statistics"]
    assert city["distinct_count"] == 3.0
    assert {b["value"]: b["count"] for b in city["distribution"]["categorical"]["buckets"]} == {
        name: int(np.count_nonzero(name == CITIES)) for name in ("Rome", "Oslo", "Lima")
    }

    constraints = job.result("constraints.json")
    assert [each["inferred_type"] for each in constraints["features"]] == ["Integral", "Fractional", "String"]
    assert constraints["features"][0]["num_constraints"] == {"is_non_negative": True}
    assert set(constraints["features"][2]["string_constraints"]["domains"]) == {"Rome", "Oslo", "Lima"}
    assert constraints["monitoring_config"]["distribution_constraints"]["comparison_method"] == "Robust"


def test_its_own_baseline_is_not_violated(job: Job):
    baseline = job.baseline(table())
    job.put("data.csv", table())
    assert job.run(**baseline) == 0
    assert job.result("constraint_violations.json") == {"violations": []}


def test_each_violation(job: Job):
    baseline = job.baseline(table())
    ages = [*map(str, AGES[:-10]), *["41.5"] * 10]
    incomes = [*map(str, INCOMES[:-5] * 3), *[""] * 5]
    cities = [*CITIES[:-7], *["Bonn"] * 7]
    job.put("data.csv", table(ages, incomes, cities))
    assert job.run(**baseline) == 0
    assert sorted(job.violations()) == [
        ("age", "data_type_check"),
        ("city", "categorical_values_check"),
        ("income", "baseline_drift_check"),
        ("income", "completeness_check"),
    ]
    assert job.message == "CompletedWithViolations: Job completed successfully with 4 violations."
    said = {
        each["feature_name"]: each["description"] for each in job.result("constraint_violations.json")["violations"]
    }
    share = (N - 10) / N * 100
    assert said["age"] == (
        "Data type match requirement is not met. Expected data type: Integral, Expected match: 100.0%. "
        f"Observed: Only {share}% of data is Integral."
    )
    assert "'Bonn'" in said["city"]


def test_columns_that_went_or_came_are_named_and_order_does_not_matter(job: Job):
    baseline = job.baseline(table())
    renamed = [f"{c},{a},{i}" for a, i, c in zip(AGES, INCOMES, CITIES, strict=True)]
    job.put("data.csv", "city,years,income\n" + "\n".join(renamed))
    assert job.run(**baseline) == 0
    assert job.violations() == [("Missing columns", "missing_column_check"), ("Extra columns", "extra_column_check")]
    said = [each["description"] for each in job.result("constraint_violations.json")["violations"]]
    assert "'age'" in said[0]
    assert "'years'" in said[1]


def test_the_baseline_of_another_model_is_told(job: Job):
    baseline = job.baseline("a,b\n1,2\n3,4\n")
    job.put("data.csv", table())
    assert job.run(**baseline) == 0
    assert "another model" in job.result("constraint_violations.json")["violations"][0]["description"]


def test_captured_csv_has_the_answer_first_and_the_names_of_the_baseline(job: Job):
    baseline = job.baseline("score,age,city\n0.5,41,Rome\n0.25,33,Oslo\n")
    lines = [captured("0.5\n", "41,Rome\n"), captured("0.1\n0.2", '33,"Oslo"\n34,Rome\n')]
    job.put("e/v/2026/01/01/00/one.jsonl", "\n".join(lines))
    assert job.run(CAPTURED, **baseline) == 0
    statistics = job.result("statistics.json")
    assert statistics["dataset"]["item_count"] == 3
    assert [each["name"] for each in statistics["features"]] == ["score", "age", "city"]
    assert job.feature("age")["numerical_statistics"]["sum"] == 108
    assert job.feature("score")["numerical_statistics"]["sum"] == pytest.approx(0.8)


def test_captured_csv_without_a_baseline_is_numbered(job: Job):
    job.put("one.jsonl", captured("0.5\n", "41,Rome\n"))
    assert job.run(CAPTURED) == 0
    assert [each["name"] for each in job.result("statistics.json")["features"]] == ["_c0", "_c1", "_c2"]


@pytest.mark.parametrize(
    ("output", "out", "given", "into", "want"),
    [
        ('{"score": 0.5}', "JSON", '{"age": 41, "home": {"city": "Rome"}}', "JSON", ["score", "age", "home.city"]),
        ('{"score": 0.5}', "JSON", "41,Rome", "CSV", ["score", "_c0", "_c1"]),
        ("0.5", "CSV", '{"instances": [{"age": 41}]}', "JSON", ["_c0", "age"]),
        ('{"scores": [0.5, 0.7]}', "JSON", "[[1, 2], [3, 4]]", "JSON", ["scores", "_c0", "_c1"]),
        ('{"id": 7, "p": 1}', "JSON", '{"id": 7, "t": ["x", "y"]}', "JSON", ["output.id", "p", "id", "t.0", "t.1"]),
        ('{"p": 1}\n{"p": 2}', "JSON", '{"a": 1}\n{"a": 2}', "JSON", ["p", "a"]),
    ],
)  # fmt: skip
def test_captured_json_is_flattened_and_content_types_may_differ(job: Job, output, out, given, into, want):
    job.put("one.jsonl", captured(output, given, out=out, into=into))
    assert job.run(CAPTURED) == 0
    assert [each["name"] for each in job.result("statistics.json")["features"]] == want


def test_base64_is_read_by_its_content_type(job: Job):
    record = json.loads(captured("0.5", "41,Rome"))
    record["captureData"]["endpointInput"].update(data=base64.b64encode(b"41,Rome\n").decode(), encoding="BASE64")
    job.put("one.jsonl", json.dumps(record))
    assert job.run(CAPTURED) == 0
    assert job.feature("_c2")["inferred_type"] == "String"


def test_only_the_window_is_read(job: Job):
    hours = [captured("1", "2", at=f"2026-01-01T{hour:02}:30:00Z") for hour in range(4)]
    job.put("one.jsonl", "\n".join(hours))
    assert job.run(CAPTURED, start_time="2026-01-01T01:00:00Z", end_time="2026-01-01T03:00:00Z") == 0
    assert job.result("statistics.json")["dataset"]["item_count"] == 2


def test_parquet_gzip_and_json_lines_say_the_same(job: Job, tmp_path):
    frame = pl.DataFrame({"age": AGES, "income": INCOMES, "city": CITIES})
    found = []
    for name, form in (("csv", CSV), ("parquet", {"parquet": {}}), ("json", {"json": {"lines": True}})):
        each = Job(tmp_path / name)
        file = each.put("data", gzip.compress(table().encode()))
        if name == "parquet":
            frame.write_parquet(file)
        elif name == "json":
            frame.write_ndjson(file)
        assert each.run(form) == 0
        found.append(each.result("statistics.json"))
    assert found[0] == found[1]
    ages = [each["features"][0]["numerical_statistics"]["sum"] for each in found]
    assert len(set(ages)) == 1
    assert found[2]["features"][2] == found[0]["features"][2]


def test_a_manifest_names_the_files(job: Job):
    job.put("input/part.csv", "1,2\n3,4\n")
    source = job.put("input/manifest.json", json.dumps([{"prefix": "s3://bucket/"}, "part.csv"]))
    assert job.run({"csv": {}}, dataset_source=str(source)) == 0
    assert job.result("statistics.json")["dataset"]["item_count"] == 2


def test_metrics_are_handed_over_where_both_switches_are_on(job: Job):
    baseline = job.baseline(table())
    job.put("data.csv", table(incomes=INCOMES * 3))
    where = {"sagemaker_endpoint_name": "shop", "sagemaker_monitoring_schedule_name": "hourly"}
    assert job.run(**baseline, **where) == 0
    file = job.root / "output/metrics/cloudwatch/metrics.jsonl"
    assert not file.exists()
    on = {"publish_cloudwatch_metrics": "Enabled", "metric_time": "2026-01-01T01:00:00Z"}
    assert job.run(**baseline, **where, **on) == 0
    lines = {line["MetricName"]: line for line in map(json.loads, file.read_text().splitlines())}
    assert set(lines) == {
        "feature_data_age", "feature_non_null_age", "feature_baseline_drift_age", "feature_data_income",
        "feature_non_null_income", "feature_baseline_drift_income", "feature_non_null_city",
        "feature_baseline_drift_city",
    }  # fmt: skip
    data = lines["feature_data_age"]
    assert data["StatisticValues"] == {
        "SampleCount": N,
        "Sum": AGES.sum(),
        "Minimum": AGES.min(),
        "Maximum": AGES.max(),
    }
    assert data["Timestamp"] == "2026-01-01T01:00:00Z"
    assert data["Dimensions"] == [
        {"Name": "Endpoint", "Value": "shop"}, {"Name": "MonitoringSchedule", "Value": "hourly"},
    ]  # fmt: skip
    assert lines["feature_baseline_drift_income"]["Value"] > 0.1


PREPROCESS = """
def preprocess_handler(inference_record, logger):
    if inference_record.endpoint_input.encoding != "CSV":
        return []
    values = inference_record.endpoint_input.data.rstrip().split(",")
    logger.info("seen %s", inference_record.event_metadata.event_id)
    return {"b": inference_record.endpoint_output.data, **{f"a{i}": value for i, value in enumerate(values)}}
"""


def test_a_script_makes_the_rows(job: Job, tmp_path, capsys):
    script = tmp_path / "pre.py"
    script.write_text(PREPROCESS)
    ran = tmp_path / "ran"
    post = tmp_path / "post.py"
    post.write_text(f"def postprocess_handler():\n    open({str(ran)!r}, 'w').close()\n")
    job.put("one.jsonl", "\n".join([captured("0.5", "41,Rome\n"), captured("0.5", "{}", into="JSON")]))
    scripts = {"record_preprocessor_script": str(script), "post_analytics_processor_script": str(post)}
    assert job.run(CAPTURED, **scripts) == 0
    assert [each["name"] for each in job.result("statistics.json")["features"]] == ["a0", "a1", "b"]
    assert job.result("statistics.json")["dataset"]["item_count"] == 1
    assert ran.exists()
    assert "INFO seen 1" in capsys.readouterr().out.splitlines()


def test_a_script_may_give_the_record_back(job: Job, tmp_path):
    """As in AWS's example of one that logs."""
    script = tmp_path / "pre.py"
    script.write_text("def preprocess_handler(record, logger):\n    logger.info(f'{record}')\n    return record\n")
    job.put("one.jsonl", "\n".join([captured("0.5\n0.7\n", "41,Rome\n42,Oslo\n"), captured("0.5", "43,Bonn")]))
    assert job.run(CAPTURED, record_preprocessor_script=str(script)) == 0, job.message
    with_script = job.result("statistics.json")
    assert job.run(CAPTURED) == 0
    assert with_script["dataset"]["item_count"] == 3
    assert [(each["name"], each["inferred_type"]) for each in with_script["features"]] == [
        (each["name"], each["inferred_type"]) for each in job.result("statistics.json")["features"]
    ]


@pytest.mark.parametrize(
    ("script", "want"),
    [
        ("def preprocess_handler(record):\n    return record.nothing\n", "(line 2)"),
        ("def preprocess_handler(record):\n    return 7\n", "gave int"),
        ("import nothing_like_that\n", "nothing_like_that"),
        ("def other(): pass\n", "no function preprocess_handler"),
    ],
)
def test_a_broken_script_is_the_reason(job: Job, tmp_path, script, want):
    file = tmp_path / "pre.py"
    file.write_text(script)
    job.put("one.jsonl", captured("0.5", "41,Rome\n"))
    assert job.run(CAPTURED, record_preprocessor_script=str(file)) == 1
    assert want in job.message
    assert (job.root / "output/failure").read_text() == job.message


@pytest.mark.parametrize(
    ("data", "form", "want"),
    [
        ("", CSV, "Job inputs had no data"),
        ("a,b\n", CSV, "Job inputs had no data"),
        (b"a,b\n1,caf\xe9\n", CSV, "is not UTF-8: byte 0xe9"),
        ("no json\n", CAPTURED, "no JSON"),
        ('{"captureData": 7}\n', CAPTURED, "no captured record"),
        (b"PAR1 no", {"parquet": {}}, "cannot be read as Parquet"),
        ("a\n1\n", {"xml": {}}, "the formats are"),
        (captured("1", "{}\n{}", into="JSON"), CAPTURED, "2 rows of input and 1 of output"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_the_reason(job: Job, data, form, want):
    job.put("data", data)
    assert job.run(form) == 1
    assert want in job.message


def test_no_file_and_no_folder(job: Job):
    assert job.run() == 1
    assert "dataset_source is /opt/ml/processing/input/data, which is not there" in job.message


@pytest.mark.parametrize(
    ("document", "want"),
    [("{}", 'no list "features"'), ("[", "cannot be read"), ('{"features": [{"completeness": 1}]}', "has no name"),
     ('{"features": [], "monitoring_config": {"emit_metrics": "Yes"}}', "'Yes'; it has to be Enabled or Disabled")],
)  # fmt: skip
def test_a_broken_baseline_is_the_reason(job: Job, tmp_path, document, want):
    file = tmp_path / "constraints.json"
    file.write_text(document)
    job.put("data", "a\n1\n")
    assert job.run(baseline_constraints=str(file)) == 1
    assert want in job.message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a\n7\n", "Integral"),
        ("a,b\n,1\n,2\n", "Unknown"),
        ("a\n3\n3\n3\n", "Integral"),
        ("a\n1\n1.5\n", "Fractional"),
        ("a\n1\n1e3\n", "Fractional"),
        ("a\n1\nx\n", "String"),
        ("a\ntrue\nfalse\n", "String"),
        ("a\ntrue\n1\n", "String"),
        ("a\nNaN\n1\n", "Integral"),
        ("a\ninf\n1.5\n-inf\n", "Fractional"),
        ("a\ninf\n", "Fractional"),
        ("a\n1e308\n1e308\n", "Fractional"),
        ("a\n" + "9" * 30 + "\n", "Integral"),
        ('a,b\n"x, ""y""\nz",1\n', "String"),
    ],
)
def test_odd_columns_have_a_type_and_are_no_crash(job: Job, text, kind):
    baseline = job.baseline(text)
    job.put("data", text)
    assert job.run(**baseline) == 0
    assert job.feature("a")["inferred_type"] == kind
    assert job.violations() == []
    assert "Infinity" not in (job.root / "processing/output/statistics.json").read_text()


def test_infinity_and_what_is_no_number(job: Job):
    job.put("data", "a\ninf\n1.5\nnan\n")
    assert job.run() == 0
    assert job.feature("a")["numerical_statistics"]["common"] == {"num_present": 2, "num_missing": 1}
    assert job.feature("a")["numerical_statistics"]["max"] == 1.5
    assert job.feature("a", "data_quality_report.json")["infinite"] == 1


def test_python_writes_nan_into_json_lines(job: Job):
    job.put("data", '{"a": NaN, "b": 1}\n{"a": 1.5, "b": "x"}\n{"a": Infinity, "b": null}\n')
    assert job.run({"json": {"lines": True}}) == 0
    assert job.feature("a")["numerical_statistics"]["common"] == {"num_present": 2, "num_missing": 1}
    assert job.feature("b")["inferred_type"] == "String"


def test_rows_with_too_many_fields_are_left_out_and_noted(job: Job):
    job.put("data", "a,b\n1,2\n3,4,5\n6\n7,8\n")
    assert job.run() == 0
    assert job.result("statistics.json")["dataset"]["item_count"] == 3
    assert job.result("data_quality_report.json")["left_out"] == {
        "records": 1, "reasons": {"data: a row has 3 fields, and not 2": 1},
    }  # fmt: skip
    assert job.feature("b")["numerical_statistics"]["common"]["num_missing"] == 1


def test_ten_thousand_columns(job: Job):
    names = ",".join(f"c{i}" for i in range(10_000))
    job.put("data", names + "\n" + "\n".join(",".join(["1"] * 10_000) for _ in range(3)))
    assert job.run() == 0
    assert len(job.result("statistics.json")["features"]) == 10_000


def test_many_different_strings(job: Job):
    count = 100_000
    job.put("data", "id,x\n" + "\n".join(f"id-{i},{i % 3}" for i in range(count)))
    assert job.run() == 0
    assert job.feature("id")["string_statistics"]["distinct_count"] == pytest.approx(count, rel=0.05)
    assert "string_constraints" not in job.feature("id", "constraints.json")


def test_a_sketch_of_a_file_can_be_read_again(job: Job):
    job.put("data", table())
    assert job.run() == 0
    data = job.feature("income")["numerical_statistics"]["distribution"]["kll"]["sketch"]["data"]
    again = kll.Kll.of_levels(data)
    at = np.quantile(INCOMES, [0.1, 0.5, 0.9])
    assert np.allclose(again.shares(at), [0.1, 0.5, 0.9], atol=0.003)


@pytest.mark.parametrize("key", ["monitoring_config_overrides", "monitoringConfigOverrides"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_column_may_be_left_out_of_the_judgement(job: Job, tmp_path, key, nested):
    baseline = job.baseline(table())
    file = tmp_path / "constraints.json"
    document = json.loads(Path(baseline["baseline_constraints"]).read_text())
    city = document["features"][2]
    (city["string_constraints"] if nested else city)[key] = {
        "evaluate_constraints": "Disabled",
        "emit_metrics": "Disabled",
    }
    file.write_text(json.dumps(document))
    job.put("data", table(ages=[*AGES[:-1], "x"], cities=["Bonn"] * N))
    on = {**baseline, "baseline_constraints": str(file), "publish_cloudwatch_metrics": "Enabled"}
    assert job.run(**on) == 0
    assert job.violations() == [("age", "data_type_check")]
    assert "city" not in (job.root / "output/metrics/cloudwatch/metrics.jsonl").read_text()


def test_an_unknown_kind_of_analysis(job: Job):
    assert job.run(analysis_type="HOROSCOPE") == 1
    assert "'HOROSCOPE'" in job.message
