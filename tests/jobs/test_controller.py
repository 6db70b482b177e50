"""From a call to instances and events, against an engine that does as the test says and peers on sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kedge.compute import instance_types
from kedge.compute.base import TaskState
from kedge.endpoints.fleets import Kinds
from kedge.errors import ResourceLimitExceeded
from kedge.jobs.admitting import Admitting
from kedge.jobs.controller import JobController
from kedge.jobs.machine import JobMachine
from kedge.jobs.measuring import Measuring
from kedge.jobs.notes import Notes
from kedge.jobs.operations import operations
from kedge.jobs.program_records import LABELS
from kedge.jobs.programs import Programs
from kedge.jobs.transforming import Transforming
from kedge.logs.platform import PlatformLog
from kedge.logs.store import LogStore
from kedge.loop import Signal
from kedge.metrics.store import MetricStore
from kedge.serving.runtimes import images
from kedge.store.lease import Lease
from tests.endpoints import world as worlds
from tests.endpoints.world import ACCOUNT, REGION, World
from tests.objects.putting import put_bytes
from tests.serving.peers import Call, Worker

BUCKET = "data"


@dataclass
class Jobs:
    world: World
    controller: JobController
    lease: Lease

    def do(self, operation: str, **request: Any) -> dict[str, Any]:
        kinds = Kinds(instance_types.find, images.choose, images.known_images())
        machine = JobMachine(kinds, self.world.engine.capacity, has_engine=False)
        answer: dict[str, Any] = operations(machine)[f"sagemaker.{operation}"](self.world.call(), request)
        return answer

    def create(self, **more: Any) -> None:
        self.do(
            "CreateTransformJob",
            TransformJobName="Job",
            ModelName="m",
            TransformInput={"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/in/"}}},
            TransformOutput={"S3OutputPath": f"s3://{BUCKET}/out"},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **more,
        )

    def describe(self) -> dict[str, Any]:
        return self.do("DescribeTransformJob", TransformJobName="Job")

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(10):
            while not (found := condition()):
                self.lease.hold()
                await self.controller.step()
                await asyncio.sleep(0.01)
        return found

    def is_now(self, status: str) -> bool:
        return bool(self.describe()["TransformJobStatus"] == status)


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[Jobs]:
    world = worlds.make(tmp_path / "data")
    world.changed.attach(asyncio.get_running_loop())
    logs = LogStore(tmp_path / "l.db")
    lease = Lease(world.store, "jobs", "one", world.clock)
    notes = Notes(world.store, world.clock, lease, PlatformLog(logs, world.store, world.clock))
    transforming = Transforming(notes, world.objects, world.engine, world.settings, world.home, world.clock)
    metrics = MetricStore(tmp_path / "m.db", world.clock)
    measuring = Measuring(world.store, metrics, logs, world.clock, lambda: None)
    programs = [
        Programs(kind, notes, world.objects, world.engine, world.home, world.clock, measuring) for kind in LABELS
    ]
    controller = JobController(
        world.store, world.engine, world.clock, lease, Signal(), notes,
        Admitting(notes, world.clock, world.engine.capacity), [transforming, *programs],
    )  # fmt: skip
    world.make_model()
    world.objects.create_bucket(BUCKET, ACCOUNT, REGION)
    put_bytes(world.objects, BUCKET, "in/a", b"hello")
    yield Jobs(world, controller, lease)
    await controller.close()
    await world.controller.close()
    logs.close()
    metrics.close()
    world.close()


async def test_a_job_from_its_call_to_its_end(jobs: Jobs, tmp_path: Path):
    jobs.create(Tags=[{"Key": "team", "Value": "a"}])
    (task,) = await jobs.until(lambda: list(jobs.world.engine.tasks.values()))
    assert task.labels["transform_job"] == "Job"
    assert jobs.world.engine.specs[task.id].environment["SAGEMAKER_BATCH"] == "true"
    assert jobs.controller.artifacts() == {jobs.world.engine.specs[task.id].artifact_sha256}
    worker = await Worker(task.id, tmp_path / "w.sock", Call.answer).start()
    jobs.world.engine.tasks[task.id] = replace(task, state=TaskState.READY, socket=str(worker.socket))
    await jobs.until(lambda: jobs.is_now("Completed"))
    await jobs.until(lambda: not jobs.world.engine.tasks)
    await worker.close()
    with jobs.world.objects.open(BUCKET, "out/a.out") as file:
        assert file.read() == b"hello"
    events = [each for each in jobs.world.store.outbox() if each.detail_type == "SageMaker Transform Job State Change"]
    assert [each.detail["TransformJobStatus"] for each in events] == ["InProgress", "Completed"]
    detail = events[-1].detail
    assert detail["Tags"] == {"team": "a"}
    assert detail["TransformJobArn"].endswith(":transform-job/job")
    assert detail["TransformEndTime"] == round(jobs.world.clock.now().timestamp() * 1000)


async def test_an_instance_that_cannot_start_fails_the_job(jobs: Jobs):
    jobs.create()
    (task,) = await jobs.until(lambda: list(jobs.world.engine.tasks.values()))
    jobs.world.engine.put(task.id, TaskState.FAILED, "no such weights")
    await jobs.until(lambda: jobs.is_now("Failed"))
    assert "no such weights" in jobs.describe()["FailureReason"]
    await jobs.until(lambda: not jobs.world.engine.tasks)


async def test_a_job_that_is_stopped_before_it_begins_starts_nothing(jobs: Jobs):
    jobs.create()
    jobs.do("StopTransformJob", TransformJobName="Job")
    await jobs.until(lambda: jobs.is_now("Stopped"))
    assert not jobs.world.engine.starts


async def test_jobs_and_endpoints_share_the_machine(jobs: Jobs):
    jobs.create()
    jobs.world.make_config("c", worlds.variant(count=32))
    with pytest.raises(ResourceLimitExceeded, match="for endpoint usage"):
        jobs.world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    jobs.world.make_config("smaller", worlds.variant(count=31))
    jobs.world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="smaller")
