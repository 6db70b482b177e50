"""Every scalable target with what belongs to it, as it was last read. Read again after commits alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kedge.autoscaling.records import POLICY, SCHEDULED, TARGET, Policy, Target
from kedge.autoscaling.resource import PROVISIONED
from kedge.autoscaling.scaled import scaled, variant_of
from kedge.endpoints import serverless
from kedge.endpoints.records import Endpoint, Variant
from kedge.endpoints.routing import place_of
from kedge.serving.meter import VariantPlace
from kedge.store.records import Resource, Scope
from kedge.store.store import Store


@dataclass(frozen=True)
class KnownTarget:
    resource: Resource
    target: Target
    policies: tuple[Policy, ...]
    scheduled: tuple[Resource, ...]
    endpoint: Resource | None
    """Or the inference component. None when there is none, or another one of that name."""
    variant: Variant | None
    """Of the live fleet."""

    @property
    def is_followed(self) -> bool:
        return any(policy.is_fast for policy in self.policies)

    @property
    def capacity(self) -> int:
        """The one that is wanted of its variant; 0 where there is none."""
        return 0 if self.variant is None else capacity_of(self.variant, self.target.dimension)

    @property
    def place(self) -> VariantPlace:
        scope, scalable = self.resource.scope, self.target.scalable
        if self.endpoint is None:
            return VariantPlace(scope.account, scope.region, scalable.endpoint, scalable.variant)
        host = self.endpoint.document.get("host")
        return place_of(self.endpoint, scalable.variant if host is None else host["variant"])


def capacity_of(variant: Variant, dimension: str) -> int:
    return serverless.provisioned(variant) if dimension == PROVISIONED else variant.desired_count


class Known:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._commits = 0
        self._seen: int | None = None
        self.targets: tuple[KnownTarget, ...] = ()
        store.on_commit(self._committed)

    def _committed(self) -> None:
        self._commits += 1

    @property
    def is_empty(self) -> bool:
        """There was nothing at the last look, and nothing was written since."""
        return not self.targets and self._commits == self._seen and not self._store.is_shared

    def refresh(self) -> None:
        """Blocks."""
        commits = self._commits
        if commits == self._seen and not self._store.is_shared:
            return
        targets = self._store.list(None, TARGET).items
        if targets:
            policies = _by_target(self._store.list(None, POLICY).items)
            scheduled = _by_target(self._store.list(None, SCHEDULED).items)
            self.targets = tuple(self._known(each, policies, scheduled) for each in targets)
        else:
            self.targets = ()
        self._seen = commits

    def _known(
        self, resource: Resource, policies: Mapping[_Key, list[Resource]], scheduled: Mapping[_Key, list[Resource]]
    ) -> KnownTarget:
        target, key = Target.of(resource.document), (resource.scope, resource.name)
        endpoint = scaled(self._store, resource.scope, target.scalable)
        variant = None
        if endpoint is not None and endpoint.document["uid"] != target.uid:
            endpoint = None
        if endpoint is not None:
            variant = variant_of(Endpoint.of(endpoint.document), target.scalable)
        return KnownTarget(
            resource,
            target,
            tuple(Policy.of(each.document) for each in policies.get(key, ())),
            tuple(scheduled.get(key, ())),
            endpoint,
            variant,
        )

    def find(self, place: VariantPlace) -> KnownTarget | None:
        """By which it gets instances, or copies."""
        return next(
            (each for each in self.targets if each.place == place and each.target.dimension != PROVISIONED), None
        )


_Key = tuple[Scope, str]
"""Whose the target is, and its name."""


def _by_target(resources: list[Resource]) -> dict[_Key, list[Resource]]:
    found: dict[_Key, list[Resource]] = {}
    for each in resources:
        key = "|".join(each.name.split("|", 2)[:2])
        found.setdefault((each.scope, key), []).append(each)
    return found
