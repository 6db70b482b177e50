"""The jobs of an execution, as requests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.monitors import plan
from kedge.monitors.kinds import KINDS
from kedge.monitors.monitor import Monitor
from kedge.monitors.plan import Baseline, Source
from kedge.monitors.records import Execution, minute_of

AT = datetime(2026, 1, 9, 13, tzinfo=UTC)


def monitor(kind: str = "DataQuality", **more: Any) -> Monitor:
    source = {"EndpointName": "wine", "LocalPath": "/opt/ml/processing/input/endpoint", **more.pop("input", {})}
    output = {"S3Uri": "s3://b/out", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "Continuous"}
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    return Monitor(kind, "arn:aws:iam::1:role/r", "registry/of/image:1", cluster, source, output, **more)


def execution(kind: str = "DataQuality", at: datetime = AT) -> Execution:
    return Execution("u", "hourly", "arn", "s", kind, {}, at.timestamp(), at.timestamp() - 3600, at.timestamp())


def analysis(of: Monitor, baseline: Baseline = Baseline()) -> dict[str, Any]:
    sources = [Source("s3://b/c/wine/v/2026/01/09/12", "wine/v/2026/01/09/12")]
    return plan.analysis_job(of, execution(of.kind), sources, baseline, "s3://b/c", 60)


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_jobs_are_as_long_as_they_may_be_and_always_the_same(kind: str):
    stages = (plan.MERGE, plan.MERGE_JOB), (plan.ANALYSIS, KINDS[kind].job)
    names = [plan.job_name(execution(kind), *stage) for stage in stages]
    assert names == [plan.job_name(execution(kind), *stage) for stage in stages]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 63
    assert names[1].startswith(f"{KINDS[kind].job}-202601091300-")


def test_what_a_program_is_told():
    given = monitor(
        input={"InferenceAttribute": "0", "ProbabilityThresholdAttribute": 0.4, "ExcludeFeaturesAttribute": "1,2"},
        environment={"publish_cloudwatch_metrics": "Disabled", "mine": "kept", "dataset_source": "not yours"},
        preprocessor="s3://b/code/pre.py", postprocessor="s3://b/code/post.py",
    )  # fmt: skip
    request = analysis(given, Baseline("s3://b/base/constraints.json", "s3://b/base/statistics.json", "s3://b/s/state"))
    assert request["Environment"] == {
        "publish_cloudwatch_metrics": "Disabled",
        "mine": "kept",
        "dataset_source": "/opt/ml/processing/input/endpoint",
        "dataset_format": '{"sagemakerCaptureJson": {"captureIndexNames": ["endpointInput", "endpointOutput"]}}',
        "output_path": "/opt/ml/processing/output",
        "start_time": "2026-01-09T12:00:00Z",
        "end_time": "2026-01-09T13:00:00Z",
        "metric_time": "2026-01-09T12:00:00Z",
        "sagemaker_endpoint_name": "wine",
        "sagemaker_monitoring_schedule_name": "hourly",
        "sagemaker_endpoint_datacapture_prefix": "s3://b/c",
        "inference_attribute": "0",
        "probability_threshold_attribute": "0.4",
        "exclude_features_attribute": "1,2",
        "baseline_constraints": "/opt/ml/processing/baseline/constraints/constraints.json",
        "baseline_statistics": "/opt/ml/processing/baseline/stats/statistics.json",
        "kedge_drift_state": "/opt/ml/processing/input/drift_state/state",
        "record_preprocessor_script": "/opt/ml/processing/code/preprocessing/pre.py",
        "post_analytics_processor_script": "/opt/ml/processing/code/postprocessing/post.py",
    }
    first = request["ProcessingInputs"][0]["S3Input"]
    assert first["LocalPath"] == "/opt/ml/processing/input/endpoint/wine/v/2026/01/09/12"
    (output,) = request["ProcessingOutputConfig"]["Outputs"]
    assert output["S3Output"]["S3Uri"] == "s3://b/out/wine/hourly/2026/01/09/13"


@pytest.mark.parametrize(
    ("kind", "more", "want"),
    [
        ("ModelQuality", {"problem_type": "Regression"},
         '{"sagemakerMergeJson": {"captureIndexNames": ["endpointOutput"]}}'),
        ("ModelBias", {"config": "s3://b/analysis_config.json"},
         '{"sagemakerMergeJson": {"captureIndexNames": ["endpointInput", "endpointOutput"]}}'),
        ("ModelExplainability", {"config": "s3://b/analysis_config.json"},
         '{"sagemakerCaptureJson": {"captureIndexNames": ["endpointInput", "endpointOutput"]}}'),
        ("DataQuality", {"input": {"DatasetFormat": {"Csv": {"Header": True}}}}, '{"csv": {"header": true}}'),
        ("DataQuality", {"input": {"DatasetFormat": {"Json": {"Line": False}}}}, '{"json": {"lines": false}}'),
        ("DataQuality", {"input": {"DatasetFormat": {"Parquet": {}}}}, '{"parquet": {}}'),
    ],
)  # fmt: skip
def test_in_which_form_the_data_come(kind: str, more: dict[str, Any], want: str):
    assert analysis(monitor(kind, **more))["Environment"]["dataset_format"] == want


def test_a_merge_has_the_folders_of_its_sides():
    captured, truth = [Source("s3://b/c/1", "wine/v/2026/01/09/12")], [Source("s3://b/t/1", "2026/01/09/12")]
    request = plan.merge_job(monitor("ModelQuality"), execution(), captured, truth, 60)
    assert [each["S3Input"]["LocalPath"] for each in request["ProcessingInputs"]] == [
        "/opt/ml/processing/groundtruth/2026/01/09/12",
        "/opt/ml/processing/input_data/wine/v/2026/01/09/12",
    ]
    assert request["AppSpecification"]["ImageUri"] == "registry/of/sagemaker-model-monitor-groundtruth-merger"
    assert request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] == "s3://b/out/merge"


@pytest.mark.parametrize(
    ("kind", "given", "interval_s", "want"),
    [("DataQuality", None, 3600, 3600), ("ModelBias", None, 3600, 1800), ("DataQuality", None, 86400, 3600),
     ("DataQuality", 7, 3600, 7), ("ModelQuality", None, 60, 60)],
)  # fmt: skip
def test_how_long_a_job_may_take(kind: str, given: int | None, interval_s: float, want: int):
    assert plan.longest_s(monitor(kind, longest_s=given), interval_s) == want


@pytest.mark.parametrize(
    ("seconds", "others", "want"),
    [
        (0.0, [], ""),
        (0.0, [-60.0, 60.0], ""),
        (40.0, [0.0], "40.000"),
        (20.25, [10.0, 20.0], "20.250"),
        (59.999, [0.0], "59.999"),
    ],
)
def test_the_second_execution_of_a_minute_has_reports_of_its_own(seconds: float, others: list[float], want: str):
    at, near = AT + timedelta(seconds=seconds), [execution(at=AT + timedelta(seconds=each)) for each in others]
    assert plan.apart_of(at, near) == want
    later = replace(execution(at=at), apart=want)
    assert plan.apart_of(at, [*near, later]) == want, "a later look takes the place of the first"
    found = plan.report_uri(monitor(), "hourly", at, want)
    assert found == "s3://b/out/wine/hourly/2026/01/09/13" + (f"/00/{want}" if want else "")


@given(st.floats(1e9, 4e9), st.floats(0, 59.9995))
def test_executions_of_a_minute_are_found_by_their_names(at_s: float, within_s: float):
    minute_s = at_s // 60 * 60
    name = replace(execution(), scheduled_s=minute_s + within_s).name
    assert any(name.startswith(each) for each in minute_of("hourly", at_s))


def test_nothing_else_lies_below_the_data():
    at = "/opt/ml/processing/input"
    for kind in ("DataQuality", "ModelExplainability"):
        given = monitor(kind, input={"LocalPath": at}, config="s3://b/config/analysis_config.json")
        request = analysis(given, Baseline("s3://b/constraints.json", state="s3://b/state.json"))
        places = {each["InputName"]: each["S3Input"]["LocalPath"] for each in request["ProcessingInputs"]}
        assert places.pop("endpoint_input_1") == f"{at}/wine/v/2026/01/09/12"
        assert not [each for each in places.values() if each.startswith(f"{at}/")], places
        assert request["Environment"]["analysis_config"] == "/opt/ml/processing/config/analysis_config.json"
