"""Minutes of a running server's endpoint: who gets them, what `kedge drift` shows of them, and their metrics."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from kedge.cli.main import commands
from kedge.cli.server import Server
from kedge.cli.spawned import Spawned
from kedge.minutes import frames
from kedge.minutes.frames import VariantKey
from kedge.monitoring.live import sketch
from kedge.testing import Kedge
from tests.endpoints.test_capture_boto3 import Captured, until
from tests.minutes.conftest import records, statistics


@pytest.fixture
def kedge() -> Iterator[Kedge]:
    """Of its own: that of the session may have a process of the minutes, for whose end another one waits."""
    spawned = Spawned()
    try:
        yield Kedge(Server.of(spawned.ready()))
    finally:
        spawned.stop()


@pytest.fixture
def captured(kedge: Any) -> Captured:
    found = Captured(kedge)
    found.config("c")
    found.sagemaker.create_endpoint(EndpointName="Echo", EndpointConfigName="c")
    found.wait()
    return found


@pytest.fixture
def keeping(kedge: Any, captured: Captured) -> Iterator[subprocess.Popen[bytes]]:
    """The process of the minutes, fed by hand: so what it is told of need not be now."""
    environment = {**os.environ, "KEDGE_DATA_DIR": str(kedge.data_dir)}
    process = subprocess.Popen([sys.executable, "-m", "kedge.minutes.process"], stdin=subprocess.PIPE, env=environment)
    yield process
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0


def asked(kedge: Any, name: str = "Echo", first: int = 0, last: int = 0) -> dict[str, Any]:
    now = int(time.time()) // 60
    query = {"EndpointName": name, "First": str(first or now - 30), "Last": str(last or now)}
    found: dict[str, Any] = kedge._server.ask("GET", "/kedge/minutes", query)
    return found


def capture_process(kedge: Any) -> int:
    shown = CliRunner().invoke(commands, ["status", "--json"], env={"KEDGE_DATA_DIR": str(kedge.data_dir)})
    return next(each["pid"] for each in json.loads(shown.stdout)["roles"] if each["role"] == "capture" and each["pid"])


def test_an_endpoints_drift_is_seen_by_the_minute(kedge: Any, captured: Captured, keeping: subprocess.Popen[bytes]):
    random = np.random.default_rng(1)
    baseline = f"s3://{kedge.bucket}/statistics.json"
    captured.s3.put_object(Bucket=kedge.bucket, Key="statistics.json", Body=statistics(random))
    captured.sagemaker.create_data_quality_job_definition(
        JobDefinitionName="d",
        DataQualityBaselineConfig={"StatisticsResource": {"S3Uri": baseline}},
        DataQualityAppSpecification={"ImageUri": "kedge/sagemaker-model-monitor-analyzer"},
        DataQualityJobInput={"EndpointInput": {"EndpointName": "Echo", "LocalPath": "/opt/ml/processing/input"}},
        DataQualityJobOutputConfig={
            "MonitoringOutputs": [
                {"S3Output": {"S3Uri": f"s3://{kedge.bucket}/m", "LocalPath": "/opt/ml/processing/output"}}
            ]
        },
        JobResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        RoleArn=kedge.role_arn,
    )
    captured.sagemaker.create_monitoring_schedule(
        MonitoringScheduleName="m",
        MonitoringScheduleConfig={
            "MonitoringJobDefinitionName": "d",
            "MonitoringType": "DataQuality",
            "ScheduleConfig": {"ScheduleExpression": "cron(0 0 ? * * *)"},
        },
    )
    until(lambda: list((kedge.data_dir / "minutes/baselines").glob("[0-9a-f]*")))
    now = int(time.time()) // 60
    variant = VariantKey(kedge.account, kedge.region, "Echo", "v")
    assert keeping.stdin is not None
    for ago in (4, 3, 2):
        lines = records(random, 600, now - ago, shift=10.0 if ago < 4 else 0.0)
        keeping.stdin.write(frames.records(variant, 0, lines))
    keeping.stdin.flush()
    found = until(lambda: len(asked(kedge)["Minutes"]) == 3 and asked(kedge))
    assert [each["Minute"] for each in found["Minutes"]] == [now - 4, now - 3, now - 2]
    assert (found["Lost"], found["Kept"]) == ([], True)

    def metric(name: str, *more: dict[str, str]) -> list[float]:
        points = kedge.client("cloudwatch").get_metric_statistics(
            Namespace="Kedge", MetricName=name, Period=60, Statistics=["Maximum"],
            Dimensions=[{"Name": "EndpointName", "Value": "Echo"}, {"Name": "VariantName", "Value": "v"}, *more],
            StartTime=datetime.now(UTC) - timedelta(minutes=10), EndTime=datetime.now(UTC) + timedelta(minutes=1),
        )["Datapoints"]  # fmt: skip
        return [each["Maximum"] for each in points]

    assert max(until(lambda: metric("DriftingColumns"))) == 1.0
    assert max(until(lambda: metric("DriftEffect"))) > 0.5
    assert max(until(lambda: metric("DriftEffect", {"Name": "Feature", "Value": "age"}))) > 0.5

    environment = {"KEDGE_DATA_DIR": str(kedge.data_dir)}
    done = CliRunner().invoke(commands, ["drift", "Echo", "--last", "6m", "--json"], env=environment)
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert (shown["rows"], shown["baseline"], shown["lost_minutes"]) == (1_800, baseline, 0)
    assert {each["column"] for each in shown["columns"] if each["alerts"]} == {"age"}


def test_what_was_invoked_is_a_minute_though_its_process_is_killed(captured: Captured, kedge: Any):
    first = int(time.time()) // 60

    def rows() -> int:
        found = asked(kedge, first=first)["Minutes"]
        return sum(sketch.read(base64.b64decode(each["Sketch"])).rows for each in found)

    for _ in range(5):
        captured.invoke(b"1,2\n3,4\n", "text/csv")
    until(lambda: list((kedge.data_dir / "minutes").glob("*/*-*")))
    os.kill(capture_process(kedge), signal.SIGKILL)  # its child keeps what it was given, and ends
    until(lambda: rows() == 10)
    until(lambda: captured.invoke(b"5,6", "text/csv") and list((kedge.data_dir / "minutes").glob("*/*.open")))
    assert asked(kedge, first=first)["Lost"] == []


def test_what_must_not_be_captured_is_in_no_minute(captured: Captured, kedge: Any):
    captured.config("masked", tags={"kedge:capture-drop": "input/0", "kedge:capture-mask": "output/0"})
    captured.sagemaker.update_endpoint(EndpointName="Echo", EndpointConfigName="masked")
    captured.wait()
    until(lambda: captured.invoke(b"12345,2", "text/csv") and list((kedge.data_dir / "minutes").glob("*/*-*")))
    os.kill(capture_process(kedge), signal.SIGTERM)  # it keeps what it has before it ends
    found = until(lambda: asked(kedge)["Minutes"])
    minute = sketch.read(base64.b64decode(found[-1]["Sketch"]))
    masked, given, dropped, rest = (minute.columns[f"_c{place}"] for place in range(4))
    assert (dropped.present, rest.values.tolist(), given.values.tolist()) == (0, [2.0], [2.0])
    assert set(masked.levels) == {"****"}


def test_who_may_not_read_what_was_captured_may_not_read_its_minutes(captured: Captured, kedge: Any):
    from kedge.cli.failures import Failed

    iam = kedge.client("iam")
    iam.create_user(UserName="curious")
    key = iam.create_access_key(UserName="curious")["AccessKey"]
    own = replace(kedge._server, access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
    query = {"EndpointName": "echo", "First": "1", "Last": "2"}
    with pytest.raises(Failed, match="s3:GetObject"):
        own.ask("GET", "/kedge/minutes", query)
    allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{kedge.bucket}/captured/Echo/*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="curious", PolicyName="p", PolicyDocument=document)
    assert own.ask("GET", "/kedge/minutes", query)["Through"] == 2
    for bad, said in (
        ({"EndpointName": "none"}, "Could not find endpoint"),
        ({"First": "-1"}, "First is"),
        ({"Last": "x"}, "Last is"),
        ({"First": "3"}, "before First"),
    ):
        with pytest.raises(Failed, match=said):
            own.ask("GET", "/kedge/minutes", {**query, **bad})
