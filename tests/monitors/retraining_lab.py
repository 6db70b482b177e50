"""Retrainings in a small world: a real store and objects, a clock moved by hand; jobs and instances do as told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from kedge.compute import instance_types
from kedge.endpoints.fleets import Kinds
from kedge.errors import ServiceUnavailable
from kedge.jobs import operations as jobs
from kedge.jobs.machine import JobMachine
from kedge.jobs.program_records import PROCESSING, TRAINING, Outcome, ProgramJob
from kedge.monitors.alerting import keep
from kedge.monitors.operations import operations
from kedge.monitors.records import EXECUTION, SCHEDULE, Execution, Past, Schedule, Seen, Status
from kedge.monitors.retraining import asking
from kedge.monitors.retraining.controller import Controller
from kedge.monitors.retraining.operations import ask, retrainings
from kedge.monitors.retraining.records import KIND, Phase, Run
from kedge.registry.operations import OPERATIONS as REGISTRY
from kedge.serving.runtimes import images
from kedge.store.lease import Lease
from kedge.store.records import Author, Resource, Scope
from tests.endpoints import world as worlds
from tests.endpoints.world import ACCOUNT, REGION, World
from tests.objects.putting import put_bytes

SCOPE = Scope(ACCOUNT, REGION)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/watch"
SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://models/captured",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
}
TEMPLATE = {
    "TrainingJobName": "first",
    "AlgorithmSpecification": {"TrainingImage": SKLEARN, "TrainingInputMode": "File"},
    "HyperParameters": {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://models/source.tar.gz"},
    "OutputDataConfig": {"S3OutputPath": "s3://models/trained"},
    "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    "RoleArn": ROLE,
}


class Lab:
    """The endpoint "wine" is in service, and watched by the model quality monitor "quality" with these tags."""

    def __init__(self, folder: Path, **tags: str) -> None:
        self.world: World = worlds.make(folder)
        self.crash_after = ""
        """An operation after which the control process is killed once, before it has noted anything."""
        self.acted: list[tuple[str, dict[str, Any]]] = []
        self.tags = {"retrain": "first", **tags}
        kinds = Kinds(instance_types.find, images.choose, images.known_images())
        self.machine = JobMachine(kinds, self.world.engine.capacity, has_engine=False)
        self.restart()

    def restart(self) -> None:
        """What a kill of the control process leaves is the store."""
        world = self.world
        world.restart_control()
        self.lease = Lease(world.store, "retraining", "one", world.clock)
        self.controller = Controller(world.store, world.objects, world.clock, self.lease, self.act)

    def do(self, operation: str, **request: Any) -> dict[str, Any]:
        table = {**self.world.table(), **REGISTRY, **jobs.operations(self.machine), **operations(self.machine)}
        answer: dict[str, Any] = table[f"sagemaker.{operation}"](self.world.call(), request)
        return answer

    def act(self, operation: str, role: str, scope: Scope, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert (role, scope) == (ROLE, SCOPE)
        answer = self.do(operation, **request)
        self.acted.append((operation, dict(request)))
        if operation == self.crash_after:
            self.crash_after = ""
            raise ServiceUnavailable("killed")
        return answer

    async def prepare(self) -> None:
        self.world.make_model()
        self.world.make_config("c", worlds.variant(), DataCaptureConfig=CAPTURE)
        self.do("CreateEndpoint", EndpointName="wine", EndpointConfigName="c")
        self.do("CreateModelPackageGroup", ModelPackageGroupName="wines")
        await self.world.bring_up()
        self.do("CreateTrainingJob", **TEMPLATE)
        self.end_training("first")
        self.do(
            "CreateModelQualityJobDefinition",
            JobDefinitionName="quality",
            ModelQualityAppSpecification={
                "ImageUri": "1.dkr/sagemaker-model-monitor-analyzer", "ProblemType": "Regression",
            },
            ModelQualityJobInput={
                "EndpointInput": {"EndpointName": "wine", "LocalPath": "/opt/ml/processing/input"},
                "GroundTruthS3Input": {"S3Uri": "s3://models/truth"},
            },
            ModelQualityJobOutputConfig={
                "MonitoringOutputs": [
                    {"S3Output": {"S3Uri": "s3://models/out", "LocalPath": "/opt/ml/processing/output"}}
                ]
            },
            JobResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
            RoleArn=ROLE,
        )  # fmt: skip
        self.schedule()

    def schedule(self, **more: Any) -> None:
        tags = [{"Key": f"kedge:{key}", "Value": value} for key, value in self.tags.items()]
        self.do(
            "CreateMonitoringSchedule",
            MonitoringScheduleName="quality",
            MonitoringScheduleConfig={
                "MonitoringJobDefinitionName": "quality",
                "MonitoringType": "ModelQuality",
                "ScheduleConfig": {"ScheduleExpression": "cron(0 * ? * * *)"},
            },
            Tags=tags,
            **more,
        )

    def alert(self, *, labelled: bool = True) -> None:
        """An execution of the last hour ends with violations, and the alert rings."""
        now = self.world.clock.now()
        found = self.world.store.get(SCOPE, SCHEDULE, "quality")
        if found is None:
            return
        schedule = Schedule.of(found.document)
        hour = now - timedelta(hours=1)
        monitor = {"kind": "ModelQuality", "role": ROLE, "image": "x", "cluster": {}, "definition": "quality",
                   "input": {"EndpointName": "wine"}, "output": {"S3Uri": "s3://models/out"}}  # fmt: skip
        execution = Execution(
            f"{now.timestamp():.0f}", "quality", "", schedule.uid, "ModelQuality", monitor, now.timestamp(),
            hour.timestamp(), now.timestamp(),
        )  # fmt: skip
        if labelled:
            key = f"out/merge/wine/v/{hour:%Y/%m/%d/%H}/part.jsonl"
            put_bytes(self.world.objects, "models", key, b"{}\n")
        at = f"out/wine/quality/{now:%Y/%m/%d/%H}" + (f"/{now:%M}" if now.minute else "")
        low = b'{"violations": [{"metric_name": "mae", "constraint_check_type": "GreaterThanThreshold"}]}'
        put_bytes(self.world.objects, "models", f"{at}/constraint_violations.json", low)
        with self.world.store.transaction(Author("test", "", now)) as tx:
            if tx.get(SCOPE, EXECUTION, execution.name) is None:
                tx.insert(SCOPE, EXECUTION, execution.name, execution.document(), Status.VIOLATED)
            seen = Seen(execution.scheduled_s, execution.start_s, execution.end_s, Status.VIOLATED.value)
            keep(tx, SCOPE, "quality", Past((seen,)))
            asking.on_alert(tx, SCOPE, replace(schedule, alert_status="InAlert"), execution, Status.VIOLATED, now)

    def watch_data(self, violations: bytes, drift: bytes) -> None:
        """A data quality monitor whose execution looks at the last hour, and will have found this."""
        name = "data"
        self.do(
            "CreateDataQualityJobDefinition",
            JobDefinitionName=name,
            DataQualityAppSpecification={"ImageUri": "1.dkr/sagemaker-model-monitor-analyzer"},
            DataQualityJobInput={"EndpointInput": {"EndpointName": "wine", "LocalPath": "/opt/ml/processing/input"}},
            DataQualityJobOutputConfig={
                "MonitoringOutputs": [
                    {"S3Output": {"S3Uri": "s3://models/out", "LocalPath": "/opt/ml/processing/output"}}
                ]
            },
            JobResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
            RoleArn=ROLE,
        )
        config = {"MonitoringJobDefinitionName": name, "MonitoringType": "DataQuality"}
        self.do("CreateMonitoringSchedule", MonitoringScheduleName=name, MonitoringScheduleConfig=config)
        now = self.world.clock.now()
        monitor = {"kind": "DataQuality", "role": ROLE, "image": "x", "cluster": {}, "definition": name,
                   "input": {"EndpointName": "wine"}, "output": {"S3Uri": "s3://models/out"}}  # fmt: skip
        start_s = (now - timedelta(hours=1)).timestamp()
        looking = Execution(
            "d", name, "", "", "DataQuality", monitor, now.timestamp(), start_s, now.timestamp()
        )  # fmt: skip
        at = f"out/wine/data/{now:%Y/%m/%d/%H}" + (f"/{now:%M}" if now.minute else "")
        put_bytes(self.world.objects, "models", f"{at}/constraint_violations.json", violations)
        put_bytes(self.world.objects, "models", f"{at}/kedge_drift.json", drift)
        with self.world.store.transaction(Author("test", "", now)) as tx:
            found = tx.get(SCOPE, SCHEDULE, name)
            assert found is not None
            tx.insert(SCOPE, EXECUTION, looking.name, looking.document(), Status.IN_PROGRESS)
            tx.update(found, replace(Schedule.of(found.document), current=looking.name).document())

    def data_is_seen(self) -> None:
        """Its execution has ended."""
        with self.world.store.transaction(Author("test", "", self.world.clock.now())) as tx:
            found = tx.get(SCOPE, SCHEDULE, "data")
            assert found is not None
            schedule = Schedule.of(found.document)
            resource = tx.get(SCOPE, EXECUTION, schedule.current)
            assert resource is not None
            looked = Execution.of(resource.document)
            tx.update(resource, resource.document, Status.VIOLATED)
            keep(tx, SCOPE, "data", Past((Seen(looked.scheduled_s, looked.start_s, looked.end_s, "Completed"),)))
            tx.update(found, replace(schedule, current="").document())

    def watch_inputs(
        self, expression: str = "cron(0 0 ? * * *)", *, inline: bool = False, times: Any = None, **more: Any
    ) -> None:
        """The data quality monitor "inputs", with a baseline; it is due at midnight."""
        baseline = {"ConstraintsResource": {"S3Uri": "s3://models/before/constraints.json"}}
        source = {"EndpointInput": {"EndpointName": "wine", "LocalPath": "/opt/ml/processing/input"}}
        application = {"ImageUri": "1.dkr/sagemaker-model-monitor-analyzer", **more}
        output = {
            "MonitoringOutputs": [{"S3Output": {"S3Uri": "s3://models/out", "LocalPath": "/opt/ml/processing/output"}}]
        }
        cluster = {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}}
        when = {"ScheduleConfig": {"ScheduleExpression": expression, **(times or {})}}
        if inline:
            config: dict[str, Any] = {
                "MonitoringJobDefinition": {
                    "MonitoringAppSpecification": application, "MonitoringInputs": [source], "BaselineConfig": baseline,
                    "MonitoringOutputConfig": output, "MonitoringResources": cluster, "RoleArn": ROLE,
                },
                **when,
            }  # fmt: skip
        else:
            self.do(
                "CreateDataQualityJobDefinition",
                JobDefinitionName="inputs", DataQualityAppSpecification=application, DataQualityJobInput=source,
                DataQualityJobOutputConfig=output, DataQualityBaselineConfig=baseline, JobResources=cluster,
                RoleArn=ROLE, Tags=[{"Key": "team", "Value": "wine"}],
            )  # fmt: skip
            config = {"MonitoringJobDefinitionName": "inputs", "MonitoringType": "DataQuality", **when}
        self.do("CreateMonitoringSchedule", MonitoringScheduleName="inputs", MonitoringScheduleConfig=config)

    def begin(self, name: str, begun: Mapping[str, Any]) -> None:
        """The schedule's due execution has begun."""
        with self.world.store.transaction(Author("test", "", self.world.clock.now())) as tx:
            found = tx.get(SCOPE, SCHEDULE, name)
            assert found is not None
            tx.update(found, begun)

    def baselining(self) -> list[Resource]:
        """Processing jobs that go on."""
        found = self.world.store.list(None, PROCESSING).items
        return [each for each in found if each.status in ("InProgress", "Stopping")]

    def end_baselining(self, rows: int = 1000, status: str = "Completed") -> None:
        """The one that goes on has made a baseline of so many rows, or has ended so."""
        for job in self.baselining():
            reason = "" if status == "Completed" else "AlgorithmError: other columns"
            ended = {**job.document, "outcome": asdict(Outcome(0)), "failure_reason": reason}
            (output,) = job.document["request"]["ProcessingOutputConfig"]["Outputs"]
            key = output["S3Output"]["S3Uri"].removeprefix("s3://models/")
            text = b'{"dataset": {"item_count": %d}}' % rows
            put_bytes(self.world.objects, "models", f"{key}/statistics.json", text)
            ends = "Stopped" if job.status == "Stopping" else status
            with self.world.store.transaction(Author("test", "", self.world.clock.now())) as tx:
                tx.update(job, ProgramJob.of(ended).document(), ends)

    def by_hand(self, action: str = "Begin") -> None:
        ask(self.world.call(), f'{{"MonitoringScheduleName": "quality", "Action": "{action}"}}'.encode())

    def training(self) -> list[Resource]:
        """Training jobs that go on."""
        found = self.world.store.list(None, TRAINING).items
        return [each for each in found if each.status in ("InProgress", "Stopping")]

    def end_training(
        self, name: str = "", status: str = "Completed", metrics: Mapping[str, float] | None = None
    ) -> None:
        """The one training job that goes on, or the one of that name, has ended so."""
        for job in self.training():
            if name and job.name != name:
                continue
            told = [{"MetricName": metric, "Value": value, "at_s": 0.0} for metric, value in (metrics or {}).items()]
            reason = "" if status == "Completed" else "AlgorithmError: no"
            ended = {**job.document, "outcome": asdict(Outcome(0)), "metrics": told, "failure_reason": reason}
            if job.status == "Stopping":
                status = "Stopped"
            if status == "Completed":
                self.world.put_model_data(f"trained/{job.document['name']}/output/model.tar.gz")
            with self.world.store.transaction(Author("test", "", self.world.clock.now())) as tx:
                tx.update(job, ProgramJob.of(ended).document(), status)

    def approve(self, status: str = "Approved") -> None:
        for each in self.do("ListModelPackages", ModelPackageGroupName="wines")["ModelPackageSummaryList"]:
            if each["ModelApprovalStatus"] == "PendingManualApproval":
                self.do("UpdateModelPackage", ModelPackageArn=each["ModelPackageArn"], ModelApprovalStatus=status)

    async def step(self, times: int = 6) -> float | None:
        due_s: float | None = None
        for _ in range(times):
            await asyncio.to_thread(self.lease.hold)
            due_s = await self.controller.step()
        return due_s

    async def settle(self, seconds: float = 0.0) -> None:
        """Later, whatever can happen by itself has happened; training jobs go on."""
        self.world.clock.advance(seconds)
        for _ in range(3):
            await self.step()
            await self.world.bring_up()
        await self.step()

    def runs(self) -> list[tuple[Run, Phase]]:
        """Oldest first."""
        return [(Run.of(each.document), Phase(each.status)) for each in self.world.store.list(None, KIND).items]

    def newest(self) -> dict[str, Any]:
        shown: dict[str, Any] = retrainings(self.world.call(), {"MonitoringScheduleName": "quality"})["Retrainings"][0]
        return shown

    def endpoint(self) -> tuple[str, str]:
        """(status, config that serves) of "wine"."""
        found = self.world.store.get(SCOPE, "endpoint", "wine")
        assert found is not None
        live = found.document["live"]
        return found.status, live["config"] if live else ""

    def close(self) -> None:
        self.world.close()
