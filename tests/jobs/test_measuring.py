"""Datapoints of jobs come into the metric store once, however often a job is driven again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kedge.jobs import handed_over
from kedge.jobs.handed_over import BadLine
from kedge.jobs.measuring import GROUP, Measuring
from kedge.jobs.program_records import PROCESSING, TRAINING, ProgramJob, Size
from kedge.logs.platform import PlatformLog
from kedge.logs.store import LogStore
from kedge.metrics.series import metric
from kedge.metrics.store import MetricStore
from kedge.store.records import Author, Resource, Scope
from tests.endpoints import world as worlds
from tests.endpoints.world import ACCOUNT, REGION, World

SCOPE = Scope(ACCOUNT, REGION)
SIZE = Size("ml.m5.large", 2.0, 8 * 2**30, 0)


@dataclass
class Bench:
    world: World
    logs: LogStore
    metrics: MetricStore
    folder: Path

    def measuring(self) -> Measuring:
        return Measuring(self.world.store, self.metrics, self.logs, self.world.clock, lambda: None)

    def job(self, kind: str, **request: Any) -> Resource:
        job = ProgramJob("j", "u", request, "python", SIZE, self.world.clock.now().timestamp())
        with self.world.store.transaction(Author("test", "", self.world.clock.now())) as tx:
            return tx.insert(SCOPE, kind, "j", job.document(), "InProgress")

    def count(self, namespace: str, name: str, dimensions: list[tuple[str, str]]) -> float:
        at_s = int(self.world.clock.now().timestamp()) // 3600 * 3600
        named = metric(ACCOUNT, REGION, namespace, name, dimensions)
        found = self.metrics.read(named, None, 3600, at_s - 3600, at_s + 3600)
        return sum(each.count for _, periods in found for each in periods.values())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    world = worlds.make(tmp_path / "data")
    made = Bench(world, LogStore(tmp_path / "l.db"), MetricStore(tmp_path / "m.db", world.clock), tmp_path / "ml")
    yield made
    made.logs.close()
    made.metrics.close()
    world.close()


def line(bench: Bench, **more: Any) -> str:
    at = bench.world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"MetricName": "m", "Timestamp": at, "Value": 1, **more})


def test_what_is_handed_over_is_published_once(bench: Bench):
    folder = bench.folder / "output/metrics/cloudwatch"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text("\n".join([line(bench)] * 2500))
    (folder / "b.jsonl").write_text(line(bench, Namespace="aws/sagemaker/Endpoints/model-metrics"))
    resource = bench.job(PROCESSING, Environment={"publish_cloudwatch_metrics": "Enabled"})
    job = ProgramJob.of(resource.document)
    for _ in range(2):
        assert bench.measuring().publish(resource, job, bench.folder) == []
    assert bench.count("aws/sagemaker/ModelMonitoring/data-metrics", "m", []) == 2500
    assert bench.count("aws/sagemaker/Endpoints/model-metrics", "m", []) == 1


def test_values_of_a_log_are_taken_once(bench: Bench):
    log = PlatformLog(bench.logs, bench.world.store, bench.world.clock)
    definitions = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]
    resource = bench.job(TRAINING, AlgorithmSpecification={"MetricDefinitions": definitions})
    job = ProgramJob.of(resource.document)
    assert asyncio.run(bench.measuring().look(resource, job)).last == {}
    log.write(SCOPE, GROUP, job.stream, ["loss=4", "nothing", "loss=2 loss=1"])
    first = asyncio.run(bench.measuring().look(resource, job))
    assert first.last["loss"]["Value"] == 1.0
    log.write(SCOPE, GROUP, job.stream, ["loss=0.5"])
    killed_before_it_was_noted = asyncio.run(bench.measuring().look(resource, job))
    later = asyncio.run(bench.measuring().look(resource, replace(job, looked_through=first.upto)))
    assert killed_before_it_was_noted.last == later.last == {
        "loss": {"MetricName": "loss", "Value": 0.5, "at_s": bench.world.clock.now().timestamp()}
    }  # fmt: skip
    assert later.upto == killed_before_it_was_noted.upto
    assert bench.count(GROUP, "loss", [("TrainingJobName", "j")]) == 4


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"[]", "no JSON object"),
        (b"\xff{", "no JSON object"),
        (b"[" * 70_000, "more than 65536 bytes"),
        ({"MetricName": ""}, "MetricName is ''"),
        ({"Timestamp": "yesterday"}, "Timestamp is 'yesterday'"),
        ({"Timestamp": "2020-01-01T00:00:00Z"}, "m: The parameter MetricData.member.1.Timestamp must"),
        ({"Value": True}, "Value is True"),
        ({"Value": None}, "One of the parameters"),
        ({"Value": float("nan")}, "within 2"),
        ({"Value": 10**400}, "too many digits"),
        ({"StatisticValues": {"Sum": 1}, "Value": None}, "StatisticValues.SampleCount is None"),
        ({"Dimensions": {"a": "b"}}, "Dimensions is no list"),
        ({"Dimensions": ["a"]}, "a dimension is no object"),
        ({"Dimensions": [{"Name": "a"}]}, "Dimensions.Value is None"),
        ({"Namespace": "AWS/SageMaker"}, "Namespace is 'AWS/SageMaker'; it may be left out"),
    ],
)
def test_a_line_that_is_no_datapoint(given: bytes | dict[str, Any], says: str):
    now = datetime(2026, 5, 1, tzinfo=UTC)
    usual = {"MetricName": "m", "Timestamp": "2026-05-01T00:00:00Z", "Value": 1}
    text = given if isinstance(given, bytes) else json.dumps({**usual, **given}).encode()
    with pytest.raises(BadLine, match=says):
        handed_over.datum(text, SCOPE, {}, now.timestamp())


def test_the_namespace_says_what_is_watched():
    at = datetime(2026, 5, 1, tzinfo=UTC)
    usual = {"MetricName": "m", "Timestamp": (at - timedelta(days=1)).isoformat(), "Value": 1}
    of_endpoint = {**usual, "Dimensions": [{"Name": "Endpoint", "Value": "e"}]}
    for given, environment, namespace in (
        (usual, {}, "aws/sagemaker/ModelMonitoring/data-metrics"),
        (usual, {"sagemaker_endpoint_name": "e"}, "aws/sagemaker/Endpoints/data-metrics"),
        (of_endpoint, {}, "aws/sagemaker/Endpoints/data-metrics"),
    ):
        found = handed_over.datum(json.dumps(given).encode(), SCOPE, environment, at.timestamp())
        assert found.metric.namespace == namespace
