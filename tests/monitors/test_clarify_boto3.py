"""Executions of bias and attribution monitors: with labels, and with a copy of the model to ask."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.monitors.conftest import EARLIER, LATER, Monitors

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
