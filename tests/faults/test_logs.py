"""Log events while everything is killed: what was acknowledged is there once, and so is each line of an instance."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .conftest import Server, archive, until, variant

GROUP = "/app"
KILLS = 6
TALKS = """
import json
def model_fn(model_dir):
    return 1
def transform_fn(model, body, content_type, accept):
    print("said", json.loads(body), flush=True)
    return body, "application/json"
"""


def every(server: Server, group: str) -> Counter[str]:
    pages = server.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    return Counter(event["message"] for page in pages for event in page["events"])


def test_what_was_acknowledged_is_there_once(server: Server, tmp_path: Path):
    logs = server.client("logs")
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName="s")
    tried: set[str] = set()
    draw = random.Random(7)
    number = 0
    with open(tmp_path / "ledger", "wb", buffering=0) as ledger:
        for kill in range(KILLS):
            logs = server.client("logs")
            end = time.monotonic() + draw.uniform(0.5, 2.0)
            while time.monotonic() < end:
                batch = [f"{number + index}" for index in range(draw.choice((1, 3, 500)))]
                number += len(batch)
                tried.update(batch)
                now_ms = int(time.time() * 1000)
                events = [{"timestamp": now_ms, "message": text} for text in batch]
                try:
                    logs.put_log_events(logGroupName=GROUP, logStreamName="s", logEvents=events)
                except (BotoCoreError, ClientError):
                    continue
                ledger.write("".join(f"{text}\n" for text in batch).encode())
                os.fsync(ledger.fileno())
                if time.monotonic() > end - 0.2 and draw.random() < 0.2:
                    break  # the kill comes between an answer and the next request
            if kill % 2:
                server.kill("control")
                until(lambda: server.client("logs").describe_log_groups()["logGroups"], what="control")
            else:
                server.kill_everything()
                server.up()
    acknowledged = set((tmp_path / "ledger").read_text().split())
    found = every(server, GROUP)
    assert len(acknowledged) > 100
    assert acknowledged <= found.keys() <= tried
    assert max(found.values()) == 1


def test_each_line_of_an_instance_comes_once_whatever_is_killed(server: Server):
    server.client("s3").put_object(
        Bucket=server.bucket, Key="m.tar.gz", Body=archive({"code/inference.py": TALKS.encode()})
    )
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName="m",
        ExecutionRoleArn=f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role",
        PrimaryContainer={"Image": "kedge/script", "ModelDataUrl": f"s3://{server.bucket}/m.tar.gz"},
    )
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant("m", 2)])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    wait: dict[str, Any] = {"EndpointName": "e", "WaiterConfig": {"Delay": 1, "MaxAttempts": 60}}
    sagemaker.get_waiter("endpoint_in_service").wait(**wait)
    answered = set()
    for kill in range(KILLS):
        runtime = server.client("sagemaker-runtime")
        for number in range(kill * 1000, kill * 1000 + 60):
            runtime.invoke_endpoint(EndpointName="e", Body=json.dumps(number), ContentType="application/json")
            answered.add(f"said {number}")
            if number % 10 == 0:
                time.sleep(0.05)  # so that some of it is read before the kill, and some is not
        server.kill(("control", "supervisor")[kill % 2])
        if kill % 2:
            server.reap()
            server.up()
    sagemaker = server.client("sagemaker")
    until(lambda: sagemaker.delete_endpoint(EndpointName="e"), what="control")
    sagemaker.get_waiter("endpoint_deleted").wait(**wait)
    until(lambda: not list((server.data / "output").iterdir()), what="the end of the files")
    found = every(server, "/aws/sagemaker/Endpoints/e")
    said = {text: count for text, count in found.items() if text.startswith("said ")}
    assert set(said) == answered
    assert set(said.values()) == {1}
