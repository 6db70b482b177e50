"""How a transform job is carried out: on instances of its model, over the objects of its input.

A job that is found going on is driven from the start: its instances are there already, and so are the outputs that it
has written.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kedge.clock import Clock
from kedge.compute.base import Engine
from kedge.config import Settings
from kedge.endpoints.tasks import spec_of
from kedge.errors import ServiceError
from kedge.home import Home
from kedge.jobs import plan as plans
from kedge.jobs.failing import JobFailed
from kedge.jobs.inputs import LARGEST_MANIFEST_BYTES
from kedge.jobs.instances import Instances
from kedge.jobs.notes import Notes
from kedge.jobs.plan import BadInput, Input, Plan
from kedge.jobs.records import KIND, LABEL, Status, TransformJob
from kedge.jobs.transform import Transform
from kedge.logs import names
from kedge.models.artifact import ArtifactError, Fetching
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.store.records import Resource

DOWNLOAD_TIMEOUT_S = 3600.0


class Transforming:
    """A controller.Work."""

    kind, label = KIND, LABEL

    def __init__(
        self, notes: Notes, objects: Objects, engine: Engine, settings: Settings, home: Home, clock: Clock
    ) -> None:
        self._notes, self._objects, self._engine = notes, objects, engine
        self._settings, self._home, self._clock = settings, home, clock
        self._closed = False
        self.fetching = asyncio.Lock()
        self._fetched: dict[str, frozenset[str]] = {}
        """Hashes of model data, by the uid of a job."""

    def close(self) -> None:
        self._closed = True

    def is_due(self, resource: Resource) -> bool:
        return True  # a job for which there was no room was not made

    async def tidy(self, going: Collection[str]) -> None:
        """Its model data is for whoever collects artifacts."""

    def tasks(self, resource: Resource) -> Collection[str]:
        return TransformJob.of(resource.document).instances

    def artifacts(self, resource: Resource) -> frozenset[str]:
        return TransformJob.of(resource.document).variant.artifacts

    def fetched(self) -> frozenset[str]:
        return frozenset().union(*self._fetched.values())

    async def carry_out(self, resource: Resource) -> tuple[Status, str]:
        job = TransformJob.of(resource.document)
        objects = AccountObjects(self._objects, resource.scope.account)
        inputs = await self._inputs(objects, job)
        job = await self._prepared(resource, job)
        specs = [
            spec_of(
                resource.scope,
                id_,
                job.variant,
                {LABEL: job.name},
                self._settings.start_timeout_s,
                large_bodies=True,
            )
            for id_ in job.instances
        ]
        instances = Instances(self._engine, specs)
        plan = plans.plan_of(plans.hinted(job.request, await instances.start()))
        instances.open(plan.concurrency)
        started_at_s = job.started_at_s or self._clock.now().timestamp()
        await asyncio.to_thread(self._notes.note, resource, lambda now: {**now, "started_at_s": started_at_s})
        await self._say(job, resource, _summary(plan))
        started_at = datetime.fromtimestamp(started_at_s, UTC)
        transform = Transform(objects, plan, instances, job.uid, started_at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        await self._all(transform, inputs, instances.slots)
        await self._capture(objects, job, inputs, started_at)
        return Status.COMPLETED, ""

    async def wind_down(self, resource: Resource) -> tuple[Status, str]:
        """Its instances are stopped once it has ended."""
        return Status.STOPPED, ""

    async def over(self, resource: Resource, status: Status, reason: str) -> None:
        job = TransformJob.of(resource.document)
        self._fetched.pop(job.uid, None)
        await self._say(job, resource, f"The job is {status.value}. {reason}".rstrip())

    def ended(self, document: Mapping[str, Any], status: Status, reason: str, at_s: float) -> dict[str, Any]:
        return replace(TransformJob.of(document), ended_at_s=at_s, failure_reason=reason).document()

    async def _capture(
        self, objects: AccountObjects, job: TransformJob, inputs: list[Input], started_at: datetime
    ) -> None:
        kms_key = job.request.get("DataCaptureConfig", {}).get("KmsKeyId", "")
        for uri, manifest in plans.captured(job.request, inputs, job.uid, started_at):
            try:
                await objects.put(uri, manifest, "application/json", kms_key=kms_key)
            except (ServiceError, OSError, sqlite3.Error) as error:
                raise JobFailed(f"{uri} cannot be written: {error}") from error

    async def _all(self, transform: Transform, inputs: list[Input], at_once: int) -> None:
        """Each of the inputs, so many at once. The first that fails ends the others."""
        left = iter(inputs)

        async def work() -> None:
            for each in left:
                await transform.run(each)

        tasks = [asyncio.create_task(work()) for _ in range(min(at_once, len(inputs)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _inputs(self, objects: AccountObjects, job: TransformJob) -> list[Input]:
        source = job.request["TransformInput"]["DataSource"]["S3DataSource"]
        uri, output = source["S3Uri"], job.request["TransformOutput"]["S3OutputPath"]
        try:
            if source["S3DataType"] == "ManifestFile":
                listed = await objects.read(uri, LARGEST_MANIFEST_BYTES)
                return plans.inputs_of_manifest(listed, uri, output)
            return plans.inputs_of_prefix(uri, await objects.keys(uri), output)
        except BadInput as error:
            raise JobFailed(str(error)) from error
        except (ServiceError, OSError, sqlite3.Error) as error:
            raise JobFailed(f"The input {uri} cannot be read: {error}") from error

    async def _prepared(self, resource: Resource, job: TransformJob) -> TransformJob:
        """With its model data in the cache, and its hashes in the record before anybody may clear the cache."""
        fetching = Fetching(
            self._objects,
            self._home.artifacts,
            resource.scope.account,
            monotonic_s=self._clock.monotonic_s,
            go_on=lambda: not self._closed,
            durable=not self._settings.ephemeral,
        )
        async with self.fetching:
            containers = []
            for each in job.variant.containers:
                try:
                    found = await asyncio.to_thread(fetching.fetch, each.needs, DOWNLOAD_TIMEOUT_S)
                except ArtifactError as error:
                    raise JobFailed(str(error)) from error
                containers.append(replace(each, artifact_sha256=found.sha256))
            prepared = replace(job, variant=replace(job.variant, containers=tuple(containers)))
            variant = prepared.document()["variant"]
            await asyncio.to_thread(self._notes.note, resource, lambda now: {**now, "variant": variant})
            self._fetched[job.uid] = prepared.variant.artifacts
        return prepared

    async def _say(self, job: TransformJob, resource: Resource, said: str) -> None:
        stream = f"{names.job_stream(job.name, job.instances[0])}/data-log"
        await self._notes.say(resource.scope, names.TRANSFORM_GROUP, stream, f"[sagemaker logs]: {said}")


def _summary(plan: Plan) -> str:
    """As SageMaker begins a job's log."""
    strategy = "SINGLE_RECORD" if plan.single else "MULTI_RECORD"
    payload_mb = plan.payload_bytes // (1024 * 1024)
    return f"MaxConcurrentTransforms={plan.concurrency}, MaxPayloadInMB={payload_mb}, BatchStrategy={strategy}"
