"""A script that knows nothing of Kedge learns from labelled records, and its model's monitor judges by these."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from click.testing import CliRunner

from kedge.cli.main import commands
from tests.async_inference.conftest import until
from tests.jobs.programs import Programs
from tests.monitors.conftest import ANALYZER, Monitors

TRAINED = """
import os, pathlib
rows = [line.split(",") for file in pathlib.Path(os.environ["SM_CHANNEL_TRAIN"]).iterdir() for line in open(file)]
print(f"rows={len(rows)}; ones={sum(int(row[0]) for row in rows)};", flush=True)
folder = pathlib.Path(os.environ["SM_MODEL_DIR"], "code")
folder.mkdir()
(folder / "inference.py").write_text('''
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    return "1", "text/csv"
''')
"""
ENDS = ("Promoted", "RolledBack", "Failed", "Stopped", "NotBegun")
ROWS = 400
RANDOM = random.Random(5)
GIVEN = [(RANDOM.gauss(50, 10), RANDOM.randrange(80)) for _ in range(ROWS)]


def kedge(monitors: Monitors, *words: str) -> Any:
    environment = {"KEDGE_DATA_DIR": str(monitors.kedge.data_dir)}
    done = CliRunner().invoke(commands, ["monitor", *words, "--json"], env=environment)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.fixture(scope="module")
def retrained(monitors: Monitors) -> dict[str, Any]:
    """The retraining, once it has ended: of what was captured three hours ago, where inputs had moved by a thousand."""
    programs = Programs(monitors.kedge)
    programs.train(
        "first", TRAINED, InputDataConfig=[programs.channel("train", programs.put("old/train.csv", "1,2,3\n"))],
        algorithm={"MetricDefinitions": [{"Name": n, "Regex": f"{n}=(.+?);"} for n in ("rows", "ones")]},
    )  # fmt: skip
    hour = monitors.back(3)
    monitors.capture(hour, [(f"{weight + 1000},{age}", "0") for weight, age in GIVEN])
    monitors.label(hour, hour, {number: str(number % 2) for number in range(ROWS)}, "truth")
    train = "\n".join(
        ["bin,weight,age", *(f"{number % 2},{weight},{age}" for number, (weight, age) in enumerate(GIVEN))]
    )
    request = programs.processing(
        "baseline",
        Environment={
            "dataset_source": "/opt/ml/processing/rows", "dataset_format": '{"csv": {"header": true}}',
            "output_path": "/opt/ml/processing/made",
        },
        inputs=[programs.input("rows", programs.put("rows/train.csv", train))],
        outputs=[programs.output("made", "before")],
    )  # fmt: skip
    monitors.sagemaker.create_processing_job(**{**request, "AppSpecification": {"ImageUri": ANALYZER}})
    assert programs.processed("baseline")["ProcessingJobStatus"] == "Completed"
    files = {each: monitors.uri(f"before/{each.lower()}.json") for each in ("Constraints", "Statistics")}
    monitors.define("DataQuality", "inputs", baseline=files)
    monitors.schedule("DataQuality", "inputs", expression="cron(30 3 1 1 ? *)", config={})
    worst = {"mae": {"threshold": 0.1, "comparison_operator": "GreaterThanThreshold"}}
    monitors.put("quality.json", json.dumps({"version": 0.0, "regression_constraints": worst}).encode())
    monitors.define(
        "ModelQuality", "quality", job={"GroundTruthS3Input": {"S3Uri": monitors.uri("truth")}},
        app={"ProblemType": "Regression"}, source={"InferenceAttribute": "0"},
        baseline={"Constraints": monitors.uri("quality.json")},
    )  # fmt: skip
    tags = {"kedge:retrain": "first", "kedge:retrain-bake": "1", "kedge:retrain-csv": "train"}
    monitors.schedule(
        "ModelQuality", "quality", hours=(5, 2), Tags=[{"Key": key, "Value": tags[key]} for key in tags]
    )  # fmt: skip

    def over() -> dict[str, Any] | None:
        found = kedge(monitors, "status", "quality")["retrainings"]
        return found[0] if found and found[0]["RetrainingStatus"] in ENDS else None

    ended: dict[str, Any] = until(over, "the end of the retraining", 120)
    return ended


def test_the_channel_it_reads_has_the_labelled_rows(retrained: dict[str, Any], monitors: Monitors):
    assert [each["Status"] for each in retrained["Steps"]][1:3] == ["PreparingData", "Training"]
    job = monitors.sagemaker.describe_training_job(TrainingJobName=retrained["RetrainingName"])
    assert {each["MetricName"]: each["Value"] for each in job["FinalMetricDataList"]} == {
        "rows": ROWS,
        "ones": ROWS / 2,
    }
    channels = {each["ChannelName"]: each for each in job["InputDataConfig"]}
    assert channels.keys() == {"recent", "train"}
    uri = channels["train"]["DataSource"]["S3DataSource"]["S3Uri"]
    body = Programs(monitors.kedge).get(f"{uri.removeprefix(monitors.uri(''))}labelled.csv").decode()
    weight, age = GIVEN[3]
    assert f"1,{weight + 1000},{age}" in body.splitlines()


def test_the_baseline_is_of_the_labelled_records(retrained: dict[str, Any], monitors: Monitors):
    assert retrained["RetrainingStatus"] == "Promoted", retrained
    assert retrained["Steps"][-2]["Status"] == "RenewingBaselines"
    (baseline,) = retrained["Baselines"]
    assert (baseline["BaselineStatus"], baseline["MadeOf"]) == ("Renewed", "labelled records"), baseline
    shown = monitors.sagemaker.describe_monitoring_schedule(MonitoringScheduleName="inputs")
    name = shown["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"]
    config = monitors.sagemaker.describe_data_quality_job_definition(JobDefinitionName=name)[
        "DataQualityBaselineConfig"
    ]
    held = monitors.get(config["StatisticsResource"]["S3Uri"].removeprefix(monitors.uri("")))
    assert held["dataset"]["item_count"] == ROWS
    features = {each["name"]: each["numerical_statistics"]["mean"] for each in held["features"]}
    assert list(features) == ["bin", "weight", "age"]
    assert (features["bin"], features["weight"] > 1000) == (0.5, True)
    assert config["BaseliningJobName"] == baseline["ProcessingJobName"]


def test_the_monitor_judges_by_it(retrained: dict[str, Any], monitors: Monitors):
    """What came in the window violates the baseline before, and not the new one but for what is answered."""
    shown = monitors.sagemaker.describe_monitoring_schedule(MonitoringScheduleName="inputs")
    name = shown["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"]
    found = {}
    for number, definition in enumerate(("inputs", name)):
        monitors.schedule(
            "DataQuality", f"look{number}", hours=(5, 2), config={"MonitoringJobDefinitionName": definition}
        )
        violated = monitors.report(monitors.ended(f"look{number}"), "constraint_violations.json")["violations"]
        found[definition] = {each["feature_name"] for each in violated}
    assert "weight" in found["inputs"]
    assert not found[name] & {"weight", "age"}
