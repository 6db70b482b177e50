"""Drives transform jobs: one task for each that goes on; what it has done is in the store and in the outputs.

A job's instances are started when it begins and stopped when it has ended, by comparing what runs with what jobs there
are; so a control process that was killed leaves nothing behind. A job that is found going on is driven from the start:
its instances are there already, and so are the outputs that it has written.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime

from kedge.clock import Clock
from kedge.compute.base import Engine, TaskState
from kedge.config import Settings
from kedge.endpoints.records import shortened
from kedge.endpoints.tasks import spec_of
from kedge.errors import ServiceError
from kedge.home import Home
from kedge.jobs import plan as plans
from kedge.jobs.announcing import announce
from kedge.jobs.instances import Instances, JobFailed
from kedge.jobs.plan import BadInput, Input, Plan
from kedge.jobs.records import KIND, LABEL, Status, TransformJob
from kedge.jobs.transform import Transform
from kedge.logs import names
from kedge.logs.platform import PlatformLog
from kedge.loop import REST_S, Lease, Signal, with_lease
from kedge.models.artifact import ArtifactError, Fetching
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.store.records import Author, LeaseLost, Resource
from kedge.store.store import Store

DOWNLOAD_TIMEOUT_S = 3600.0
LARGEST_MANIFEST_BYTES = 64 * 1024 * 1024
RETRY_S = 1.0
ENDING = (TaskState.STOPPING, TaskState.STOPPED)

log = logging.getLogger(__name__)


class JobController:
    def __init__(
        self,
        store: Store,
        objects: Objects,
        platform_log: PlatformLog,
        engine: Engine,
        settings: Settings,
        home: Home,
        clock: Clock,
        lease: Lease,
        wake: Signal,
    ) -> None:
        """wake: notified after every commit."""
        self._store, self._objects, self._log, self._engine = store, objects, platform_log, engine
        self._settings, self._home, self._clock, self._lease, self._wake = settings, home, clock, lease, wake
        self._driving: dict[str, asyncio.Task[None]] = {}
        """By uid."""
        self._stopping: set[str] = set()
        self._is_clean = False
        """No instance of a job is there, and none can come without a job."""
        self._artifacts: frozenset[str] = frozenset()
        self.fetching = asyncio.Lock()
        self._closed = False

    def artifacts(self) -> frozenset[str]:
        """Hashes of the model data that jobs need."""
        return self._artifacts

    async def close(self) -> None:
        self._closed = True
        tasks = list(self._driving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def step(self) -> float | None:
        return await with_lease(self._lease, self._pass)

    async def _pass(self, _held: tuple[str, int]) -> float | None:
        going = await asyncio.to_thread(self._going)
        jobs = {resource.document["uid"]: TransformJob.of(resource.document) for resource in going}
        self._artifacts = frozenset(sha256 for job in jobs.values() for sha256 in job.variant.artifacts)
        for resource in going:
            uid = resource.document["uid"]
            if uid not in self._driving:
                if resource.status == Status.STOPPING:
                    self._stopping.add(uid)
                self._driving[uid] = asyncio.create_task(self._drive(resource), name=f"job {resource.name}")
            elif resource.status == Status.STOPPING and uid not in self._stopping:
                self._stopping.add(uid)
                self._driving[uid].cancel()
        for uid in self._driving.keys() - jobs.keys():
            self._driving[uid].cancel()  # it has just ended, or everything was dropped
        if going or not self._is_clean:
            await self._stop_others({id_ for job in jobs.values() for id_ in job.instances})
        return None if going else REST_S

    async def _stop_others(self, wanted: Collection[str]) -> None:
        """Instances of jobs that have ended."""
        others = [task for task in await self._engine.observe() if LABEL in task.labels and task.id not in wanted]
        for task in others:
            if task.state not in ENDING:
                await self._engine.stop(task.id)
        self._is_clean = not wanted and not others

    def _going(self) -> list[Resource]:
        found = []
        for status in (Status.IN_PROGRESS, Status.STOPPING):
            found += self._store.list(None, KIND, status=status).items
        return found

    async def _drive(self, resource: Resource) -> None:
        """To its end; what fails for want of the store is tried again by the next pass."""
        job = TransformJob.of(resource.document)
        try:
            status, reason = Status.STOPPED, ""
            try:
                if job.uid not in self._stopping:
                    status, reason = await self._outcome(resource, job)
            except asyncio.CancelledError:
                if self._closed or job.uid not in self._stopping:
                    raise
            await self._say(job, resource, f"The job is {status.value}. {reason}".rstrip())
            await asyncio.to_thread(self._finish, resource, status, reason)
        except LeaseLost as lost:
            log.info("job %s: %s; who has it now drives it", job.name, lost)
        except ServiceError as error:
            log.warning("job %s: %s; it goes on in %g s", job.name, error, RETRY_S)
            await self._clock.sleep(RETRY_S)
        finally:
            del self._driving[job.uid]
            self._stopping.discard(job.uid)
            self._wake.notify()

    async def _outcome(self, resource: Resource, job: TransformJob) -> tuple[Status, str]:
        try:
            await self._carry_out(resource, job)
        except JobFailed as failed:
            return Status.FAILED, str(failed)
        except (ServiceError, LeaseLost):
            raise
        except Exception:
            log.exception("job %s failed", job.name)
            return Status.FAILED, "InternalServerError: an internal failure; the server's log has it."
        return Status.COMPLETED, ""

    async def _carry_out(self, resource: Resource, job: TransformJob) -> None:
        """Raises JobFailed."""
        plan = plans.plan_of(job.request)
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
        instances = Instances(self._engine, specs, plan.concurrency)
        await instances.start()
        started_at_s = job.started_at_s or self._clock.now().timestamp()
        await asyncio.to_thread(self._note, resource, lambda now: replace(now, started_at_s=started_at_s))
        await self._say(job, resource, _summary(plan))
        transform = Transform(objects, plan, instances, job.uid)
        await self._all(transform, inputs, instances.slots)
        await self._capture(objects, job, inputs, datetime.fromtimestamp(started_at_s, UTC))

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
                return plans.inputs_of_manifest(await self._manifest(objects, uri), uri, output)
            return plans.inputs_of_prefix(uri, await objects.keys(uri), output)
        except BadInput as error:
            raise JobFailed(str(error)) from error
        except (ServiceError, OSError, sqlite3.Error) as error:
            raise JobFailed(f"The input {uri} cannot be read: {error}") from error

    async def _manifest(self, objects: AccountObjects, uri: str) -> bytes:
        info, reader = await objects.open(uri)
        try:
            if info.size > LARGEST_MANIFEST_BYTES:
                raise BadInput(f"The manifest {uri} has {info.size} bytes; at most {LARGEST_MANIFEST_BYTES} are taken.")
            return b"".join([part async for part in reader])
        finally:
            await reader.aclose()

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
            variant = replace(job.variant, containers=tuple(containers))
            await asyncio.to_thread(self._note, resource, lambda now: replace(now, variant=variant))
            self._artifacts |= variant.artifacts
        return replace(job, variant=variant)

    def _note(self, resource: Resource, change: Callable[[TransformJob], TransformJob]) -> None:
        """Into the record, whatever else has changed in it. Raises LeaseLost."""
        with self._store.transaction(self._author(), lease=self._held()) as tx:
            now = tx.get(resource.scope, KIND, resource.name)
            if now is not None and now.id == resource.id:
                tx.observe(now, change(TransformJob.of(now.document)).document())

    def _finish(self, resource: Resource, status: Status, reason: str) -> None:
        now = self._clock.now()
        with self._store.transaction(self._author(), lease=self._held()) as tx:
            found = tx.get(resource.scope, KIND, resource.name)
            if found is None or found.id != resource.id or not Status(found.status).goes_on:
                return
            job = TransformJob.of(found.document)
            ended = replace(job, ended_at_s=now.timestamp(), failure_reason=shortened(reason))
            announce(tx, tx.update(found, ended.document(), status))

    async def _say(self, job: TransformJob, resource: Resource, said: str) -> None:
        stream = f"{names.job_stream(job.name, job.instances[0])}/data-log"
        try:
            await asyncio.to_thread(
                self._log.write, resource.scope, names.TRANSFORM_GROUP, stream, [f"[sagemaker logs]: {said}"]
            )
        except (ServiceError, sqlite3.Error) as error:
            log.warning("a line of %s is lost: %s", stream, error)

    def _held(self) -> tuple[str, int]:
        held = self._lease.held
        if held is None:
            raise LeaseLost("the lease of jobs ran out")
        return held

    def _author(self) -> Author:
        return Author("kedge:jobs", "", self._clock.now())


def _summary(plan: Plan) -> str:
    """As SageMaker begins a job's log."""
    strategy = "SINGLE_RECORD" if plan.single else "MULTI_RECORD"
    payload_mb = plan.payload_bytes // (1024 * 1024)
    return f"MaxConcurrentTransforms={plan.concurrency}, MaxPayloadInMB={payload_mb}, BatchStrategy={strategy}"
