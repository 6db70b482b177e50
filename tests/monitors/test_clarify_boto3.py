"""Executions of bias and attribution monitors: with labels, and with a copy of the model to ask."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.monitors.conftest import AT, EARLIER, LATER, SNAKE, Monitors

LABELS = "kedge/labels/scores"
"""Where `kedge label` puts them, and where they are looked for when no place is given."""
CONFIG = {"version": "1.0", "headers": ["age", "income", "label"], "label": "label"}
BIAS = {
    **CONFIG,
    "label_values_or_threshold": [1],
    "facet": [{"name_or_index": "age", "value_or_threshold": [1]}],
    "methods": {"pre_training_bias": {"methods": ["CI", "DPL"]}, "post_training_bias": {"methods": ["DPPL", "AD"]}},
}
SHAP = {
    "version": "1.0",
    "headers": ["age", "income"],
    "methods": {"shap": {"baseline": [[0.0, 0.0]], "num_samples": 8}},
    "predictor": {
        "model_name": "scores",
        "instance_type": "ml.m5.large",
        "initial_instance_count": 1,
        "content_type": "text/csv",
        "accept_type": "text/csv",
    },
}


@pytest.fixture(scope="module")
def watched(monitors: Monitors) -> Monitors:
    """Two hours of records: in the first both ages are treated alike, in the second only one of both is accepted."""
    for config, name in ((BIAS, "bias"), (SHAP, "shap")):
        monitors.put(f"config/{name}/analysis_config.json", json.dumps(config).encode())
    alike, unlike = [], []
    labels = {}
    for number in range(80):
        age, good = number % 2, number // 2 % 2
        alike.append((f"{age},{number % 7}", "0.9" if good else "0.1"))
        unlike.append((f"{age},{number % 5}", "0.1" if age else "0.9"))
        labels[number] = str(good)
    monitors.capture(monitors.back(6), alike)
    monitors.capture(monitors.back(3), unlike, part="b")
    monitors.label(monitors.back(6), monitors.back(6), labels, LABELS)
    monitors.label(monitors.back(3), monitors.back(3), labels, LABELS, part="b")
    return monitors


def monitor(
    watched: Monitors, kind: str, name: str, config: str, hours: tuple[int, int], **more: Any
) -> dict[str, Any]:
    """Its execution, which is over."""
    app = {"ConfigUri": watched.uri(f"config/{config}/analysis_config.json")}
    watched.define(kind, name, app=app, **more)
    watched.schedule(kind, name, hours=hours)
    return watched.ended(name)


def analysis_of(watched: Monitors, execution: dict[str, Any]) -> str:
    (output,) = watched.job(execution)["ProcessingOutputConfig"]["Outputs"]
    return f"{output['S3Output']['S3Uri']}/analysis.json"


def test_bias_is_measured_against_the_baseline(watched: Monitors):
    shared = {
        "job": {"GroundTruthS3Input": {}},
        "source": {"ProbabilityAttribute": "0", "ProbabilityThresholdAttribute": 0.5},
    }
    fair = monitor(watched, "ModelBias", "fair", "bias", EARLIER, **shared)
    assert fair["MonitoringExecutionStatus"] == "Completed", fair
    (facet,) = watched.report(fair, "analysis.json")["post_training_bias_metrics"]["facets"]["age"]
    assert {each["name"]: each["value"] for each in facet["metrics"]} == {"DPPL": 0.0, "AD": 0.0}
    unfair = monitor(
        watched, "ModelBias", "unfair", "bias", LATER, baseline={"Constraints": analysis_of(watched, fair)}, **shared
    )
    assert unfair["MonitoringExecutionStatus"] == "CompletedWithViolations", unfair
    violated = watched.report(unfair, "constraint_violations.json")["violations"]
    assert {(each["facet"], each["metric_name"]) for each in violated} == {("age", "DPPL")}


def test_attributions_are_those_of_a_copy_of_the_model(watched: Monitors):
    found = monitor(watched, "ModelExplainability", "reasons", "shap", EARLIER)
    assert found["MonitoringExecutionStatus"] == "Completed", found
    (label,) = watched.report(found, "analysis.json")["explanations"]["kernel_shap"].values()
    assert set(label["global_shap_values"]) == {"age", "income"}
    assert watched.sagemaker.list_endpoints(NameContains="clarify")["Endpoints"] == []
    job = watched.job(found)
    assert job["Environment"]["analysis_type"] == "MODEL_EXPLAINABILITY"


def transformed(watched: Monitors, name: str, rows: list[str], side: str) -> dict[str, Any]:
    """A BatchTransformInput of these lines, as a transform's data capture left them six hours ago."""
    hour = watched.back(6)
    watched.put(f"batches/{name}.csv", "\n".join(rows).encode())
    manifest = json.dumps([{"prefix": watched.uri("batches/")}, f"{name}.csv"])
    watched.put(f"transformed-{name}/{side}/{hour:%Y/%m/%d/%H}/m.json", manifest.encode())
    return {"DataCapturedDestinationS3Uri": watched.uri(f"transformed-{name}"), "LocalPath": AT}


def batch(watched: Monitors, kind: str, name: str, config: str, job: dict[str, Any], **more: Any) -> dict[str, Any]:
    app = {"ConfigUri": watched.uri(f"config/{config}/analysis_config.json")}
    given = watched.definition(kind, name, app=app, **more)
    given[f"{kind}JobInput"] = job
    getattr(watched.sagemaker, f"create_{SNAKE[kind]}_job_definition")(**given)
    watched.schedule(kind, name, hours=EARLIER)
    return watched.ended(name)


def test_bias_of_a_batch_transform_is_of_outputs_that_hold_their_inputs(watched: Monitors):
    """Ages are treated alike by the answers, and by the labels the one of them never is good."""
    hour = watched.back(6)
    lines = [
        f"{n % 2},{n % 7},{'0.9' if n // 2 % 2 else '0.1'},id-{n},{hour:%Y-%m-%dT%H:%M:%SZ}" for n in range(80)
    ]  # fmt: skip
    source = transformed(watched, "joined", lines, "output")
    truth = [
        {
            "groundTruthData": {"data": str(n // 2 % 2 * (n % 2)), "encoding": "CSV"},
            "eventMetadata": {"eventId": f"id-{n}"},
        }
        for n in range(80)
    ]
    watched.put(f"joined-truth/{hour:%Y/%m/%d/%H}/a.jsonl", "\n".join(map(json.dumps, truth)).encode())
    job = {
        "BatchTransformInput": {
            **source, "DatasetFormat": {"Csv": {"Header": False}}, "ProbabilityAttribute": "2",
            "ProbabilityThresholdAttribute": 0.5,
        },
        "GroundTruthS3Input": {"S3Uri": watched.uri("joined-truth")},
    }  # fmt: skip
    found = batch(watched, "ModelBias", "batch-bias", "bias", job)
    assert found["MonitoringExecutionStatus"] == "Completed", found
    analysis = watched.report(found, "analysis.json")
    (after,) = analysis["post_training_bias_metrics"]["facets"]["age"]
    (before,) = analysis["pre_training_bias_metrics"]["facets"]["age"]
    assert {each["name"]: each["value"] for each in after["metrics"]}["DPPL"] == 0.0
    assert {each["name"]: each["value"] for each in before["metrics"]} == {"CI": 0.0, "DPL": -0.5}


def test_outputs_without_their_inputs_have_no_bias_to_measure(watched: Monitors):
    hour = watched.back(6)
    source = transformed(watched, "bare", [f"0.9,bare-{n},{hour:%Y-%m-%dT%H:%M:%SZ}" for n in range(9)], "output")
    truth = [{"groundTruthData": {"data": "1"}, "eventMetadata": {"eventId": f"bare-{n}"}} for n in range(9)]
    watched.put(f"bare-truth/{hour:%Y/%m/%d/%H}/a.jsonl", "\n".join(map(json.dumps, truth)).encode())
    source |= {"DatasetFormat": {"Csv": {"Header": False}}, "ProbabilityAttribute": "0"}
    truths = {"GroundTruthS3Input": {"S3Uri": watched.uri("bare-truth")}}
    found = batch(watched, "ModelBias", "bare-bias", "bias", {"BatchTransformInput": source, **truths})
    assert "DataProcessing.JoinSource" in found["FailureReason"], found


@pytest.mark.parametrize("form", ["csv", "json"])
def test_attributions_of_the_inputs_of_a_batch_transform(watched: Monitors, form: str):
    """With a header that is not the configuration's, or as JSON Lines though that was of CSV."""
    if form == "csv":
        rows, told = ["years,earned", *(f"{n % 2},{n % 7}" for n in range(40))], {"Csv": {"Header": True}}
    else:
        rows, told = [json.dumps({"features": [n % 2, n % 7]}) for n in range(40)], {"Json": {"Line": True}}
    source = {**transformed(watched, form, rows, "input"), "DatasetFormat": told}
    if form == "json":
        source["FeaturesAttribute"] = "features"
    found = batch(watched, "ModelExplainability", f"batch-{form}", "shap", {"BatchTransformInput": source})
    assert found["MonitoringExecutionStatus"] == "Completed", found
    (label,) = watched.report(found, "analysis.json")["explanations"]["kernel_shap"].values()
    assert set(label["global_shap_values"]) == {"age", "income"}
    assert label["expected_value"] == 0.5
