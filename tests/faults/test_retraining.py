"""A retraining goes on as if nothing had happened when the control process is killed in each of its phases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kedge.cli.main import commands
from tests.faults.conftest import Server, until
from tests.faults.test_jobs import _Kedge
from tests.jobs.programs import Programs
from tests.monitors.conftest import Monitors

SLOW = """
import os, pathlib, time
time.sleep(2)
print("accuracy=0.95", flush=True)
pathlib.Path(os.environ["SM_MODEL_DIR"], "inference.py").write_text("")
code = pathlib.Path(os.environ["SM_MODEL_DIR"], "code")
code.mkdir()
(code / "inference.py").write_text(SERVED)
"""
SERVED = """
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    return "{answer}", "text/csv"
"""
ENDS = ("Promoted", "RolledBack", "Failed", "Stopped", "NotBegun")


class Watched(Monitors):
    """The endpoint "scores" answers 0 to everything, and 1 is right; the template makes a model that says so."""

    def prepare(self) -> None:
        programs = Programs(self.kedge)
        script = SLOW.replace("SERVED", repr(SERVED.format(answer="1")))
        programs.train(
            "first", script, algorithm={"MetricDefinitions": [{"Name": "accuracy", "Regex": "accuracy=(.+)"}]}
        )
        self.serve(self.endpoint, SERVED.format(answer="0"))
        hour = self.back(3)
        self.capture(hour, [("1,2", "0")] * 60)
        self.label(hour, hour, dict.fromkeys(range(60), "1"), "truth")
        worst = {"mae": {"threshold": 0.5, "comparison_operator": "GreaterThanThreshold"}}
        self.put("quality.json", json.dumps({"version": 0.0, "regression_constraints": worst}).encode())
        self.define(
            "ModelQuality", "quality", job={"GroundTruthS3Input": {"S3Uri": self.uri("truth")}},
            app={"ProblemType": "Regression"}, source={"InferenceAttribute": "0"},
            baseline={"Constraints": self.uri("quality.json")},
        )  # fmt: skip
        self.sagemaker.create_model_package_group(ModelPackageGroupName="scores")
        assert programs.trained("first")["TrainingJobStatus"] == "Completed"

    def begin(self) -> None:
        tags = {"kedge:retrain": "first", "kedge:retrain-group": "scores", "kedge:retrain-bake": "1",
                "kedge:retrain-at-least": "accuracy=0.9"}  # fmt: skip
        self.schedule(
            "ModelQuality", "quality", hours=(5, 2), Tags=[{"Key": key, "Value": tags[key]} for key in tags]
        )  # fmt: skip

    def runs(self) -> list[dict[str, Any]]:
        done = CliRunner().invoke(
            commands, ["monitor", "status", "quality", "--json"], env={"KEDGE_DATA_DIR": str(self.kedge.data)}
        )
        found: list[dict[str, Any]] = json.loads(done.output)["retrainings"] if done.exit_code == 0 else []
        return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data").up()
    yield server
    server.down()


def watched(server: Server) -> Watched:
    kedge = _Kedge(server)
    kedge.data = server.data  # type: ignore[attr-defined]
    return Watched(kedge)


def test_control_is_killed_in_each_phase(server: Server):
    quality = watched(server)
    quality.prepare()
    quality.begin()
    killed: list[str] = []

    def look() -> dict[str, Any] | None:
        found = quality.runs()
        if not found:
            return None
        status = found[0]["RetrainingStatus"]
        if status not in killed and status not in ENDS:
            killed.append(status)
            server.kill("control")
        return found[0] if status in ENDS else None

    run = until(look, 90, "the end of the retraining")
    assert run["RetrainingStatus"] == "Promoted", run
    assert "Deploying" in killed  # the training may be over before it is seen; the next test waits for one
    assert len(quality.runs()) == 1
    sagemaker = server.client("sagemaker")
    assert sagemaker.describe_endpoint(EndpointName="scores")["EndpointConfigName"] == run["RetrainingName"]
    (package,) = sagemaker.list_model_packages(ModelPackageGroupName="scores")["ModelPackageSummaryList"]
    assert package["ModelPackageArn"] == run["ModelPackageArn"]
    jobs = sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert sorted(each["TrainingJobName"] for each in jobs) == sorted(["first", run["RetrainingName"]])
    steps = [each["Status"] for each in run["Steps"]]
    assert len(steps) == len(set(steps)), steps
    answer = server.client("sagemaker-runtime").invoke_endpoint(EndpointName="scores", ContentType="text/csv", Body="1")
    assert answer["Body"].read() == b"1"


def test_everything_is_killed_while_it_trains(server: Server):
    quality = watched(server)
    quality.prepare()
    quality.begin()
    until(lambda: [each["RetrainingStatus"] for each in quality.runs()] == ["Training"], 60, "the training")
    server.kill_everything()
    server.up()
    quality = watched(server)
    (run,) = until(lambda: [each for each in quality.runs() if each["RetrainingStatus"] in ENDS], 90, "its end")
    assert run["RetrainingStatus"] == "Promoted", run
