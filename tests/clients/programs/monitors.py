"""Monitors by the SageMaker Python SDK: baseline, schedule, execution, violations.

Arguments: 2 or 3; "data", "all" or "batches".
What an endpoint captured in hours before is put where capture puts it, so that nothing waits for an hour to pass.
"""

import datetime
import io
import json
import os
import sys
import tarfile
import time

SDK, WHAT = sys.argv[1:]
if SDK == "2":
    from sagemaker import Session, clarify
    from sagemaker import model_monitor as monitors
else:
    from sagemaker.core import clarify
    from sagemaker.core import model_monitor as monitors
    from sagemaker.core.helper.session_helper import Session

ROLE = os.environ["SAGEMAKER_ROLE_ARN"]
SCRIPT = """
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    rows = [line.split(",") for line in (data if isinstance(data, str) else data.decode()).strip().splitlines()]
    return "\\n".join("0.9" if float(row[0]) > 4 else "0.1" for row in rows), "text/csv"
"""
session = Session()
client = session.sagemaker_client
bucket = session.default_bucket()
name = f"watched-{SDK}-{WHAT}-{client.meta.endpoint_url.split(':')[0]}"
machine = {
    "role": ROLE, "instance_count": 1, "instance_type": "ml.m5.large", "volume_size_in_gb": 1,
    "max_runtime_in_seconds": 600, "sagemaker_session": session,
}  # fmt: skip
once = {
    "schedule_cron_expression": monitors.CronExpressionGenerator.now(),
    "data_analysis_start_time": "-PT5H",
    "data_analysis_end_time": "-PT2H",
}
hour = datetime.datetime.now(datetime.UTC).replace(minute=0, second=0, microsecond=0) - datetime.timedelta(hours=3)
rows = [(number % 9, number % 5, int(number % 9 > 4)) for number in range(240)]


def put(key, text):
    return session.upload_string_as_file_body(text, bucket, f"{name}/{key}")


def serve():
    """An endpoint that captures, and an hour of what it was asked: the first column is not as it was in training."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(SCRIPT.encode())
        archive.addfile(member, io.BytesIO(SCRIPT.encode()))
    session.boto_session.client("s3").put_object(Bucket=bucket, Key=f"{name}/model.tar.gz", Body=buffer.getvalue())
    container = {"Image": "kedge/script:1", "ModelDataUrl": f"s3://{bucket}/{name}/model.tar.gz"}
    client.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    capture = monitors.DataCaptureConfig(True, 100, f"s3://{bucket}/{name}/captured", sagemaker_session=session)
    client.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant], DataCaptureConfig=capture._to_request_dict()
    )
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
    client.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    captured, labels = [], []
    for number, (first, second, label) in enumerate(rows):
        sides = {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": f"{first}.5,{second}"},
            "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "0.9" if label else "0.1"},
        }
        meta = {"eventId": f"{number}", "inferenceTime": f"{hour:%Y-%m-%dT%H:%M:%SZ}"}
        data = {side: {**told, "encoding": "CSV"} for side, told in sides.items()}
        captured.append(json.dumps({"captureData": data, "eventMetadata": meta, "eventVersion": "0"}))
        truth = {"data": str(1 - label if first == 8 else label), "encoding": "CSV"}
        labels.append(json.dumps({"groundTruthData": truth, "eventMetadata": {"eventId": f"{number}"}}))
    put(f"captured/{name}/AllTraffic/{hour:%Y/%m/%d/%H}/a.jsonl", "\n".join(captured))
    put(f"truth/{hour:%Y/%m/%d/%H}/a.jsonl", "\n".join(labels))


def ended(monitor):
    """The one execution of the schedule, once it is over."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        # Those of SDK 3.27's Clarify monitors cannot be listed by their own method, which looks for a name of SDK 2's.
        if executions := monitors.ModelMonitor.list_executions(monitor):
            described = executions[-1].describe()
            if described["ProcessingJobStatus"] != "InProgress" and "merge" not in described["ProcessingJobName"]:
                assert described["ProcessingJobStatus"] == "Completed", described
                return executions[-1]
        time.sleep(0.5)
    raise AssertionError(monitor.describe_schedule())


def found(monitor):
    """Its violations, by what the SDK reads; then schedule and job definition go."""
    violations = ended(monitor).constraint_violations().body_dict["violations"]
    until = time.monotonic() + 30
    summary = monitor.describe_schedule()["LastMonitoringExecutionSummary"]
    while summary["MonitoringExecutionStatus"] == "InProgress" and time.monotonic() < until:
        time.sleep(0.2)  # its job is over, and that is about to be noted
        summary = monitor.describe_schedule()["LastMonitoringExecutionSummary"]
    assert summary["MonitoringExecutionStatus"] == ("CompletedWithViolations" if violations else "Completed"), summary
    monitor.stop_monitoring_schedule()
    monitor.delete_monitoring_schedule()
    return violations


def data():
    monitor = monitors.DefaultModelMonitor(**machine)
    training = "".join(f"{0.9 if label else 0.1},{first},{second}\n" for first, second, label in rows)
    monitor.suggest_baseline(
        baseline_dataset=put("training.csv", "answer,first,second\n" + training),
        dataset_format=monitors.DatasetFormat.csv(header=True),
        output_s3_uri=f"s3://{bucket}/{name}/data",
        wait=True,
        logs=False,
    )
    assert monitor.suggested_constraints().body_dict["features"][1]["inferred_type"] == "Integral"
    monitor.create_monitoring_schedule(
        endpoint_input=name,
        output_s3_uri=f"s3://{bucket}/{name}/reports",
        statistics=monitor.baseline_statistics(),
        constraints=monitor.suggested_constraints(),
        monitor_schedule_name=f"{name}-data",
        **once,
    )
    attached = monitors.DefaultModelMonitor.attach(f"{name}-data", sagemaker_session=session)
    assert attached.monitoring_schedule_name == f"{name}-data"
    ended(monitor)
    assert monitor.latest_monitoring_statistics().body_dict["dataset"]["item_count"] == len(rows)
    assert monitor.latest_monitoring_constraint_violations().body_dict["violations"]
    (alert,) = monitor.list_monitoring_alerts()[0]
    assert alert.alert_status == "InAlert", alert
    assert {"data_type_check"} <= {each["constraint_check_type"] for each in found(monitor)}


def quality():
    monitor = monitors.ModelQualityMonitor(**machine)
    held = "".join(f"{0.9 if label else 0.1},{label},{label}\n" for _, _, label in rows)
    monitor.suggest_baseline(
        baseline_dataset=put("validation.csv", "probability,prediction,label\n" + held),
        dataset_format=monitors.DatasetFormat.csv(header=True),
        problem_type="BinaryClassification",
        inference_attribute="prediction",
        probability_attribute="probability",
        ground_truth_attribute="label",
        output_s3_uri=f"s3://{bucket}/{name}/quality",
        wait=True,
        logs=False,
    )
    answers = monitors.EndpointInput(
        name, "/opt/ml/processing/input_data", probability_attribute="0", probability_threshold_attribute=0.5
    )
    monitor.create_monitoring_schedule(
        endpoint_input=answers,
        ground_truth_input=f"s3://{bucket}/{name}/truth",
        problem_type="BinaryClassification",
        output_s3_uri=f"s3://{bucket}/{name}/reports",
        constraints=monitor.suggested_constraints(),
        monitor_schedule_name=f"{name}-quality",
        **once,
    )
    assert "accuracy" in {each["metric_name"] for each in found(monitor)}


def clarified(kind, config, batch=None, **more):
    """Of the two Clarify monitors: the constraints are what their baselining job has found.

    batch: a BatchTransformInput to look at, instead of the endpoint.
    """
    monitor = kind(**machine)
    given = put("clarify.csv", "".join(f"{first},{second},{label}\n" for first, second, label in rows))
    source = clarify.DataConfig(
        s3_data_input_path=given,
        s3_output_path=f"s3://{bucket}/{name}/{kind.__name__}",
        label="label",
        headers=["first", "second", "label"],
        dataset_type="text/csv",
    )
    model = clarify.ModelConfig(
        model_name=name, instance_count=1, instance_type="ml.m5.large", content_type="text/csv", accept_type="text/csv"
    )
    try:
        monitor.suggest_baseline(data_config=source, model_config=model, **config)
    except AttributeError as error:
        # SDK 3.27 trips over its own job once that is made. The schedule names it all the same.
        if SDK == "2" or "sagemaker_session" not in str(error):
            raise
    # The threshold alone, as AWS's documentation has it: the model's only number is the probability.
    answers = monitors.EndpointInput(name, "/opt/ml/processing/input/endpoint", probability_threshold_attribute=0.5)
    watched = {"endpoint_input": answers} if batch is None else {"batch_transform_input": batch}
    of = "endpoint" if batch is None else "batch"
    monitor.create_monitoring_schedule(
        output_s3_uri=f"s3://{bucket}/{name}/reports",
        monitor_schedule_name=f"{name}-{of}-{kind.__name__}",
        **watched,
        **more,
        **once,
    )
    return found(monitor)


BIAS = {
    "bias_config": clarify.BiasConfig(
        label_values_or_threshold=[1], facet_name="second", facet_values_or_threshold=[2]
    ),
    "model_predicted_label_config": clarify.ModelPredictedLabelConfig(probability_threshold=0.5),
}
REASONS = {"explainability_config": clarify.SHAPConfig(baseline=[[0, 0]], num_samples=8, agg_method="mean_abs")}


def bias():
    truth = {"ground_truth_input": f"s3://{bucket}/{name}/truth"}
    assert isinstance(clarified(monitors.ModelBiasMonitor, BIAS, **truth), list)


def reasons():
    assert clarified(monitors.ModelExplainabilityMonitor, REASONS) == []


def batches():
    """All four once more, of a batch transform whose outputs hold their inputs."""
    time_of = f"{hour:%Y-%m-%dT%H:%M:%SZ}"
    answered = [(first, second, 0.9 if label else 0.1) for first, second, label in rows]
    put("batch/rows.csv", "".join(f"{first},{second}\n" for first, second, _ in rows))
    outputs = (",".join(map(str, (*row, f"row-{number}", time_of))) for number, row in enumerate(answered))
    put("batch/rows.csv.out", "\n".join(outputs))
    for side, file in (("input", "rows.csv"), ("output", "rows.csv.out")):
        manifest = json.dumps([{"prefix": f"s3://{bucket}/{name}/batch/"}, file])
        put(f"transformed/{side}/{hour:%Y/%m/%d/%H}/manifest.json", manifest)
    truth = (
        json.dumps({"groundTruthData": {"data": str(label)}, "eventMetadata": {"eventId": f"row-{number}"}})
        for number, (_, _, label) in enumerate(rows)
    )
    put(f"batch-truth/{hour:%Y/%m/%d/%H}/a.jsonl", "\n".join(truth))
    labels = {"ground_truth_input": f"s3://{bucket}/{name}/batch-truth"}

    def given(**attributes):
        return monitors.BatchTransformInput(
            f"s3://{bucket}/{name}/transformed",
            "/opt/ml/processing/input",
            monitors.MonitoringDatasetFormat.csv(header=False),
            **attributes,
        )

    answers = {"probability_attribute": "2", "probability_threshold_attribute": 0.5}
    monitor = monitors.DefaultModelMonitor(**machine)
    monitor.create_monitoring_schedule(
        batch_transform_input=given(),
        output_s3_uri=f"s3://{bucket}/{name}/reports",
        monitor_schedule_name=f"{name}-batch-data",
        **once,
    )
    assert ended(monitor).statistics().body_dict["dataset"]["item_count"] == len(rows)
    monitor.stop_monitoring_schedule()
    monitor.delete_monitoring_schedule()
    monitor = monitors.ModelQualityMonitor(**machine)
    monitor.create_monitoring_schedule(
        batch_transform_input=given(**answers),
        problem_type="BinaryClassification",
        output_s3_uri=f"s3://{bucket}/{name}/reports",
        monitor_schedule_name=f"{name}-batch-quality",
        **labels,
        **once,
    )
    counted = ended(monitor).statistics().body_dict["binary_classification_metrics"]
    assert counted["accuracy"]["value"] == 1.0, counted
    monitor.stop_monitoring_schedule()
    monitor.delete_monitoring_schedule()
    assert clarified(monitors.ModelBiasMonitor, BIAS, given(**answers), **labels) == []
    assert clarified(monitors.ModelExplainabilityMonitor, REASONS, given()) == []


serve()
scenarios = {"data": (data,), "all": (data, quality, bias, reasons), "batches": (batches,)}
for scenario in scenarios[WHAT]:
    print(scenario.__name__, flush=True)
    scenario()
client.delete_endpoint(EndpointName=name)
