"""Processing jobs from end to end: an unmodified boto3 against a running server, with scripts in the sandbox."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.async_inference.conftest import until
from tests.jobs.programs import IMAGE, Programs

SUMS = """
import json, os, pathlib, sys
data = pathlib.Path("/opt/ml/processing/data")
found = {str(p.relative_to(data)): sum(map(int, p.read_text().split(","))) for p in data.rglob("*.csv")}
out = pathlib.Path("/opt/ml/processing/out")
(out / "deep").mkdir()
(out / "deep" / "sums.json").write_text(json.dumps(found))
config = json.loads(pathlib.Path("/opt/ml/config/processingjobconfig.json").read_text())
hosts = json.loads(pathlib.Path("/opt/ml/config/resourceconfig.json").read_text())
told = [config["ProcessingJobName"], hosts["current_host"]]
told += [os.environ["COLOUR"], os.environ["AWS_REGION"], sys.argv[1:]]
(out / "told.json").write_text(json.dumps(told))
os.symlink("/etc/passwd", out / "link")
pathlib.Path("/opt/ml/output/message").write_text("all is well")
print("a line of the log")
print("and the last one", end="")
"""


@pytest.fixture(scope="module")
def jobs(kedge_server: Any) -> Programs:
    kedge_server.reset()
    return Programs(kedge_server)


def refused(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_job_from_inputs_to_outputs(jobs: Programs):
    jobs.put("data/a.csv", "1,2")
    jobs.put("data/in/b.csv", "3,4")
    arn = jobs.process(
        "sums", SUMS, inputs=[jobs.input("data", jobs.uri("data/"))], outputs=[jobs.output("out", "sums")],
        app={"ContainerArguments": ["--all", "yes"]}, Environment={"COLOUR": "red"},
        Tags=[{"Key": "team", "Value": "a"}],
    )  # fmt: skip
    assert arn.endswith(":processing-job/sums")
    found = jobs.processed("sums")
    assert found["ProcessingJobStatus"] == "Completed", found
    assert found["ExitMessage"] == "all is well"
    assert "FailureReason" not in found
    assert found["CreationTime"] <= found["ProcessingStartTime"] <= found["ProcessingEndTime"]
    assert json.loads(jobs.get("sums/deep/sums.json")) == {"a.csv": 3, "in/b.csv": 7}
    assert json.loads(jobs.get("sums/told.json")) == ["sums", "algo-1", "red", "us-east-1", ["--all", "yes"]]
    assert jobs.keys("sums/") == ["deep/sums.json", "told.json"]
    assert jobs.log("ProcessingJobs", "sums") == ["a line of the log", "and the last one"]
    assert jobs.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    until(lambda: not list((jobs.kedge.data_dir / "jobs").iterdir()), "the end of its folder")


def test_a_program_that_fails_says_why(jobs: Programs):
    jobs.process(
        "raises", "print('so far')\nraise ValueError('no such column')", outputs=[jobs.output("out", "raises")]
    )
    jobs.process("told", "import sys; open('/opt/ml/output/failure', 'w').write('the data is stale'); sys.exit(3)")
    jobs.process(
        "no-text",
        "import sys; open('/opt/ml/output/failure', 'wb').write(b'caf\\xe9' + 3000 * b'!')\n"
        "open('/opt/ml/output/message', 'wb').write(b'\\xff')\n"
        "sys.stdout.buffer.write(b'a line \\xff\\xfe\\n'); sys.exit(300)",
    )
    found = jobs.processed("no-text")
    assert found["FailureReason"].startswith("AlgorithmError: caf\N{REPLACEMENT CHARACTER}!!!")
    assert (len(found["FailureReason"]), found["ExitMessage"]) == (1024, "\N{REPLACEMENT CHARACTER}")
    assert jobs.log("ProcessingJobs", "no-text") == ["a line \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"]
    found = jobs.processed("raises")
    assert found["ProcessingJobStatus"] == "Failed"
    assert found["FailureReason"].startswith("AlgorithmError: ")
    assert "ValueError: no such column" in found["FailureReason"]
    assert found["FailureReason"].endswith("exit code: 1")
    assert jobs.keys("raises/") == []
    assert jobs.processed("told")["FailureReason"] == "AlgorithmError: the data is stale, exit code: 3"
    jobs.process("absent", app={"ContainerEntrypoint": ["no-such-program"]})
    assert "exit code: 127" in jobs.processed("absent")["FailureReason"]


def test_what_it_is_given_may_be_listed_or_packed_or_missing(jobs: Programs):
    jobs.put("packed/a.txt.gz", gzip.compress(b"1") + gzip.compress(b"2"))
    jobs.put("packed/b.txt", b"3")
    listed = jobs.put("some.manifest", json.dumps([{"prefix": jobs.uri("packed/")}, "b.txt"]))
    script = """
import pathlib
found = sorted(f"{p.relative_to('/opt/ml/processing')}={p.read_text()}"
               for p in pathlib.Path('/opt/ml/processing').rglob('*.txt'))
pathlib.Path('/opt/ml/output/message').write_text(' '.join(found))
"""
    jobs.process(
        "given", script,
        inputs=[
            jobs.input("unpacked", jobs.uri("packed/a"), S3CompressionType="Gzip"),
            jobs.input("listed", listed, S3DataType="ManifestFile"),
            jobs.input("listed/one", jobs.uri("packed/b.txt")),
        ],
    )  # fmt: skip
    assert jobs.processed("given")["ExitMessage"] == "listed/b.txt=3 listed/one/b.txt=3 unpacked/a.txt=12"
    jobs.process("nothing", script, inputs=[jobs.input("data", jobs.uri("no-such-place/"))])
    found = jobs.processed("nothing")
    assert found["ProcessingJobStatus"] == "Failed"
    assert "No S3 objects found" in found["FailureReason"]
    assert "ProcessingStartTime" not in found


def test_it_is_stopped_and_its_continuous_output_is_there_before(jobs: Programs):
    script = """
import pathlib, signal, sys, time
def end(*_):
    print("asked to end", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path("/opt/ml/processing/seen/part.txt").write_text("so far")
pathlib.Path("/opt/ml/processing/late/part.txt").write_text("so far")
time.sleep(300)
"""
    outputs = [jobs.output("seen", "seen", "Continuous"), jobs.output("late", "late")]
    jobs.process("long", script, outputs=outputs)
    until(lambda: jobs.keys("seen/"), "the continuous output", 40)
    assert jobs.get("seen/part.txt") == b"so far"
    jobs.sagemaker.stop_processing_job(ProcessingJobName="long")
    found = jobs.processed("long")
    assert found["ProcessingJobStatus"] == "Stopped"
    assert jobs.log("ProcessingJobs", "long") == ["asked to end"]
    assert jobs.keys("late/") == []
    code, message = refused(jobs.sagemaker.stop_processing_job, ProcessingJobName="long")
    assert (code, "in status Stopped" in message) == ("ValidationException", True)


def test_it_is_ended_when_its_time_is_over(jobs: Programs):
    jobs.process("slow", "import time; time.sleep(300)", StoppingCondition={"MaxRuntimeInSeconds": 1})
    found = jobs.processed("slow")
    assert found["ProcessingJobStatus"] == "Stopped"
    assert "MaxRuntimeInSeconds" in found["FailureReason"]


def test_it_is_apart_from_the_server_and_reaches_it_with_its_role(jobs: Programs):
    script = f"""
import os, pathlib, boto3
hidden = [p for p in ({str(jobs.kedge.data_dir)!r}, "/root/.ssh") if os.path.exists(p) and os.listdir(p)]
assert not [each for each in hidden if "credentials.json" in os.listdir(each)], hidden
assert not any(k.startswith("AWS_SECRET") for k in os.environ)
who = boto3.client("sts").get_caller_identity()["Arn"]
pathlib.Path("/opt/ml/output/message").write_text(who)
"""
    jobs.process("apart", script)
    found = jobs.processed("apart")
    assert found["ProcessingJobStatus"] == "Completed", found
    assert "assumed-role/kedge-execution-role" in found["ExitMessage"]


def test_images_stand_for_modules_whatever_their_registry(jobs: Programs):
    image = "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-no-such"
    create = jobs.sagemaker.create_processing_job
    code, message = refused(create, **jobs.processing("x", app={"ImageUri": image}))
    assert (code, "Known repositories" in message) == ("ValidationException", True)


def test_refusals_are_those_that_clients_know(jobs: Programs):
    jobs.process("once", "pass")
    create = jobs.sagemaker.create_processing_job
    assert refused(create, **jobs.processing("once", "pass"))[0] == "ResourceInUse"
    assert refused(jobs.sagemaker.describe_processing_job, ProcessingJobName="no-such-job")[0] == "ResourceNotFound"
    assert refused(jobs.sagemaker.stop_processing_job, ProcessingJobName="no-such-job")[0] == "ResourceNotFound"
    for more, says in (
        ({"cluster": {"InstanceCount": 2}}, "InstanceCount is 2"),
        ({"cluster": {"InstanceType": "ml.p4d.24xlarge"}}, "for processing job usage"),
        ({"app": {"ContainerEntrypoint": None}}, "ContainerEntrypoint is not given"),
        ({"outputs": [{"OutputName": "o", "S3Output": {"S3Uri": "s3://b/k", "LocalPath": "/etc",
                                                      "S3UploadMode": "EndOfJob"}}]}, "has to begin with /opt/ml"),
        ({"inputs": [jobs.input("pipe", jobs.uri("x"), S3InputMode="Pipe")]}, "S3InputMode is Pipe"),
    ):  # fmt: skip
        request = jobs.processing("other", "pass", **more)
        app = request["AppSpecification"]
        request["AppSpecification"] = {name: value for name, value in app.items() if value is not None}
        assert says in refused(create, **request)[1]
    assert jobs.processed("once")["ProcessingJobStatus"] == "Completed"
    assert IMAGE in json.dumps(jobs.sagemaker.describe_processing_job(ProcessingJobName="once"), default=str)


def test_jobs_are_listed(jobs: Programs):
    for n in range(3):
        jobs.process(f"listing-{n}", f"import sys; sys.exit({int(n == 0)})")
    for n in range(3):
        jobs.processed(f"listing-{n}")
    pages = jobs.sagemaker.get_paginator("list_processing_jobs").paginate(
        NameContains="listing-", SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": 2}
    )
    found = [each for page in pages for each in page["ProcessingJobSummaries"]]
    assert [each["ProcessingJobName"] for each in found] == ["listing-2", "listing-1", "listing-0"]
    assert found[2]["ProcessingJobStatus"] == "Failed"
    failed = jobs.sagemaker.list_processing_jobs(NameContains="listing-", StatusEquals="Failed")
    assert [each["ProcessingJobName"] for each in failed["ProcessingJobSummaries"]] == ["listing-0"]


def test_they_are_seen_by_the_command(jobs: Programs):
    jobs.process("seen-by-command", "raise ValueError('no such column')")
    jobs.processed("seen-by-command")
    command = [sys.executable, "-m", "kedge", "jobs", "--json", "--data", str(jobs.kedge.data_dir)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    (found,) = [each for each in json.loads(done.stdout) if each["name"] == "seen-by-command"]
    assert (found["kind"], found["status"]) == ("processing", "Failed")
    assert "no such column" in found["reason"]
    table = subprocess.run([*command[:4], *command[5:]], capture_output=True, check=True, timeout=60).stdout.decode()
    assert "seen-by-command" in table
    logs = [sys.executable, "-m", "kedge", "logs", "--data", str(jobs.kedge.data_dir)]
    told = subprocess.run([*logs, "seen-by-command"], capture_output=True, check=True, timeout=60).stdout.decode()
    assert "==> seen-by-command algo-1-" in told
    assert "ValueError: no such column" in told
    jobs.process("silent-job", "pass")
    told = subprocess.run([*logs, "silent-job"], capture_output=True, check=True, timeout=60).stderr.decode()
    assert 'The processing job "silent-job" has written nothing yet' in told


def test_metrics_that_a_program_hands_over_are_published(jobs: Programs):
    """As containers of one's own do in a monitoring schedule."""
    script = """
import datetime, json, os, pathlib
folder = pathlib.Path("/opt/ml/output/metrics/cloudwatch")
folder.mkdir(parents=True)
line = {"MetricName": "mine", "Timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Dimensions": [{"Name": "MonitoringSchedule", "Value": "s"}]}
values = {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}
lines = [{**line, "Value": 3.5}, {**line, "MetricName": "set", "StatisticValues": values}, {**line, "Value": "much"}]
(folder / "a.jsonl").write_text("\\n".join(map(json.dumps, lines)) + "\\nno json\\n")
os.symlink("/etc/passwd", folder / "b.jsonl")
"""
    jobs.process("measures", script, Environment={"publish_cloudwatch_metrics": "Enabled"})
    jobs.process("silent", script.replace('"mine"', '"unasked"'))
    assert jobs.processed("measures")["ProcessingJobStatus"] == "Completed"
    assert jobs.processed("silent")["ProcessingJobStatus"] == "Completed"
    cloudwatch = jobs.kedge.client("cloudwatch")
    listed = cloudwatch.list_metrics(Dimensions=[{"Name": "MonitoringSchedule", "Value": "s"}])["Metrics"]
    assert {each["MetricName"] for each in listed} == {"mine", "set"}
    namespace = "aws/sagemaker/ModelMonitoring/data-metrics"
    assert {each["Namespace"] for each in listed} == {namespace}
    dimensions = [{"Name": "MonitoringSchedule", "Value": "s"}]
    now = datetime.now(UTC)
    queries = [
        {"Id": name, "MetricStat": {"Metric": {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions},
                                    "Period": 3600, "Stat": "Sum"}}
        for name in ("mine", "set")
    ]  # fmt: skip
    found = cloudwatch.get_metric_data(
        MetricDataQueries=queries, StartTime=now - timedelta(hours=2), EndTime=now + timedelta(hours=1)
    )["MetricDataResults"]
    assert {each["Id"]: sum(each["Values"]) for each in found} == {"mine": 3.5, "set": 10.0}
    said = [line for line in jobs.log("ProcessingJobs", "measures") if "left out" in line]
    assert said == [
        "[kedge]: Metrics were left out: Value is 'much'; it has to be a number (1 times).",
        "[kedge]: Metrics were left out: a line is no JSON object in UTF-8 (1 times).",
    ]


def test_the_analyzer_of_the_monitors_is_run_by_its_images_name(jobs: Programs):
    """As the SDK's suggest_baseline asks for it."""
    jobs.put("baseline/rows.csv", "a,b\n" + "".join(f"{n},{n % 3}\n" for n in range(200)))
    image = "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer"
    name, source = "baseline_dataset_input", "/opt/ml/processing/input/baseline_dataset_input"
    outputs = [jobs.output("output", "baselined")]
    request = jobs.processing("baseline", inputs=[jobs.input(f"input/{name}", jobs.uri("baseline/"))], outputs=outputs)
    request["AppSpecification"] = {"ImageUri": image}
    request["Environment"] = {
        "output_path": "/opt/ml/processing/output",
        "publish_cloudwatch_metrics": "Disabled",
        "dataset_format": json.dumps({"csv": {"header": True, "output_columns_position": "START"}}),
        "dataset_source": source,
    }
    jobs.sagemaker.create_processing_job(**request)
    found = jobs.processed("baseline")
    assert found["ProcessingJobStatus"] == "Completed", found["FailureReason"]
    assert json.loads(jobs.get("baselined/statistics.json"))["dataset"]["item_count"] == 200
    assert [each["name"] for each in json.loads(jobs.get("baselined/constraints.json"))["features"]] == ["a", "b"]
