"""Schedules over days of a clock that is moved by hand; jobs end as the test says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kedge.compute import instance_types
from kedge.endpoints.fleets import Kinds
from kedge.jobs.machine import JobMachine
from kedge.jobs.program_records import PROCESSING, Outcome, ProgramJob
from kedge.monitors.controller import Controller
from kedge.monitors.execution_operations import ask
from kedge.monitors.operations import operations
from kedge.monitors.plan import DRIFT_STATE as STATE
from kedge.serving.runtimes import images
from kedge.store.lease import Lease
from kedge.store.records import Author, Resource, Scope
from tests.endpoints import world as worlds
from tests.endpoints.world import ACCOUNT, REGION, START, World
from tests.objects.putting import put_bytes

CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://models/captured",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}
SCOPE = Scope(ACCOUNT, REGION)
VIOLATED = "CompletedWithViolations: Job completed successfully with 2 violations."


class Watch:
    def __init__(self, world: World) -> None:
        self.world = world
        kinds = Kinds(instance_types.find, images.choose, images.known_images())
        self.machine = JobMachine(kinds, world.engine.capacity, has_engine=False)
        self.restart()

    def restart(self) -> None:
        """What a kill of the control process leaves is the store."""
        self.lease = Lease(self.world.store, "control", "one", self.world.clock)
        self.controller = Controller(self.world.store, self.world.objects, self.world.clock, self.lease, self.machine)

    def do(self, operation: str, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = operations(self.machine)[f"sagemaker.{operation}"](self.world.call(), request)
        return answer

    async def until(self, at: datetime) -> float | None:
        """At that time, until nothing more is to be done; returns when the next step is due."""
        self.world.clock.advance((at - self.world.clock.now()).total_seconds())
        due_s: float | None = None
        for _ in range(60):
            self.lease.hold()
            due_s = await self.controller.step()
            if due_s != 0.0:
                return due_s
        raise AssertionError("the controller does not come to rest")

    def jobs(self) -> list[Resource]:
        return list(self.world.store.list(None, PROCESSING, status="InProgress").items)

    def end(self, said: str = "Completed: fine", status: str = "Completed", reason: str = "") -> None:
        """The one job that goes on has ended so."""
        (job,) = self.jobs()
        with self.world.store.transaction(Author("test", "", self.world.clock.now())) as tx:
            ended = ProgramJob.of({**job.document, "outcome": asdict(Outcome(0, exit_message=said))}).document()
            tx.update(job, {**ended, "failure_reason": reason}, status)

    def capture(self, hour: datetime) -> None:
        put_bytes(self.world.objects, "models", f"captured/wine/v/{hour:%Y/%m/%d/%H}/x.jsonl", b"{}\n")

    def executions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.do(
            "ListMonitoringExecutions", MonitoringScheduleName="hourly", SortBy="CreationTime", SortOrder="Ascending",
            MaxResults=100,
        )["MonitoringExecutionSummaries"]  # fmt: skip
        return found

    def times(self) -> list[datetime]:
        return [each["ScheduledTime"] for each in self.executions()]

    def statuses(self) -> list[str]:
        return [str(each["MonitoringExecutionStatus"]) for each in self.executions()]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """With an hourly data quality monitor; it is 03:04:05."""
    world = worlds.make(tmp_path / "data")
    world.make_model()
    world.make_config("c", worlds.variant(), DataCaptureConfig=CAPTURE)
    world.do("CreateEndpoint", EndpointName="wine", EndpointConfigName="c")
    made = Watch(world)
    made.do(
        "CreateDataQualityJobDefinition",
        JobDefinitionName="hourly",
        DataQualityAppSpecification={"ImageUri": "1.dkr/sagemaker-model-monitor-analyzer"},
        DataQualityJobInput={"EndpointInput": {"EndpointName": "wine", "LocalPath": "/opt/ml/processing/input"}},
        DataQualityJobOutputConfig={
            "MonitoringOutputs": [{"S3Output": {"S3Uri": "s3://models/out", "LocalPath": "/opt/ml/processing/output"}}]
        },
        JobResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/watch",
    )
    made.do(
        "CreateMonitoringSchedule",
        MonitoringScheduleName="hourly",
        MonitoringScheduleConfig={
            "MonitoringJobDefinitionName": "hourly",
            "MonitoringType": "DataQuality",
            "ScheduleConfig": {"ScheduleExpression": "cron(0 * ? * * *)"},
        },
    )
    for hours in range(60):
        made.capture(START + timedelta(hours=hours))
    yield made
    world.close()


def hour(number: int, seconds: float = 0.0) -> datetime:
    """The full hour after so many hours, and a little later."""
    return START.replace(minute=0, second=0) + timedelta(hours=number, seconds=seconds)


async def test_each_hour_has_its_execution_and_one_goes_on_at_a_time(watch: Watch):
    assert await watch.until(START) == 10.0
    assert watch.executions() == []
    assert await watch.until(hour(1, 5)) == 7.0  # until what was captured is there
    await watch.until(hour(1, 12))
    assert watch.times() == [hour(1)]
    await watch.until(hour(3, 30))
    assert watch.statuses() == ["InProgress"]
    watch.end(VIOLATED)
    await watch.until(hour(3, 31))
    assert watch.times() == [hour(1), hour(2)]
    watch.end(status="Failed", reason="AlgorithmError: no")
    await watch.until(hour(3, 32))
    watch.end()
    await watch.until(hour(3, 33))
    assert watch.times() == [hour(1), hour(2), hour(3)]
    assert watch.statuses() == ["CompletedWithViolations", "Failed", "Completed"]
    assert watch.executions()[1]["FailureReason"] == "AlgorithmError: no"
    names = [each["ProcessingJobArn"].rpartition("/")[2] for each in watch.executions()]
    assert len(set(names)) == 3
    changes = watch.do("ListMonitoringAlertHistory", SortOrder="Ascending")["MonitoringAlertHistory"]
    assert [each["AlertStatus"] for each in changes] == ["InAlert", "OK"]


async def test_hours_that_were_missed_are_made_up_for_after_a_restart(watch: Watch):
    await watch.until(START)
    watch.restart()
    for number in range(24):
        await watch.until(hour(40, 60 + number))
        watch.restart()
        watch.end()
    await watch.until(hour(40, 120))
    assert watch.times() == [hour(number) for number in range(17, 41)]
    assert set(watch.statuses()) == {"Completed"}
    assert not watch.jobs()


async def test_a_clock_that_is_set_back_repeats_nothing(watch: Watch):
    await watch.until(hour(2, 20))
    watch.end()
    await watch.until(hour(2, 30))
    watch.end()
    await watch.until(hour(2, 40))
    await watch.until(hour(0, 100))
    await watch.until(hour(2, 50))
    assert watch.times() == [hour(1), hour(2)]


async def test_an_execution_gets_what_the_one_of_the_window_before_has_left(watch: Watch):
    """Not what an execution in between has left, whose window shares rows with this one."""

    def state(*path: str) -> None:
        put_bytes(watch.world.objects, "models", "/".join(["out/wine/hourly/2026/01/02", *path, STATE]), b"{}")

    def brought() -> list[str]:
        (job,) = watch.jobs()
        return [
            each["S3Input"]["S3Uri"] for each in job.document["request"]["ProcessingInputs"]
            if each["InputName"] == "drift_state"
        ]  # fmt: skip

    await watch.until(hour(1, 20))
    assert brought() == []
    state("04")
    watch.end()
    await watch.until(hour(1, 1800))
    ask(watch.world.call(), b'{"MonitoringScheduleName": "hourly"}')
    await watch.until(hour(1, 1830))
    assert brought() == []
    state("04", "30")
    watch.end()
    await watch.until(hour(2, 20))
    assert brought() == [f"s3://models/out/wine/hourly/2026/01/02/04/{STATE}"]


async def test_a_stopped_schedule_leaves_its_hours_out(watch: Watch):
    await watch.until(START)
    watch.do("StopMonitoringSchedule", MonitoringScheduleName="hourly")
    await watch.until(hour(3, 30))
    watch.do("StartMonitoringSchedule", MonitoringScheduleName="hourly")
    await watch.until(hour(3, 40))
    assert watch.executions() == []
    await watch.until(hour(4, 30))
    assert watch.times() == [hour(4)]


async def test_what_cannot_be_done_is_an_execution_that_says_why(watch: Watch):
    world = watch.world
    await watch.until(START)
    watch.do("DeleteDataQualityJobDefinition", JobDefinitionName="hourly")
    await watch.until(hour(1, 20))
    assert watch.statuses() == ["Failed"]
    assert 'Could not find data quality job definition "hourly"' in watch.executions()[0]["FailureReason"]
    shown = watch.do("DescribeMonitoringSchedule", MonitoringScheduleName="hourly")
    assert shown["LastMonitoringExecutionSummary"]["MonitoringExecutionStatus"] == "Failed"
    events = [each.detail for each in world.store.outbox() if "Monitoring Schedule" in each.detail_type]
    assert events[0]["MonitoringScheduleStatus"] == "Scheduled"
    assert "Could not find" in events[-1]["LastMonitoringExecutionSummary"]["FailureReason"]


async def test_executions_outlive_their_schedule_and_go_after_ninety_days(watch: Watch):
    await watch.until(hour(1, 20))
    watch.do("DeleteMonitoringSchedule", MonitoringScheduleName="hourly")
    await watch.until(hour(1, 21))
    assert watch.statuses() == ["Stopping"]
    (job,) = watch.world.store.list(None, PROCESSING, status="Stopping").items
    with watch.world.store.transaction(Author("test", "", watch.world.clock.now())) as tx:
        tx.update(job, job.document, "Stopped")
    await watch.until(hour(1, 22))
    assert watch.statuses() == ["Stopped"]
    await watch.until(hour(1) + timedelta(days=91))
    assert watch.executions() == []
