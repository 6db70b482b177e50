"""The model quality job as a container: baseline, then windows of merged records, through files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kedge.monitoring import analyzer
from kedge.monitoring.container import Container, JobFailed
from kedge.monitoring.quality.job import run

BASE = {"analysis_type": "MODEL_QUALITY", "problem_type": "BinaryClassification"}
MERGED = json.dumps({"sagemakerMergeJson": {"captureIndexNames": ["endpointOutput"]}})


def place(opt_ml: Path, name: str, text: str) -> None:
    file = opt_ml / "processing/input" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def job(opt_ml: Path, **environment: str) -> tuple[str, dict[str, Any]]:
    held = BASE | {"output_path": "/opt/ml/processing/output", "dataset_source": "/opt/ml/processing/input/data"}
    message = run(Container(held | environment, opt_ml))
    files = (opt_ml / "processing/output").glob("*.json")
    return message, {file.stem: json.loads(file.read_text()) for file in files}


def merged(answer: Any, label: Any, encoding: str = "CSV", truth: str = "CSV", time: str = "03:10") -> str:
    kind = "text/csv" if encoding == "CSV" else "application/json"
    return json.dumps(
        {
            "captureData": {"endpointOutput": {"data": answer, "encoding": encoding, "observedContentType": kind}},
            "eventMetadata": {"eventId": "e", "inferenceTime": f"2026-11-29T{time}:00Z"},
            "groundTruthData": {"data": label, "encoding": truth},
        }
    )


def baseline_csv(rows: int = 400) -> str:
    rng = np.random.default_rng(3)
    lines = ["probability,prediction,label"]
    for label in rng.integers(0, 2, rows):
        score = min(1.0, max(0.0, 0.2 + 0.6 * label + rng.normal(0, 0.25)))
        lines.append(f"{score:.4f},{int(score > 0.5)},{label}")
    return "\n".join(lines) + "\n"


NAMED = {
    "inference_attribute": "prediction",
    "probability_attribute": "probability",
    "ground_truth_attribute": "label",
    "dataset_format": '{"csv": {"header": true}}',
}


def test_a_baseline_then_a_window_of_merged_records(tmp_path):
    place(tmp_path, "data/baseline.csv", baseline_csv())
    message, found = job(tmp_path, **NAMED)
    assert message == "Completed: Job completed successfully with no violations."
    assert set(found) == {"statistics", "constraints"}
    assert found["statistics"]["dataset"]["item_count"] == 400

    place(tmp_path, "baseline/constraints.json", json.dumps(found["constraints"]))
    (tmp_path / "processing/input/data/baseline.csv").unlink()
    rng = np.random.default_rng(4)
    place(
        tmp_path, "data/03/a.jsonl", "\n".join(merged(f"{rng.random():.3f}", str(rng.integers(2))) for _ in range(300))
    )
    message, found = job(
        tmp_path,
        dataset_format=MERGED,
        probability_attribute="0",
        probability_threshold_attribute="0.5",
        baseline_constraints="/opt/ml/processing/input/baseline",
        publish_cloudwatch_metrics="Enabled",
        sagemaker_endpoint_name="orders",
        sagemaker_monitoring_schedule_name="hourly",
        start_time="2026-11-29T03:00:00Z",
        end_time="2026-11-29T04:00:00Z",
    )
    violated = {each["metric_name"] for each in found["constraint_violations"]["violations"]}
    assert {"f2", "auc", "error_rate"} <= violated
    assert message == f"CompletedWithViolations: Job completed successfully with {len(violated)} violations."
    lines = (tmp_path / "output/metrics/cloudwatch/metrics.jsonl").read_text().splitlines()
    metrics = {each["MetricName"]: each for each in map(json.loads, lines)}
    assert metrics["f2"]["Namespace"] == "aws/sagemaker/Endpoints/model-metrics"
    assert metrics["f2"]["Timestamp"] == "2026-11-29T03:00:00Z"
    assert metrics["f2"]["Dimensions"] == [
        {"Name": "Endpoint", "Value": "orders"},
        {"Name": "MonitoringSchedule", "Value": "hourly"},
    ]
    assert {"error_rate", "error_class_drift"} <= set(metrics)


@pytest.mark.parametrize(
    ("answer", "encoding", "attributes"),
    [
        ("1,0.8\n0,0.3", "CSV", {"inference_attribute": "0", "probability_attribute": "1"}),
        ('{"labels": [1, 0], "scores": [0.8, 0.3]}', "JSON", {"inference_attribute": "labels"}),
        ('{"predictions": [{"y": 1}, {"y": 0}]}', "JSON", {"inference_attribute": "$.predictions[].y"}),
        ("[[0.2, 0.8], [0.7, 0.3]]", "JSON", {"probability_attribute": "1"}),
        ('{"p": [[0.2, 0.8], [0.7, 0.3]]}', "JSON", {"probability_attribute": "p"}),
        ("[1, 0]", "JSON", {}),
    ],
)
def test_attributes_find_predictions_in_any_answer(tmp_path, answer, encoding, attributes):
    place(
        tmp_path, "data/a.jsonl", merged(answer, "1\n1", encoding) + "\n" + merged(answer, "[1, 1]", encoding, "JSON")
    )
    _, found = job(tmp_path, dataset_format=MERGED, **attributes)
    matrix = found["statistics"]["binary_classification_metrics"]["confusion_matrix"]
    assert matrix == {"0": {"0": 0, "1": 0}, "1": {"0": 2, "1": 2}}


def test_records_of_another_time_and_odd_ones_are_left_out_and_told(tmp_path, capsys):
    lines = [
        merged("1", "1"),
        merged("0", "1", time="05:00"),
        merged("1,2", "1"),
        merged("1\n1", "1"),
        "no json",
        merged("1", '{"label": 0}', truth="JSON"),
    ]
    place(tmp_path, "data/a.jsonl", "\n".join(lines))
    _, found = job(tmp_path, dataset_format=MERGED, start_time="2026-11-29T03:00:00Z", end_time="2026-11-29T04:00:00Z")
    assert found["statistics"]["dataset"]["item_count"] == 2
    said = capsys.readouterr().out
    assert "a row has 2 values, and no attribute says which" in said
    assert "the numbers of values of a record differ" in said


@pytest.mark.parametrize(
    ("text", "environment", "told"),
    [
        ("a,b\n1,1\n", {"problem_type": "Guessing"}, "problem_type is 'Guessing'"),
        ("a,b\n", {}, "Job inputs had no data"),
        ("a,b\n1,1\n", {"inference_attribute": "c"}, "There is no column 'c'; the columns are a, b"),
        ("a,b\n1,1\n", {"ground_truth_attribute": ""}, "ground_truth_attribute is not set"),
        ("a,b\n0.4,1\n", {}, "A prediction is '0.4'"),
        ("a,b\n1,1\n", {"probability_threshold_attribute": "x"}, "has to be a number"),
    ],
)
def test_what_cannot_be_judged_fails_with_its_reason(tmp_path, text, environment, told):
    place(tmp_path, "data/a.csv", text)
    usual = {
        "dataset_format": '{"csv": {"header": true}}',
        "inference_attribute": "a",
        "ground_truth_attribute": "b",
    }
    with pytest.raises(JobFailed, match=told):
        job(tmp_path, **(usual | environment))


def test_the_analyzer_runs_it_by_its_analysis_type(tmp_path):
    place(tmp_path, "data/baseline.csv", baseline_csv())
    environment = BASE | NAMED | {"dataset_source": "/opt/ml/processing/input/data"}
    assert analyzer.main(environment, tmp_path) == 0
    assert "error_constraints" in json.loads((tmp_path / "processing/output/constraints.json").read_text())
    assert analyzer.main(environment | {"problem_type": "Guessing"}, tmp_path) == 1
    assert "problem_type is 'Guessing'" in (tmp_path / "output/failure").read_text()
