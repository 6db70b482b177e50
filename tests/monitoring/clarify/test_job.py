"""Clarify's jobs as containers: data sets and monitors' windows in, files out, with a model that answers bytes."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kedge.monitoring.clarify import main
from kedge.monitoring.clarify.config import BadConfig, read

HEADERS = ["sex", "age", "income", "target"]
SLOPES = np.array([0.5, 0.02, 0.001])


def people(rows: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sex, age = rng.integers(0, 2, rows), rng.integers(18, 80, rows)
    income = np.round(rng.normal(1000, 200, rows))
    score = np.column_stack([sex, age, income]) @ SLOPES
    return np.column_stack([sex, age, income, (score + rng.normal(0, 0.3, rows) > 2.2).astype(int)]).astype(int)


def csv(rows: np.ndarray, headers: list[str] | None = None) -> str:
    lines = [",".join(headers)] if headers else []
    return "\n".join([*lines, *(",".join(map(str, row)) for row in rows)]) + "\n"


class Asked:
    """A linear model: probabilities as CSV, or as JSON Lines."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, body: bytes, kind: str, accept: str) -> tuple[bytes, str]:
        self.bodies.append(body)
        if kind == "text/csv":
            rows = np.array([[float(each) for each in line.split(",")] for line in body.decode().splitlines()])
            return "\n".join(map(str, self.score(rows).tolist())).encode(), "text/csv"
        rows = np.array([json.loads(line)["features"] for line in body.decode().splitlines()], dtype=float)
        lines = [json.dumps({"scores": [1 - each, each]}) for each in self.score(rows).tolist()]
        return "\n".join(lines).encode(), "application/jsonlines"

    @staticmethod
    def score(rows: np.ndarray) -> np.ndarray:
        return np.asarray((rows @ SLOPES) / 4.4)


def place(opt_ml: Path, name: str, text: str) -> None:
    file = opt_ml / "processing/input" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def job(
    opt_ml: Path, config: dict[str, Any], invoke: Any = None, **environment: str
) -> tuple[int, str, dict[str, Any]]:
    place(opt_ml, "config/analysis_config.json", json.dumps(config))
    code = main(environment, opt_ml, invoke)
    files = (opt_ml / "processing/output").glob("*.json")
    return code, (opt_ml / "output/message").read_text(), {file.stem: json.loads(file.read_text()) for file in files}


BIAS = {
    "dataset_type": "text/csv",
    "headers": HEADERS,
    "label": "target",
    "label_values_or_threshold": [1],
    "facet": [
        {"name_or_index": "sex", "value_or_threshold": [0]},
        {"name_or_index": "age", "value_or_threshold": [40]},
    ],
    "group_variable": "sex",
    "methods": {
        "pre_training_bias": {"methods": "all"},
        "post_training_bias": {"methods": "all"},
        "report": {"name": "report", "title": "Loans <and> people"},
    },
    "predictor": {"model_name": "loans", "content_type": "text/csv", "accept_type": "text/csv", "probability": 0},
}


@pytest.mark.parametrize("header", [None, HEADERS])
def test_bias_of_a_data_set_and_of_a_models_answers(tmp_path, header):
    rows = people()
    place(tmp_path, "data/people.csv", csv(rows, header))
    asked = Asked()
    code, message, found = job(tmp_path, BIAS, asked)
    assert (code, message) == (0, "Completed: Job completed successfully with no violations.")
    held = found["analysis"]
    pre = held["pre_training_bias_metrics"]
    assert (pre["label"], pre["label_value_or_threshold"]) == ("target", "1")
    assert [each["value_or_threshold"] for each in pre["facets"]["sex"]] == ["0"]
    metrics = {each["name"]: each for each in pre["facets"]["sex"][0]["metrics"]}
    assert set(metrics) == {"CDDL", "CI", "DPL", "JS", "KL", "KS", "LP", "TVD"}
    facet, label = rows[:, 0] == 0, rows[:, 3] == 1
    assert metrics["DPL"]["value"] == pytest.approx(label[~facet].mean() - label[facet].mean())
    low, high = metrics["DPL"]["confidence_interval"]
    assert low < metrics["DPL"]["value"] < high
    post = held["post_training_bias_metrics"]["facets"]["sex"][0]["metrics"]
    said = Asked.score(rows[:, :3]) > 0.5
    values = {each["name"]: each["value"] for each in post}
    assert len(values) == 13
    assert values["DPPL"] == pytest.approx(said[~facet].mean() - said[facet].mean())
    assert sum(body.count(b"\n") for body in asked.bodies) == len(rows)
    assert asked.bodies[0].splitlines()[0] == ",".join(map(str, rows[0, :3])).encode()
    page = (tmp_path / "processing/output/report.html").read_text()
    assert "<h1>Loans &lt;and&gt; people</h1>" in page
    assert "Difference in Positive Proportions in Labels" in page


def rates(found: dict[str, Any]) -> dict[str, float]:
    """The post-training measures of the facet sex."""
    facets = found["analysis"]["post_training_bias_metrics"]["facets"]
    return {each["name"]: each["value"] for each in facets["sex"][0]["metrics"]}


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_one_number_from_0_to_1_is_a_probability_though_nothing_names_it(tmp_path, threshold):
    """As the SDK sends it of ModelPredictedLabelConfig(probability_threshold=0.7)."""
    rows = people()
    place(tmp_path, "data/people.csv", csv(rows))
    predictor = {key: value for key, value in BIAS["predictor"].items() if key != "probability"}
    code, message, found = job(tmp_path, BIAS | {"predictor": predictor, "probability_threshold": threshold}, Asked())
    assert code == 0, message
    said, facet = Asked.score(rows[:, :3]) > threshold, rows[:, 0] == 0
    assert rates(found)["DPPL"] == pytest.approx(said[~facet].mean() - said[facet].mean())


def test_where_0_is_the_positive_label_it_is_predicted_below_the_threshold(tmp_path):
    rows = people()
    place(tmp_path, "data/people.csv", csv(rows))
    code, message, found = job(tmp_path, BIAS | {"label_values_or_threshold": [0]}, Asked())
    assert code == 0, message
    said, facet = Asked.score(rows[:, :3]) <= 0.5, rows[:, 0] == 0
    assert rates(found)["DPPL"] == pytest.approx(said[~facet].mean() - said[facet].mean())
    right = said == (rows[:, 3] == 0)
    assert rates(found)["AD"] == pytest.approx(right[~facet].mean() - right[facet].mean())


def test_answers_that_are_neither_labels_nor_probabilities_are_told(tmp_path):
    place(tmp_path, "data/people.csv", csv(people()))
    predictor = {key: value for key, value in BIAS["predictor"].items() if key != "probability"}

    def margins(body: bytes, kind: str, accept: str) -> tuple[bytes, str]:
        return "\n".join(str(place / 7) for place, _ in enumerate(body.splitlines())).encode(), "text/csv"

    code, message, _ = job(tmp_path, BIAS | {"predictor": predictor}, margins)
    assert (code, "neither labels nor probabilities" in message) == (1, True), message


SHAP = {
    "dataset_type": "text/csv",
    "headers": HEADERS,
    "label": "target",
    "methods": {
        "shap": {"baseline": [[0, 40, 1000]], "num_samples": 100, "save_local_shap_values": True},
        "pdp": {"features": ["age"], "grid_resolution": 5},
    },
    "predictor": {"endpoint_name": "loans", "content_type": "text/csv", "accept_type": "text/csv"},
}


def test_attributions_of_a_linear_model_are_its_slopes(tmp_path):
    rows = people(50)
    place(tmp_path, "data/people.csv", csv(rows))
    code, message, found = job(tmp_path, SHAP, Asked())
    assert code == 0, message
    held = found["analysis"]["explanations"]
    want = np.abs((rows[:, :3] - [0, 40, 1000]) * SLOPES / 4.4)
    assert list(held["kernel_shap"]["label0"]["global_shap_values"]) == HEADERS[:3]
    assert list(held["kernel_shap"]["label0"]["global_shap_values"].values()) == pytest.approx(want.mean(axis=0))
    assert held["kernel_shap"]["label0"]["expected_value"] == pytest.approx(1.8 / 4.4)
    local = (tmp_path / "processing/output/explanations_shap/out.csv").read_text().splitlines()
    assert local[0] == "sex_label0,age_label0,income_label0"
    assert len(local) == 51
    (curve,) = held["pdp"]
    assert (curve["feature_name"], len(curve["feature_values"])) == ("age", 5)
    slope = np.diff(curve["model_predictions"][0]) / np.diff(curve["feature_values"])
    assert slope == pytest.approx(0.02 / 4.4)
    assert "What the model looks at: label0" in (tmp_path / "processing/output/report.html").read_text()


def test_json_lines_with_a_template_and_several_outputs(tmp_path):
    rows = people(40)
    lines = [json.dumps({"f": row[:3].tolist(), "y": int(row[3])}) for row in rows]
    place(tmp_path, "data/people.jsonl", "\n".join(lines))
    config = {
        "dataset_type": "application/jsonlines",
        "headers": [*HEADERS[:3], "y"],
        "features": "f",
        "label": "y",
        "methods": {"shap": {"num_clusters": 2, "agg_method": "mean_sq", "seed": 3}},
        "predictor": {
            "endpoint_name": "loans",
            "content_type": "application/jsonlines",
            "content_template": '{"features": $features}',
            "probability": "scores",
            "label_headers": ["no", "yes"],
        },
    }
    code, message, found = job(tmp_path, config, Asked())
    assert code == 0, message
    held = found["analysis"]["explanations"]["kernel_shap"]
    assert held["no"]["global_shap_values"] == pytest.approx(held["yes"]["global_shap_values"])
    baseline = (tmp_path / "processing/output/explanations_shap/baseline.csv").read_text().splitlines()
    assert (baseline[0], len(baseline)) == ("sex,age,income", 3)


def record(row: Any, answer: str | None, label: str | None, time: str = "03:10") -> str:
    captured = {
        "endpointInput": {
            "data": ",".join(map(str, row)),
            "encoding": "CSV",
            "observedContentType": "text/csv",
            "mode": "INPUT",
        }
    }
    if answer is not None:
        captured["endpointOutput"] = {"data": answer, "encoding": "CSV", "observedContentType": "text/csv"}
    held: dict[str, Any] = {
        "captureData": captured,
        "eventMetadata": {"eventId": "e", "inferenceTime": f"2026-11-29T{time}:00Z"},
    }
    if label is not None:
        held["groundTruthData"] = {"data": label, "encoding": "CSV"}
    return json.dumps(held)


WINDOW = {
    "dataset_source": "/opt/ml/processing/input/endpoint",
    "start_time": "2026-11-29T03:00:00Z",
    "end_time": "2026-11-29T04:00:00Z",
    "publish_cloudwatch_metrics": "Enabled",
    "sagemaker_endpoint_name": "loans",
    "sagemaker_monitoring_schedule_name": "hourly",
    "baseline_constraints": "/opt/ml/processing/input/baseline/analysis.json",
}
MERGED = json.dumps({"sagemakerMergeJson": {"captureIndexNames": ["endpointInput", "endpointOutput"]}})
CAPTURED = json.dumps({"sagemakerCaptureJson": {"captureIndexNames": ["endpointInput"]}})


def metrics(opt_ml: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (opt_ml / "output/metrics/cloudwatch/metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("named", [{"probability_attribute": "0"}, {"probability_threshold_attribute": "0.5"}])
@pytest.mark.parametrize(("unfair", "violated"), [(False, False), (True, True)])
def test_a_bias_monitor_of_merged_records(tmp_path, unfair, violated, named):
    """The threshold alone is what AWS's documentation gives."""
    rows = people(600)
    place(tmp_path, "data/people.csv", csv(rows))
    assert job(tmp_path, BIAS, Asked())[0] == 0
    baseline = (tmp_path / "processing/output/analysis.json").read_text()
    place(tmp_path, "baseline/analysis.json", baseline)

    live = people(600, seed=1)
    scores = np.clip(Asked.score(live[:, :3]) - (0.25 * (live[:, 0] == 0) if unfair else 0), 0, 1)
    lines = [record(row[:3], f"{score:.4f}", str(row[3])) for row, score in zip(live, scores, strict=True)]
    place(tmp_path, "endpoint/loans/AllTraffic/2026/11/29/03/a.jsonl", "\n".join([*lines, record([1], "1", "1")]))
    config = {key: BIAS[key] for key in ("headers", "label", "label_values_or_threshold", "facet", "group_variable")}
    code, message, found = job(tmp_path, config | {"version": "1.0"}, None, dataset_format=MERGED, **named, **WINDOW)
    assert code == 0, message
    found_names = {each["metric_name"] for each in found["constraint_violations"]["violations"]}
    assert ({"DPPL", "RD"} <= found_names) == violated, found_names
    assert message.startswith("CompletedWithViolations" if found_names else "Completed:")
    if violated:
        one = next(e for e in found["constraint_violations"]["violations"] if e["metric_name"] == "DPPL")
        assert (one["facet"], one["facet_value"], one["constraint_check_type"]) == ("sex", "0", "bias_drift_check")
    dppl = next(each for each in metrics(tmp_path) if each["MetricName"] == "bias_metric_DPPL")
    assert dppl["Namespace"] == "aws/sagemaker/Endpoints/bias-metrics"
    assert {each["Name"]: each["Value"] for each in dppl["Dimensions"]} == {
        "Endpoint": "loans",
        "MonitoringSchedule": "hourly",
        "BiasStage": "Post-Training",
        "Label": "target",
        "LabelValue": "1",
        "Facet": "sex",
        "FacetValue": "0",
    }


def test_an_attribution_monitor_of_captured_records(tmp_path):
    rows = people(60)
    place(tmp_path, "data/people.csv", csv(rows))
    assert job(tmp_path, SHAP, Asked())[0] == 0
    held = json.loads((tmp_path / "processing/output/analysis.json").read_text())
    config = SHAP | {"methods": {"shap": SHAP["methods"]["shap"]}}
    place(tmp_path, "endpoint/a.jsonl", "\n".join(record(row[:3], None, None) for row in people(60, seed=2)))
    window = dict(dataset_format=CAPTURED, **WINDOW)
    place(tmp_path, "baseline/analysis.json", json.dumps(held))
    code, message, found = job(tmp_path, config, Asked(), **window)
    assert (code, found["constraint_violations"]["violations"]) == (0, []), message
    values = held["explanations"]["kernel_shap"]["label0"]["global_shap_values"]
    values |= {"sex": 9.0, "age": 0.001, "income": 0.1}
    place(tmp_path, "baseline/analysis.json", json.dumps(held))
    code, message, found = job(tmp_path, config, Asked(), **window)
    (one,) = found["constraint_violations"]["violations"]
    assert (one["label"], one["metric_name"]) == ("label0", "shap")
    assert one["constraint_check_type"] == "feature_attribution_drift_check"
    assert one["description"].startswith("Feature attribution drift 0.")
    assert one["description"].endswith(" exceeds threshold 0.9")
    assert message == "CompletedWithViolations: Job completed successfully with 1 violations."
    kinds = {each["MetricName"]: {d["Name"]: d["Value"] for d in each["Dimensions"]} for each in metrics(tmp_path)}
    assert kinds["feature_age"]["ValueType"] == "GlobalShapValues"
    assert kinds["ExpectedValue"]["ExplainabilityMethod"] == "KernelShap"


@pytest.mark.parametrize(
    ("given", "attributes"),
    [
        ('{"instances": [{"sex": 0, "age": 30}, {"sex": 1, "age": 50}]}', {}),
        ('{"rows": [[0, 30], [1, 50]], "more": 1}', {"features_attribute": "rows"}),
        ('{"rows": [[0, 30], [1, 50]], "more": 1}', {"features_attribute": "$.rows", "ground_truth_attribute": "y"}),
    ],
)
def test_requests_of_json_and_of_several_rows(tmp_path, given, attributes):
    def side(data: str) -> dict[str, str]:
        return {"data": data, "encoding": "JSON", "observedContentType": "application/json"}

    held = {
        "captureData": {"endpointInput": side(given), "endpointOutput": side('{"scores": [0.9, 0.2]}')},
        "eventMetadata": {"eventId": "e"},
        "groundTruthData": {
            "data": '{"y": [1, 0]}' if "ground_truth_attribute" in attributes else "1\n0",
            "encoding": "CSV",
        },
    }
    if "ground_truth_attribute" in attributes:
        held["groundTruthData"]["encoding"] = "JSON"
    place(tmp_path, "endpoint/a.jsonl", "\n".join([json.dumps(held)] * 20))
    config = {"headers": ["sex", "age"], "label": "y", "facet": [{"name_or_index": "sex", "value_or_threshold": [0]}]}
    code, message, found = job(
        tmp_path,
        config,
        None,
        dataset_format=MERGED,
        probability_attribute="scores",
        dataset_source=WINDOW["dataset_source"],
        **attributes,
    )
    assert code == 0, message
    post = found["analysis"]["post_training_bias_metrics"]["facets"]["sex"][0]["metrics"]
    assert {each["name"]: each["value"] for each in post}["DPPL"] == -1


def test_a_monitor_may_leave_features_out(tmp_path):
    place(tmp_path, "endpoint/a.jsonl", "\n".join(record([*row[:3], 7], None, None) for row in people(20)))
    config = SHAP | {"headers": [*HEADERS[:3], "id"], "label": None, "methods": {"shap": SHAP["methods"]["shap"]}}
    window = {key: value for key, value in WINDOW.items() if key != "baseline_constraints"}
    code, message, found = job(
        tmp_path, config, Asked(), dataset_format=CAPTURED, exclude_features_attribute="3", **window
    )
    assert code == 0, message
    values = found["analysis"]["explanations"]["kernel_shap"]["label0"]["global_shap_values"]
    assert list(values) == HEADERS[:3]


@pytest.mark.parametrize("header", [None, ["a", "b", "c", "d"]])
def test_a_data_set_without_headers_has_its_own_or_numbers(tmp_path, header):
    place(tmp_path, "data/people.csv", csv(people(60), header))
    config = {"label": 3, "facet": [{"name_or_index": 0}], "methods": {"pre_training_bias": {"methods": ["DPL"]}}}
    code, message, found = job(tmp_path, config)
    assert code == 0, message
    block = found["analysis"]["pre_training_bias_metrics"]
    assert block["label"] == ("d" if header else "column_3")
    assert [each["value_or_threshold"] for each in block["facets"]["a" if header else "column_0"]] == ["0", "1"]


def test_a_monitors_attribute_says_where_the_models_answers_are(tmp_path):
    rows = people(30)
    place(tmp_path, "endpoint/a.jsonl", "\n".join(record(row[:3], None, None) for row in rows))
    config = SHAP | {"methods": {"shap": SHAP["methods"]["shap"]}}

    def invoke(body: bytes, kind: str, accept: str) -> tuple[bytes, str]:
        lines = Asked()(body, kind, accept)[0].decode().splitlines()
        return "\n".join(f"yes,{line}" for line in lines).encode(), kind

    window = {key: value for key, value in WINDOW.items() if key != "baseline_constraints"}
    code, message, _ = job(tmp_path, config, invoke, dataset_format=CAPTURED, inference_attribute="1", **window)
    assert code == 0, message


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"methods": {}}, "asks for nothing"),
        ({"methods": {"magic": {}}}, "methods has 'magic'"),
        (BIAS | {"facet": []}, "facet of analysis_config.json is not set"),
        (
            BIAS | {"facet": [{"name_or_index": "height"}]},
            "facet is 'height'; the columns are sex, age, income, target",
        ),
        (BIAS | {"headers": ["a", "b"]}, "4 columns, and headers of analysis_config.json has 2"),
        (BIAS | {"label_values_or_threshold": [7], "predictor": None}, "No row has a positive label"),
        (BIAS | {"predictor": {}}, "neither a model_name nor an endpoint_name"),
        (SHAP | {"predictor": None}, "explanations ask a model"),
        (SHAP | {"methods": {"shap": {"baseline": [[1, 2]]}}}, "rows of 3 features: sex, age, income"),
        (SHAP | {"methods": {"shap": {"agg_method": "max"}}}, "agg_method is 'max'"),
        (SHAP | {"methods": {"pdp": {"features": ["height"]}}}, "methods.pdp.features has 'height'"),
        (SHAP | {"methods": {"pdp": {"grid_resolution": "x"}}}, "methods.pdp.grid_resolution is 'x'"),
        (SHAP | {"dataset_type": "image/png"}, "dataset_type is 'image/png'"),
    ],
)
def test_what_cannot_be_analysed_fails_with_its_reason(tmp_path, config, told):
    place(tmp_path, "data/people.csv", csv(people(30)))
    invoke = None if config.get("predictor") == {} else Asked()
    code, message, found = job(tmp_path, config, invoke)
    assert code == 1
    assert told in message
    assert (tmp_path / "output/failure").read_text() == message
    assert not found


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"0.5\n", "asked about 5 rows and answered 1"),
        (b"no\n" * 5, "no numbers, such as 'no'"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_model_that_answers_oddly_is_told(tmp_path, answer, told):
    place(tmp_path, "data/people.csv", csv(people(30)))
    config = SHAP | {"methods": {"shap": {}}}
    code, message, _ = job(tmp_path, config, lambda body, kind, accept: (answer, "text/csv"))
    assert code == 1
    assert told in message


def test_infinite_and_missing_features_are_asked_about_as_they_are(tmp_path):
    place(tmp_path, "data/people.csv", "1,nan,inf,1\n0,,1000,0\n" * 3)
    bodies: list[bytes] = []

    def invoke(body: bytes, kind: str, accept: str) -> tuple[bytes, str]:
        bodies.append(body)
        return b"0.5\n" * body.count(b"\n"), kind

    code, message, _ = job(tmp_path, SHAP | {"methods": {"shap": {}}}, invoke)
    assert code == 0, message
    assert any(b"1,,inf\n" in body for body in bodies)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Job inputs had no data"),
        ("1,2,3\n", "3 columns, and headers of analysis_config.json has 4"),
        (b"\xff\xfe,1,2,3\n", "is not UTF-8"),
    ],
)
def test_data_that_cannot_be_read_say_why(tmp_path, text, told):
    place(tmp_path, "data/people.csv", "")
    (tmp_path / "processing/input/data/people.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    code, message, _ = job(tmp_path, BIAS, Asked())
    assert code == 1
    assert told in message


def test_records_that_were_not_merged_are_told(tmp_path):
    place(tmp_path, "endpoint/a.jsonl", record([1, 40, 1000], "0.4", None))
    config = {key: BIAS[key] for key in ("headers", "label", "facet")}
    window = {key: value for key, value in WINDOW.items() if key != "baseline_constraints"}
    code, message, _ = job(tmp_path, config, None, dataset_format=MERGED, **window)
    assert code == 1
    assert "has no groundTruthData; it was not merged" in message


def test_gaps_in_facets_are_told_before_a_model_is_asked(tmp_path):
    text = csv(people(30)).splitlines()
    place(tmp_path, "data/people.csv", "\n".join(["," + text[0].partition(",")[2], *text[1:]]))
    asked = Asked()
    code, message, _ = job(tmp_path, BIAS, asked)
    assert (code, asked.bodies) == (1, [])
    assert "1 of 30 rows have no sex" in message


def test_a_configuration_is_checked_before_anything_runs():
    for held, told in (
        ([], "holds no object"),
        ({"facet_dataset_uri": "s3://a/b"}, "facet_dataset_uri"),
        ({"facet": [{"value_or_threshold": [1]}], "methods": {"pre_training_bias": {}}}, "needs a name_or_index"),
        ({"facet": [{"name_or_index": "a"}], "methods": {"pre_training_bias": {"methods": ["DI"]}}}, "measure 'DI'"),
        ({"methods": {"shap": {"num_clusters": 40}}}, "from 1 to 12"),
        ({"predictor": {"content_type": "image/png"}}, "content_type is 'image/png'"),
        ({"predictor": {"content_type": "application/jsonlines"}}, "content_template has to be set"),
        ({"probability_threshold": "high"}, "has to be a number"),
    ):
        with pytest.raises(BadConfig, match=told):
            read(held)


class Tags(HTMLParser):
    """Which elements are open; those that HTML closes by itself are not counted."""

    LOOSE = {"meta", "br", "td", "th", "tr", "p", "path", "circle", "rect", "polyline"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        assert not any(name in ("src", "href") for name, _ in attrs)
        if tag not in self.LOOSE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.LOOSE:
            assert self.open.pop() == tag


def test_the_report_is_whole_and_loads_nothing(tmp_path):
    place(tmp_path, "data/people.csv", csv(people(60)))
    both = BIAS | {"methods": BIAS["methods"] | SHAP["methods"]}
    code, message, _ = job(tmp_path, both, Asked())
    assert code == 0, message
    tags = Tags()
    tags.feed((tmp_path / "processing/output/report.html").read_text())
    assert tags.open == []
    assert {"svg", "table", "polyline", "rect", "circle"} <= set(tags.seen)
