"""Metrics that only some endpoints have, read from CloudWatch: containers, models by name, answers in parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import EventStreamError

from tests.endpoints.test_compositions_boto3 import Hosting

FAILING = "def model_fn(d): pass\ndef transform_fn(m, b, t, a): raise ValueError('no')"
YIELDING = """
def model_fn(d): pass
def transform_fn(m, b, t, a):
    yield "one"
    if "bad" in b: raise ValueError("no")
"""


class Measured(Hosting):
    def samples(self, endpoint: str, name: str, container: str = "") -> tuple[float, float]:
        """(count, sum)."""
        dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "v"}]
        if container:
            dimensions.append({"Name": "ContainerName", "Value": container})
        now = datetime.now(UTC)
        points = self.kedge.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=name,
            Dimensions=dimensions,
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=["SampleCount", "Sum"],
        )["Datapoints"]
        return sum(each["SampleCount"] for each in points), sum(each["Sum"] for each in points)


@pytest.fixture(scope="module")
def hosting(kedge_server: Any) -> Measured:
    kedge_server.reset()
    return Measured(kedge_server)


def until(found: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 40
    while not found():
        assert time.monotonic() < end_s, "not in time"
        time.sleep(0.1)


def test_containers_of_a_pipeline(hosting: Measured):
    hosting.serve(
        "chain",
        hosting.container(hosting.adding("one.tar.gz", 1), ContainerHostname="first"),
        hosting.container(hosting.adding("ten.tar.gz", 10), ContainerHostname="second"),
    )
    assert [hosting.ask("chain", number) for number in (1, 2)] == [12, 13]
    until(lambda: hosting.samples("chain", "ContainerLatency", "second")[0] == 2)
    both = [hosting.samples("chain", "ContainerLatency", name) for name in ("first", "second")]
    assert [count for count, _ in both] == [2, 2]
    _, whole_us = hosting.samples("chain", "ModelLatency")
    assert 0 < sum(took_us for _, took_us in both) <= whole_us
    assert hosting.samples("chain", "ContainerLatency") == hosting.samples("chain", "Invocations", "first") == (0, 0)


def test_containers_that_are_named(hosting: Measured):
    hosting.serve(
        "direct",
        hosting.container(hosting.adding("one.tar.gz", 1), ContainerHostname="adds"),
        hosting.container(hosting.put("fails.tar.gz", {"code/inference.py": FAILING}), ContainerHostname="fails"),
        direct=True,
    )
    assert hosting.ask("direct", 1, TargetContainerHostname="adds") == 2
    for _ in range(2):
        hosting.refused("direct", TargetContainerHostname="fails")
    until(lambda: hosting.samples("direct", "Invocations") == (3, 3))
    for name, adds, fails in (
        ("Invocations", (1, 1), (2, 2)),
        ("Invocation4XXErrors", (1, 0), (2, 0)),
        ("Invocation5XXErrors", (1, 0), (2, 2)),
    ):
        assert hosting.samples("direct", name, "adds") == adds
        assert hosting.samples("direct", name, "fails") == fails
    assert hosting.samples("direct", "ContainerLatency", "adds")[0] == 1
    assert hosting.samples("direct", "ContainerLatency", "fails")[0] == 2


def test_models_by_name(hosting: Measured):
    for number in range(2):
        hosting.adding(f"many/{number}.tar.gz", number * 10)
    container = hosting.container(f"s3://{hosting.kedge.bucket}/many/", Mode="MultiModel")
    hosting.serve("many", {**container, "MultiModelConfig": {"ModelCacheSetting": "Disabled"}})
    assert [hosting.ask("many", 1, TargetModel=f"{number}.tar.gz") for number in (0, 1, 0)] == [1, 11, 1]
    until(lambda: hosting.samples("many", "ModelCacheHit")[0] == 3)
    assert hosting.samples("many", "ModelCacheHit") == (3, 0)
    for name in ("ModelLoadingWaitTime", "ModelDownloadingTime", "ModelLoadingTime"):
        count, took_us = hosting.samples("many", name)
        assert count == 3
        assert took_us > 0
    asked = 3

    def unloaded() -> bool:
        """What was unloaded after an answer is told with one that comes later."""
        nonlocal asked
        asked += 1
        hosting.ask("many", 1, TargetModel="1.tar.gz")
        return hosting.samples("many", "ModelUnloadingTime")[0] > 0

    until(unloaded)
    assert hosting.samples("many", "ModelUnloadingTime")[0] < asked
    hosting.serve("kept", container)
    for _ in range(3):
        hosting.ask("kept", 1, TargetModel="0.tar.gz")
    hosting.refused("kept", 1, TargetModel="none.tar.gz")
    until(lambda: hosting.samples("kept", "ModelCacheHit")[0] == 4)
    assert hosting.samples("kept", "ModelCacheHit") == (4, 2)


def test_answers_in_parts(hosting: Measured):
    hosting.serve("parts", hosting.container(hosting.put("parts.tar.gz", {"code/inference.py": YIELDING})))
    for body in ("good", "bad"):
        answer = hosting.runtime.invoke_endpoint_with_response_stream(
            EndpointName="parts", Body=body, ContentType="text/csv"
        )
        with pytest.raises(EventStreamError) if body == "bad" else nullcontext():
            list(answer["Body"])
        answer["Body"].close()
    until(lambda: hosting.samples("parts", "MidStreamErrors")[0] == 2)
    assert hosting.samples("parts", "MidStreamErrors") == (2, 1)
    assert hosting.samples("parts", "InvocationModelErrors") == (2, 1)
    count, first_us = hosting.samples("parts", "FirstChunkLatency")
    _, model_us = hosting.samples("parts", "FirstChunkModelLatency")
    _, overhead_us = hosting.samples("parts", "FirstChunkOverheadLatency")
    assert count == 2
    assert first_us == pytest.approx(model_us + overhead_us)
