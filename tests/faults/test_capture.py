"""Data capture while its parts are killed: no client notices, no file is torn, and what was spooled comes once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from typing import Any

import pytest

from .conftest import Load, Server, adding_model, until, variant

DELIVERED_WITHIN_S = 10.0


def capture_into(server: Server, destination: str) -> None:
    """The endpoint e, which adds 1, in service and captured whole."""
    server.client("s3").put_object(Bucket=server.bucket, Key="m.tar.gz", Body=adding_model(1))
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName="m",
        ExecutionRoleArn=f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role",
        PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{server.bucket}/m.tar.gz"},
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="c",
        ProductionVariants=[variant("m")],
        DataCaptureConfig={
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": destination,
            "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        },
    )
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig={"Delay": 1, "MaxAttempts": 60})


@pytest.fixture
def captured(server: Server) -> Server:
    capture_into(server, f"s3://{server.bucket}/captured")
    return server


def values(server: Server, bucket: str = "") -> Counter[int]:
    """How often each input stands in the captured files, of which every line has to be whole."""
    s3 = server.client("s3")
    bucket = bucket or server.bucket
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [each["Key"] for page in pages for each in page.get("Contents", []) if each["Key"].endswith(".jsonl")]
    found: Counter[int] = Counter()
    for key in keys:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        assert body.endswith(b"\n"), key
        for line in body.splitlines():
            sides = json.loads(line)["captureData"]
            value = int(sides["endpointInput"]["data"])
            assert sides["endpointOutput"]["data"] == str(value + 1)
            found[value] += 1
    return found


def counts(server: Server) -> dict[str, Any]:
    (found,) = server.status()["capture"]
    assert isinstance(found, dict)
    return found


def settled(server: Server) -> None:
    """Everything that is spooled is delivered."""
    until(lambda: not list((server.data / "capture").iterdir()), 2 * DELIVERED_WITHIN_S, "the spool's end")


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_the_capture_process_is_killed_again_and_again(captured: Server):
    with Load(captured, "e", rate_per_s=150, adds=1) as load:
        for _ in range(5):
            time.sleep(2.0)
            (pid,) = until(lambda: captured.pids("capture"))
            kill(pid)
    assert load.errors == []
    until(lambda: not captured.status()["capture"][0]["problem"] and captured.pids("capture"))
    time.sleep(0.5)
    settled(captured)
    found, said = values(captured), counts(captured)
    assert said["taken"] == load.answers
    assert set(found.values()) == {1}, "a record came twice"
    # A record may be spooled and its acknowledgement lost, so at most what is said to be dropped is missing.
    assert load.answers - said["dropped"] <= len(found) <= load.answers
    assert said["dropped"] < load.answers / 10


def test_files_appear_while_control_is_away(captured: Server):
    def on_s3() -> int:
        with contextlib.closing(sqlite3.connect(f"file:{captured.data}/objects/index.db?mode=ro", uri=True)) as db:
            (count,) = db.execute("SELECT count(*) FROM object WHERE CAST(key AS TEXT) LIKE 'captured/%'").fetchone()
            return int(count)

    with Load(captured, "e", rate_per_s=50, adds=1) as load:
        end = time.monotonic() + 2.5 * DELIVERED_WITHIN_S
        seen: list[int] = []
        while time.monotonic() < end:
            for pid in captured.pids("control"):
                kill(pid)
            seen.append(on_s3())
    assert load.errors == []
    assert seen[-1] >= 2, "one each 10 s"
    until(lambda: captured.client("s3").list_buckets(), 30)
    settled(captured)
    assert set(values(captured).values()) == {1}
    assert len(values(captured)) == load.answers
    assert counts(captured)["dropped"] == 0


def test_everything_is_killed(captured: Server):
    with Load(captured, "e", rate_per_s=100, adds=1) as load:
        time.sleep(3.0)
        before = load.answers
        captured.kill_everything()
    assert list((captured.data / "capture").iterdir()), "the spool holds what is not due yet"
    captured.up()
    settled(captured)
    found = values(captured)
    assert set(found.values()) == {1}
    assert before - 20 <= len(found) <= load.answers


def test_the_end_of_the_server_loses_nothing(captured: Server):
    with Load(captured, "e", rate_per_s=100, adds=1) as load:
        time.sleep(2.0)
    captured.down()
    assert list((captured.data / "capture").iterdir()) == []
    captured.up()
    assert load.errors == []
    assert len(values(captured)) == load.answers


def test_a_bucket_that_is_not_there_costs_records_and_nothing_else(server: Server, monkeypatch: pytest.MonkeyPatch):
    server.down()
    monkeypatch.setenv("KEDGE_CAPTURE_SPOOL_BYTES", "200000")
    server.up()
    capture_into(server, "s3://not-there-yet")
    with Load(server, "e", rate_per_s=100, adds=1) as load:
        until(lambda: counts(server)["dropped"] > 10, 40, "the spool's bound")
        said = until(lambda: '"not-there-yet"' in counts(server)["problem"] and counts(server)["problem"])
    assert load.errors == []
    assert "wait for delivery already" in said
    assert 'The specified bucket does not exist: "not-there-yet"' in said
    log = (server.data / "log" / "capture.log").read_text()
    assert "records of e/AllTraffic are dropped" in log
    assert log.count("\n") < 20, "a reason is said once, not for each record"
    server.client("s3").create_bucket(Bucket="not-there-yet")
    until(lambda: not list((server.data / "capture").iterdir()), 90, "the spool's end")
    found = values(server, "not-there-yet")
    assert len(found) >= 50
    assert len(found) + counts(server)["dropped"] == load.answers
    until(lambda: counts(server)["problem"] == "")
