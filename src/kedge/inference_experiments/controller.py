"""Brings about what experiments want: load, decide (course.step), apply. It drives the endpoint as any caller would, by
an update to an endpoint config of its own; the endpoint's controller does the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from kedge import arn
from kedge.clock import Clock
from kedge.endpoints import changing
from kedge.endpoints.changing import Means
from kedge.endpoints.records import CONFIG_KIND, Endpoint
from kedge.endpoints.records import KIND as ENDPOINT
from kedge.endpoints.records import Status as EndpointStatus
from kedge.errors import ConcurrentChange, ResourceLimitExceeded, ValidationFailed
from kedge.inference_experiments import configs, course, validation
from kedge.inference_experiments.records import KIND, Document, Status, stop_of, with_reason
from kedge.loop import Lease, rest_s, with_lease
from kedge.store.store import Author, Resource, Store, Transaction
from kedge.tags.attach import attach, read

log = logging.getLogger(__name__)


class Controller:
    def __init__(self, store: Store, clock: Clock, lease: Lease, means: Means) -> None:
        """lease: what the node has to hold to drive experiments."""
        self._store, self._clock, self._lease, self._means = store, clock, lease, means

    async def step(self) -> float | None:
        """One pass over all experiments; nothing without the lease."""
        return await with_lease(self._lease, self._pass)

    async def _pass(self, held: tuple[str, int]) -> float | None:
        return await asyncio.to_thread(self._advance_all, held)

    def _advance_all(self, held: tuple[str, int]) -> float:
        now_s = self._clock.now().timestamp()
        due_s = [rest_s(self._store)]
        for resource in self._store.list(None, KIND).items:
            status = Status(resource.status)
            if status.is_over:
                continue
            try:
                self._advance(resource, held)
            except ConcurrentChange:
                due_s.append(0.0)  # it was changed meanwhile: what it is now is seen in the next pass
            if (wait_s := course.due_in_s(resource.document, status, now_s)) is not None:
                due_s.append(wait_s)
        return min(due_s)

    def _advance(self, resource: Resource, held: tuple[str, int]) -> None:
        endpoint = self._endpoint(self._store, resource.document, resource)
        if self._decide(resource, endpoint) is None:
            return
        with self._store.transaction(self._author(), lease=held) as tx:
            now = tx.get(resource.scope, KIND, resource.name)
            if now is None or now.id != resource.id:
                return
            endpoint = self._endpoint(tx, now.document, now)
            action = self._decide(now, endpoint)
            if action is not None:
                self._apply(tx, now, endpoint, action)

    def _decide(self, resource: Resource, endpoint: Resource | None) -> course.Action | None:
        seen = None
        if endpoint is not None:
            seen = Endpoint.of(endpoint.document), EndpointStatus(endpoint.status)
        return course.step(resource.document, Status(resource.status), seen, self._clock.now().timestamp())

    def _apply(self, tx: Transaction, resource: Resource, endpoint: Resource | None, action: course.Action) -> None:
        document = resource.document
        match action:
            case course.Become(status, reason):
                self._become(tx, resource, status, reason)
            case course.Settle(reason):
                changes = {} if reason else document["Changes"]
                settled = {k: v for k, v in document.items() if k != "Changes"}
                config = document["Config"] if reason else document["Asked"] or document["Config"]
                tx.update(
                    resource,
                    with_reason({**settled, **changes, "Config": config, "Asked": ""}, reason),
                    Status.RUNNING,
                )
            case course.Begin() | course.Change() | course.End():
                assert endpoint is not None, "course.step saw the endpoint"
                self._touch(tx, resource, endpoint, action)

    def _touch(self, tx: Transaction, resource: Resource, endpoint: Resource, action: course.Action) -> None:
        """Ask the endpoint for another config. If that cannot be, the experiment (or its change) ends, and says why."""
        try:
            asked = self._asked(tx, resource, endpoint, action)
        except (ValidationFailed, ResourceLimitExceeded) as error:
            if isinstance(action, course.Change):
                self._apply(tx, resource, endpoint, course.Settle(error.message))
            else:
                self._become(tx, resource, Status.CANCELLED, error.message)
            return
        tx.update(resource, asked)

    def _asked(self, tx: Transaction, resource: Resource, endpoint: Resource, action: course.Action) -> Document:
        """The experiment with what it asked of its endpoint. Raises ValidationFailed, ResourceLimitExceeded."""
        document, record = resource.document, Endpoint.of(endpoint.document)
        assert record.live is not None, "an endpoint in service has a fleet"
        number = document["Configs"] + 1
        name = configs.name_of(document, number)
        base_name = document["Base"] or record.config
        base = self._config(tx, endpoint, base_name)
        if isinstance(action, course.End):
            running = self._config(tx, endpoint, document["Config"])
            if running is None:
                raise ValidationFailed(_gone(endpoint, document["Config"]))
            config = configs.afterwards(document, stop_of(document), running, base, record.live, name)
            if base is not None and {**config, "EndpointConfigName": base_name} == {
                **base, "EndpointConfigName": base_name
            }:  # fmt: skip
                # Nothing of it has changed: the endpoint goes back to what its owner gave it.
                changing.update(tx, endpoint, base_name, self._means, self._now_s())
                return {**document, "Asked": base["EndpointConfigName"]}
        else:
            if isinstance(action, course.Begin) and (problem := validation.unfit(document, record)):
                raise ValidationFailed(problem)
            before = base if isinstance(action, course.Begin) else self._config(tx, endpoint, document["Config"])
            if before is None:
                raise ValidationFailed(_gone(endpoint, document["Config"] or base_name))
            wanted = {**document, **document.get("Changes", {})}
            config = configs.with_shadow(wanted, before, record.live, name)
        self._insert(tx, endpoint, config, base_name)
        changing.update(tx, endpoint, name, self._means, self._now_s())
        return {**document, "Base": base_name, "Asked": name, "Configs": number}

    def _insert(self, tx: Transaction, endpoint: Resource, config: Mapping[str, Any], base_name: str) -> None:
        """The new endpoint config, with the tags of the one before: rules on what must not be captured are tags."""
        scope = endpoint.scope
        tx.insert(scope, CONFIG_KIND, config["EndpointConfigName"].lower(), dict(config))
        tags = read(tx, scope, arn.sagemaker(scope.region, scope.account, CONFIG_KIND, base_name))
        attach(tx, scope, arn.sagemaker(scope.region, scope.account, CONFIG_KIND, config["EndpointConfigName"]), tags)

    def _become(self, tx: Transaction, resource: Resource, status: Status, reason: str) -> None:
        document = with_reason(resource.document, reason)
        if status is Status.RUNNING:
            document = {**document, "Config": document["Asked"]}
        if status.is_over:
            document = {**document, "CompletionTime": self._now_s()}
        if status is not Status.STARTING and status is not Status.STOPPING:
            document = {**document, "Asked": ""}
        tx.update(resource, document, status)
        if reason:
            log.info("inference experiment %s is %s: %s", resource.name, status, reason)

    def _endpoint(self, store: Store | Transaction, document: Mapping[str, Any], resource: Resource) -> Resource | None:
        """None when it is gone, or another one has its name."""
        found = store.get(resource.scope, ENDPOINT, document["EndpointName"].lower())
        return found if found is not None and found.document["uid"] == document["EndpointUid"] else None

    def _config(self, tx: Transaction, endpoint: Resource, name: str) -> Document | None:
        found = tx.get(endpoint.scope, CONFIG_KIND, name.lower())
        return None if found is None else found.document

    def _author(self) -> Author:
        return Author("kedge:inference-experiments", "", self._clock.now())

    def _now_s(self) -> float:
        return self._clock.now().timestamp()


def _gone(endpoint: Resource, config: str) -> str:
    scope = endpoint.scope
    return f'Could not find endpoint configuration "{arn.sagemaker(scope.region, scope.account, CONFIG_KIND, config)}".'
