"""The programs of the monitors as processing jobs, as the SDK's processors ask for them, on a running server."""

from __future__ import annotations

import io
import json
import re
import tarfile
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.async_inference.conftest import until
from tests.jobs.programs import Programs

REGISTRY = "205585389593.dkr.ecr.us-east-1.amazonaws.com"
HOUR = "orders/AllTraffic/2026/11/29/03"
SCRIPT = """
import os, time
def model_fn(model_dir):
    time.sleep(float(os.environ.get("SLEEP_S", "0")))
def transform_fn(model, data, content_type, accept):
    data = data.decode() if isinstance(data, (bytes, bytearray)) else data
    rows = [[float(each) for each in line.split(",")] for line in data.splitlines()]
    return "\\n".join(str(min(1.0, 0.3 * row[0] + 0.1 * row[1])) for row in rows), "text/csv"
"""


@pytest.fixture(scope="module")
def jobs(kedge_server: Any) -> Programs:
    kedge_server.reset()
    made = Programs(kedge_server)
    for name, environment in (("scores", {}), ("slow", {"SLEEP_S": "60"})):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(SCRIPT.encode())
            archive.addfile(member, io.BytesIO(SCRIPT.encode()))
        made.put(f"models/{name}.tar.gz", buffer.getvalue())
        container = {"Image": "kedge/script:1", "ModelDataUrl": made.uri(f"models/{name}.tar.gz")}
        made.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={**container, "Environment": environment},
            ExecutionRoleArn=kedge_server.role_arn,
        )
    return made


def record(name: str) -> str:
    answer = {"data": "1", "encoding": "CSV", "observedContentType": "text/csv", "mode": "OUTPUT"}
    meta = {"eventId": name, "inferenceTime": "2026-11-29T03:10:00Z"}
    return json.dumps({"captureData": {"endpointOutput": answer}, "eventMetadata": meta, "eventVersion": "0"}) + "\n"


def label(name: str, data: str) -> str:
    truth = {"data": data, "encoding": "CSV"}
    return json.dumps({"groundTruthData": truth, "eventMetadata": {"eventId": name}, "eventVersion": "0"}) + "\n"


def merge(jobs: Programs, name: str) -> None:
    where = f"input_data/{HOUR}"
    request = jobs.processing(
        name,
        inputs=[jobs.input("groundtruth/2026/11/29/03", jobs.uri(f"{name}/truth/")),
                jobs.input(where, jobs.uri(f"{name}/captured/"))],
        outputs=[jobs.output("output", f"{name}/merged")],
        Environment={
            "dataset_source": "/opt/ml/processing/input_data",
            "ground_truth_source": "/opt/ml/processing/groundtruth",
            "output_path": "/opt/ml/processing/output",
        },
    )  # fmt: skip
    request["AppSpecification"] = {"ImageUri": f"{REGISTRY}/sagemaker-model-monitor-groundtruth-merger"}
    jobs.sagemaker.create_processing_job(**request)


def test_captured_records_get_their_labels(jobs: Programs):
    jobs.put("merge/captured/a.jsonl", record("e-1") + record("e-2") + record("e-3"))
    jobs.put("merge/truth/a.jsonl", label("e-1", "1") + label("e-3", "0") + label("nobody", "1"))
    merge(jobs, "merge")
    found = jobs.processed("merge")
    assert found["ProcessingJobStatus"] == "Completed", found
    assert found["ExitMessage"].startswith("Completed: 2 of 3 captured records have a label")
    (key,) = jobs.keys("merge/merged/")
    assert key.startswith(f"{HOUR}/part-00000-")
    merged = [json.loads(line) for line in jobs.get(f"merge/merged/{key}").splitlines()]
    assert [(each["eventMetadata"]["eventId"], each["groundTruthData"]["data"]) for each in merged] == [
        ("e-1", "1"),
        ("e-3", "0"),
    ]
    assert any("1 labels belong to no captured record: nobody" in line for line in jobs.log("ProcessingJobs", "merge"))


@pytest.mark.parametrize(
    ("name", "truth", "reason"),
    [
        ("strangers", label("nobody", "1"), "None of 1 labels belongs to one of 1 captured records"),
        ("binary", b"\xff\xfe\n", "no label was found below .* a label is no JSON object in UTF-8"),
    ],
)
def test_labels_that_fit_nothing_fail_the_job(jobs: Programs, name: str, truth: str | bytes, reason: str):
    jobs.put(f"{name}/captured/a.jsonl", record("e-1"))
    jobs.put(f"{name}/truth/a.jsonl", truth)
    merge(jobs, name)
    found = jobs.processed(name)
    assert found["ProcessingJobStatus"] == "Failed"
    assert re.search(reason, found["FailureReason"]), found["FailureReason"]


def clarify(jobs: Programs, name: str, config: dict[str, Any], **environment: str) -> None:
    jobs.put(f"{name}/config/analysis_config.json", json.dumps(config))
    rows = [f"{n % 2},{n % 5},{int(n % 2 * 3 + n % 5 > 3)}" for n in range(100)]
    jobs.put(f"{name}/data/rows.csv", "\n".join(rows) + "\n")
    request = jobs.processing(
        name,
        inputs=[jobs.input("input/config", jobs.uri(f"{name}/config/analysis_config.json")),
                jobs.input("input/data", jobs.uri(f"{name}/data/rows.csv"))],
        outputs=[jobs.output("output", f"{name}/out")],
        Environment=environment,
    )  # fmt: skip
    request["AppSpecification"] = {"ImageUri": f"{REGISTRY}/sagemaker-clarify-processing:1.0"}
    jobs.sagemaker.create_processing_job(**request)


def config(model: str) -> dict[str, Any]:
    return {
        "dataset_type": "text/csv",
        "headers": ["sex", "age", "target"],
        "label": "target",
        "label_values_or_threshold": [1],
        "facet": [{"name_or_index": "sex", "value_or_threshold": [0]}],
        "probability_threshold": 0.35,
        "methods": {
            "pre_training_bias": {"methods": "all"},
            "post_training_bias": {"methods": "all"},
            "shap": {"baseline": [[0, 0]], "num_samples": 4},
            "report": {"name": "report", "title": "Analysis"},
        },
        "predictor": {
            "model_name": model,
            "instance_type": "ml.t2.medium",
            "initial_instance_count": 1,
            "content_type": "text/csv",
            "accept_type": "text/csv",
            "probability": 0,
        },
    }


def left(jobs: Programs) -> list[str]:
    """Endpoints that are there and stay, and configurations."""
    endpoints = [each for each in jobs.sagemaker.list_endpoints()["Endpoints"] if each["EndpointStatus"] != "Deleting"]
    configs = jobs.sagemaker.list_endpoint_configs()["EndpointConfigs"]
    return [each["EndpointName"] for each in endpoints] + [each["EndpointConfigName"] for each in configs]


def test_clarify_asks_a_copy_of_the_model_and_leaves_none(jobs: Programs):
    clarify(jobs, "clarify", config("scores"), publish_cloudwatch_metrics="Enabled", sagemaker_endpoint_name="orders")
    found = jobs.processed("clarify", 120)
    assert found["ProcessingJobStatus"] == "Completed", found["FailureReason"]
    analysis = json.loads(jobs.get("clarify/out/analysis.json"))
    values = analysis["explanations"]["kernel_shap"]["label0"]["global_shap_values"]
    assert values == pytest.approx({"sex": 0.15, "age": 0.2})
    for stage in ("pre_training_bias_metrics", "post_training_bias_metrics"):
        assert analysis[stage]["facets"]["sex"][0]["value_or_threshold"] == "0"
    assert "report.html" in jobs.keys("clarify/out/")
    assert left(jobs) == []
    now = datetime.now(UTC)
    cloudwatch = jobs.kedge.client("cloudwatch")
    for namespace, metric in (("explainability-metrics", "feature_sex"), ("bias-metrics", "bias_metric_DPL")):
        named = {"Namespace": f"aws/sagemaker/Endpoints/{namespace}", "MetricName": metric}
        (listed,) = cloudwatch.list_metrics(**named)["Metrics"]
        told = cloudwatch.get_metric_statistics(
            **named, Dimensions=listed["Dimensions"], Period=3600, Statistics=["SampleCount"],
            StartTime=now - timedelta(hours=2), EndTime=now + timedelta(hours=1),
        )["Datapoints"]  # fmt: skip
        assert sum(each["SampleCount"] for each in told) == 1


def test_what_a_stopped_job_has_made_goes_with_it(jobs: Programs):
    clarify(jobs, "stopped", config("slow"))
    until(lambda: jobs.sagemaker.list_endpoints(StatusEquals="Creating")["Endpoints"], "the copy of the model", 60)
    jobs.sagemaker.stop_processing_job(ProcessingJobName="stopped")
    assert jobs.processed("stopped")["ProcessingJobStatus"] == "Stopped"
    assert left(jobs) == []


def analyze(jobs: Programs, name: str, script: bytes, variable: str) -> None:
    answer = {"data": "1,2", "encoding": "CSV", "observedContentType": "text/csv", "mode": "OUTPUT"}
    meta = {"eventId": "e", "inferenceTime": "2026-11-29T03:10:00Z"}
    held = {"captureData": {"endpointOutput": answer}, "eventMetadata": meta, "eventVersion": "0"}
    jobs.put("analyze/captured/a.jsonl", json.dumps(held) + "\n")
    jobs.s3.put_object(Bucket=jobs.bucket, Key=f"{name}/script.py", Body=script)
    request = jobs.processing(
        name,
        inputs=[jobs.input("input/endpoint", jobs.uri("analyze/captured/")),
                jobs.input("input/script", jobs.uri(f"{name}/script.py"))],
        outputs=[jobs.output("output", f"{name}/out")],
        Environment={
            "dataset_source": "/opt/ml/processing/input/endpoint",
            "dataset_format": json.dumps({"sagemakerCaptureJson": {"captureIndexNames": ["endpointOutput"]}}),
            "output_path": "/opt/ml/processing/output",
            variable: "/opt/ml/processing/input/script/script.py",
        },
    )  # fmt: skip
    request["AppSpecification"] = {"ImageUri": f"{REGISTRY}/sagemaker-model-monitor-analyzer"}
    jobs.sagemaker.create_processing_job(**request)


BEFORE, AFTER = "record_preprocessor_script", "post_analytics_processor_script"
HANDLER = b"def preprocess_handler(record):\n    "
BROKEN = {
    "ends-at-once": (BEFORE, b"import sys; sys.exit('no')", "script.py could not be loaded: SystemExit: no (line 1)"),
    "ends-later": (BEFORE, HANDLER + b"raise SystemExit(0)", "script.py failed at record 1: SystemExit: 0 (line 2)"),
    "no-python": (BEFORE, b"def preprocess_handler(:", "script.py could not be loaded: SyntaxError: invalid syntax"),
    "no-text": (BEFORE, b"x = '\xff\xfe'", "script.py could not be loaded: SyntaxError: (unicode error)"),
    "goes-deep": (BEFORE, HANDLER + b"return preprocess_handler(record)", "at record 1: RecursionError: maximum"),
    "no-row": (BEFORE, HANDLER + b"return 5", "preprocess_handler of script.py gave int for record 1"),
    "no-handler": (BEFORE, b"pass", "The script script.py has no function preprocess_handler."),
    "is-gone": (BEFORE, HANDLER + b"import os; os._exit(3)", "exit code: 3"),
    "is-killed": (BEFORE, HANDLER + b"import os; os.kill(os.getpid(), 9)", "process was lost, and lost again"),
    "aborts": (BEFORE, HANDLER + b"import os; os.abort()", "The instance was ended by SIGABRT"),
    "after": (AFTER, b"def postprocess_handler():\n    1 / 0", "failed: ZeroDivisionError: division by zero (line 2)"),
}


def test_a_broken_script_is_the_reason(jobs: Programs):
    for name, (variable, script, _) in BROKEN.items():
        analyze(jobs, f"script-{name}", script, variable)
    wrong = {}
    for name, (_, _, says) in BROKEN.items():
        found = jobs.processed(f"script-{name}", 120)
        reason = found.get("FailureReason", "")
        if found["ProcessingJobStatus"] != "Failed" or says not in reason:
            wrong[name] = (found["ProcessingJobStatus"], reason)
    assert not wrong
