"""Drives retrainings: load, decide (course), apply. All is done by calls that anybody may make, in its role."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from kedge import arn
from kedge.clock import Clock
from kedge.endpoints.records import CONFIG_KIND, Endpoint
from kedge.endpoints.records import KIND as ENDPOINT
from kedge.endpoints.records import Status as EndpointStatus
from kedge.errors import AccessDenied, ConcurrentChange, ServiceError, ValidationFailed
from kedge.jobs import training_plan
from kedge.jobs.events import arn_of as job_arn
from kedge.jobs.program_records import TRAINING
from kedge.loop import Lease, rest_s, with_lease
from kedge.models.records import KIND as MODEL
from kedge.monitors import plan
from kedge.monitors.defining import monitor_of
from kedge.monitors.describing import arn_of
from kedge.monitors.finding import Impossible, Unready
from kedge.monitors.monitor import Monitor
from kedge.monitors.plan import Source
from kedge.monitors.records import Schedule, time
from kedge.monitors.retraining import course, looking, renewal, requests
from kedge.monitors.retraining.announcing import announce
from kedge.monitors.retraining.asking import unfit
from kedge.monitors.retraining.course import Become, Deploy, Prepare, Register, StopPreparing, StopTraining, Train
from kedge.monitors.retraining.records import GOING, KIND, Phase, Run
from kedge.monitors.retraining.renewing import Renewing
from kedge.monitors.retraining.settings import Settings, of_tags
from kedge.monitors.windows import Window
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.store.records import Author, LeaseLost, Resource, Scope
from kedge.store.store import Store
from kedge.tags.attach import read as read_tags

Act = Callable[[str, str, Scope, Mapping[str, Any]], Mapping[str, Any]]
"""(operation of SageMaker, ARN of the role, whose, request) -> its answer. Blocks. Raises ServiceError."""
Held = tuple[str, int]
RETRY_S = 1.0
_FAULTS = (OSError, sqlite3.Error)

log = logging.getLogger(__name__)


class Controller:
    def __init__(self, store: Store, objects: Objects, clock: Clock, lease: Lease, act: Act) -> None:
        self._store, self._objects, self._clock, self._lease, self._act = store, objects, clock, lease, act
        self._renewing = Renewing(store, objects, clock, self._do)

    async def step(self) -> float | None:
        return await with_lease(self._lease, self._pass)

    async def _pass(self, held: Held) -> float:
        due_s = [rest_s(self._store)]
        for resource in await asyncio.to_thread(self._going):
            try:
                due_s.append(await self._advance(resource, held))
            except ConcurrentChange:
                due_s.append(0.0)  # what it is now is seen in the next pass
            except Unready as waits:
                log.debug("retraining %s: %s", resource.name, waits)
                due_s.append(RETRY_S)
            except LeaseLost:
                raise
            except ServiceError as error:
                if error.status >= looking.SERVERS_FAULT:
                    log.warning("retraining %s: %s; it goes on in %g s", resource.name, error, RETRY_S)
                    due_s.append(RETRY_S)
                else:
                    await self._refused(resource, held, error.message)
            except _FAULTS as error:
                log.warning("retraining %s: %s; it goes on in %g s", resource.name, error, RETRY_S)
                due_s.append(RETRY_S)
            except Exception:
                log.exception("retraining %s failed", resource.name)
                await self._refused(resource, held, "An internal failure; the server's log has it.")
        return min(due_s)

    def _going(self) -> list[Resource]:
        if not self._store.list(None, KIND, limit=1).items:
            return []  # most servers have none, and this is asked at every commit
        return [each for phase in GOING for each in self._store.list(None, KIND, status=phase).items]

    async def _advance(self, resource: Resource, held: Held) -> float:
        """Seconds until the next look."""
        run, phase = Run.of(resource.document), Phase(resource.status)
        if phase is Phase.DECIDING:
            await self._decide(resource, run, held)
            return 0.0
        if phase is Phase.RENEWING:
            return await self._renew(resource, run, held)
        settings = Settings.of(run.settings or {})
        seen = await asyncio.to_thread(looking.seen, self._store, resource.scope, run, phase)
        now_s = self._clock.now().timestamp()
        action = course.step(run, phase, settings, seen, now_s)
        if action is None:
            due_s = course.due_in_s(run, phase, settings, now_s)
            return rest_s(self._store) if due_s is None else due_s
        scope = resource.scope
        match action:
            case Become(following, reason):
                if following is Phase.RENEWING:
                    watching = await asyncio.to_thread(self._renewing.watching, scope, run)
                    run = replace(run, served_s=seen.served_s or now_s, baselines=watching)
                    following = following if renewal.going(run) else Phase.PROMOTED
                await self._become(resource, run, following, held, reason)
            case Prepare():
                await self._prepare(scope, run)
            case StopPreparing():
                await self._do("StopProcessingJob", run, scope, {"ProcessingJobName": run.preparing})
            case Train():
                await self._train(scope, run, settings)
            case StopTraining():
                await self._do("StopTrainingJob", run, scope, {"TrainingJobName": run.made})
            case Register():
                await self._register(resource, run, settings, held)
            case Deploy():
                await self._deploy(scope, run, settings)
        return 0.0

    async def _renew(self, resource: Resource, run: Run, held: Held) -> float:
        """Seconds until the next look."""
        now_s = self._clock.now().timestamp()
        after = await self._renewing.advanced(resource.scope, run, now_s)
        if isinstance(after, Run):
            if renewal.going(after):
                await asyncio.to_thread(self._note, resource, after, held)
            else:
                await self._become(resource, after, Phase.PROMOTED, held)
            return 0.0
        return rest_s(self._store) if after is None else after

    async def _decide(self, resource: Resource, run: Run, held: Held) -> None:
        """Whether it begins at all. Raises Unready; ServiceError for one that cannot."""
        scope, now_s = resource.scope, self._clock.now().timestamp()
        found = await asyncio.to_thread(looking.schedule_of, self._store, scope, run)
        if found is None:
            raise ValidationFailed(f'The monitoring schedule "{run.schedule}" was deleted.')
        schedule = Schedule.of(found.document)
        settings = of_tags(read_tags(self._store, scope, arn_of(scope, schedule.name)))
        if settings is None:
            raise ValidationFailed("The tags that ask for a retraining were taken away.")
        monitor = await asyncio.to_thread(monitor_of, self._store, scope, schedule.config)
        if problem := unfit(monitor):
            raise ValidationFailed(problem)
        run = replace(run, endpoint=monitor.endpoint, role=monitor.role, settings=settings.document())
        run = await asyncio.to_thread(self._at_its_endpoint, scope, run)
        objects = AccountObjects(self._objects, scope.account)
        in_time = now_s - run.asked_at_s < course.DECIDE_WITHIN_S
        judged = await looking.judged(self._store, objects, scope, run, in_time=in_time)
        run = replace(run, verdict=judged.kind, evidence=judged.evidence[:2000])
        others = await asyncio.to_thread(looking.earlier, self._store, scope, run)
        if reason := course.refusal(run, settings, others, judged, now_s):
            await self._become(resource, run, Phase.NOT_BEGUN, held, reason)
            return
        run = await self._brought(objects, scope, monitor, run)
        await self._become(resource, run, Phase.PREPARING if settings.csv else Phase.TRAINING, held)

    def _at_its_endpoint(self, scope: Scope, run: Run) -> Run:
        found = self._store.get(scope, ENDPOINT, run.endpoint.lower())
        if found is None:
            raise ValidationFailed(f'The endpoint "{run.endpoint}" was deleted.')
        return replace(run, endpoint_uid=found.document["uid"])

    async def _brought(self, objects: AccountObjects, scope: Scope, monitor: Monitor, run: Run) -> Run:
        """With the manifest of what it trains on. Raises ValidationFailed."""
        try:
            bucket, keys = await looking.labelled(self._store, objects, scope, monitor, run)
        except Impossible as problem:
            raise ValidationFailed(str(problem)) from None
        uri = requests.manifest_uri(monitor.output["S3Uri"], run)
        body = orjson.dumps(requests.manifest(bucket, keys))
        await objects.put(uri, body, "application/json", kms_key=monitor.kms_key)
        return replace(run, data=uri, files=len(keys))

    async def _prepare(self, scope: Scope, run: Run) -> None:
        found = await asyncio.to_thread(looking.schedule_of, self._store, scope, run)
        assert found is not None, "a run whose schedule is gone is stopped"
        monitor = await asyncio.to_thread(monitor_of, self._store, scope, found.document["config"])
        start_s, end_s = run.span_s
        request = plan.rows_job(
            monitor, run.preparing, Source(run.data, "", manifest=True), Window(time(start_s), time(end_s)),
            requests.rows_uri(run),
        )  # fmt: skip
        await self._do("CreateProcessingJob", run, scope, {**request, "Tags": requests.tagged((), run)})

    async def _train(self, scope: Scope, run: Run, settings: Settings) -> None:
        objects = AccountObjects(self._objects, scope.account)
        given = await looking.template(self._store, objects, scope, settings)
        await self._do("CreateTrainingJob", run, scope, requests.training_job(given, run, settings))

    async def _register(self, resource: Resource, run: Run, settings: Settings, held: Held) -> None:
        scope = resource.scope
        _, _, own = await asyncio.to_thread(self._live, scope, run, settings)
        request = requests.model_package(own, run, settings, job_arn(scope, run.made, TRAINING))
        made = await self._do("CreateModelPackage", run, scope, request)
        await self._become(resource, replace(run, package=made["ModelPackageArn"]), Phase.APPROVING, held)

    async def _deploy(self, scope: Scope, run: Run, settings: Settings) -> None:
        endpoint, config, own = await asyncio.to_thread(self._live, scope, run, settings)
        live = await asyncio.to_thread(self._model, scope, requests.chosen(config, settings)["ModelName"])
        if await asyncio.to_thread(self._store.get, scope, MODEL, run.made.lower()) is None:
            await self._do("CreateModel", run, scope, requests.model(live, own, run))
        if await asyncio.to_thread(self._store.get, scope, CONFIG_KIND, run.made.lower()) is None:
            config_arn = arn.sagemaker(scope.region, scope.account, CONFIG_KIND, config["EndpointConfigName"])
            tags = await asyncio.to_thread(read_tags, self._store, scope, config_arn)
            await self._do("CreateEndpointConfig", run, scope, requests.endpoint_config(config, tags, run, settings))
        try:
            await self._do(
                "UpdateEndpoint", run, scope, requests.update(run, settings, has_policy=bool(endpoint.deployment))
            )
        except ValidationFailed:
            now = await asyncio.to_thread(looking.endpoint_of, self._store, scope, run)
            if now is not None and not EndpointStatus(now.status).in_transition:
                raise
            # Somebody else was quicker: it is waited for.

    def _live(self, scope: Scope, run: Run, settings: Settings) -> tuple[Endpoint, Mapping[str, Any], dict[str, Any]]:
        """The endpoint, its config, and its container with what the run trained. Raises ValidationFailed."""
        found = looking.endpoint_of(self._store, scope, run)
        if found is None:
            raise ValidationFailed(f'The endpoint "{run.endpoint}" was deleted.')
        endpoint = Endpoint.of(found.document)
        config = self._store.get(scope, CONFIG_KIND, endpoint.config.lower())
        if config is None:
            raise ValidationFailed(
                f'The endpoint config "{endpoint.config}" was deleted: there is none to put the new model into.'
            )
        live = self._model(scope, requests.chosen(config.document, settings)["ModelName"])
        job = self._store.get(scope, TRAINING, run.made.lower())
        assert job is not None, "it has trained"
        uri = training_plan.model_uri(job.document["request"], job.document["name"])
        return endpoint, config.document, requests.container(live, uri)

    def _model(self, scope: Scope, name: str) -> Mapping[str, Any]:
        """Raises ValidationFailed."""
        found = self._store.get(scope, MODEL, name.lower())
        if found is None:
            raise ValidationFailed(
                f'The model "{name}", which serves, was deleted: what it says is not known any more.'
            )
        return found.document

    async def _do(self, operation: str, run: Run, scope: Scope, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises ValidationFailed, and what the operation raises."""
        try:
            return await asyncio.to_thread(self._act, operation, run.role, scope, request)
        except AccessDenied as error:
            raise ValidationFailed(f"{operation}: {error.message}") from None

    async def _refused(self, resource: Resource, held: Held, reason: str) -> None:
        run, phase = Run.of(resource.document), Phase(resource.status)
        ends = {Phase.DECIDING: Phase.NOT_BEGUN, Phase.RENEWING: Phase.PROMOTED}.get(phase, Phase.FAILED)
        try:
            await self._become(resource, run, ends, held, reason)
        except ConcurrentChange:
            log.info("retraining %s was changed meanwhile", resource.name)

    async def _become(self, resource: Resource, run: Run, phase: Phase, held: Held, reason: str = "") -> None:
        await asyncio.to_thread(self._write, resource, run, phase, held, reason)

    def _note(self, resource: Resource, run: Run, held: Held) -> None:
        """In the same phase."""
        with self._store.transaction(Author("kedge:retraining", "", self._clock.now()), lease=held) as tx:
            tx.update(resource, run.document())

    def _write(self, resource: Resource, run: Run, phase: Phase, held: Held, reason: str) -> None:
        now = self._clock.now()
        with self._store.transaction(Author("kedge:retraining", "", now), lease=held) as tx:
            announce(tx, tx.update(resource, run.at(phase, now.timestamp(), reason[:1024]).document(), phase))
        if reason:
            log.info("retraining %s is %s: %s", run.made, phase, reason)
