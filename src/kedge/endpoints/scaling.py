"""How many instances and which weight a variant of a fleet that serves should have, changed in one place.

A caller asks for it by UpdateEndpointWeightsAndCapacities, autoscaling by `scale`. Either writes what is wanted, and
the controller brings it about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kedge.autoscaling.records import TARGET, Target
from kedge.compute.base import Capacity
from kedge.endpoints import serverless
from kedge.endpoints.descriptions import arn_of
from kedge.endpoints.events import announce
from kedge.endpoints.fleets import check_fits, check_weights
from kedge.endpoints.records import KIND, Endpoint, Fleet, Status, Variant
from kedge.endpoints.room import taken
from kedge.errors import ResourceLimitExceeded, ValidationFailed
from kedge.inference_components import fitting
from kedge.store.records import Resource, Scope
from kedge.store.transaction import Transaction

Room = Callable[[], Capacity]
"""What this machine lends."""


@dataclass(frozen=True)
class Size:
    """None stays as it is."""

    count: int | None = None
    weight: float | None = None
    serverless: Mapping[str, int] = field(default_factory=dict)
    """Members of a ServerlessConfig that change."""


class Unscalable(ValidationFailed):
    """The endpoint cannot be scaled as it is now; later it may."""


def resize(tx: Transaction, resource: Resource, sizes: Mapping[str, Size], room: Room) -> Resource:
    """The endpoint with what is wanted of it now, and Updating. sizes: by variant of its live fleet.

    resource: of an endpoint in service, as it is in `tx`. Raises ValidationFailed when no variant would take requests,
    ResourceLimitExceeded when the machine has no room.
    """
    endpoint = Endpoint.of(resource.document)
    assert endpoint.live is not None, "an endpoint in service has a fleet"
    live = resized(endpoint, sizes)
    check_room(tx, live, _more(live), room)
    changed = replace(endpoint, live=live, failure_reason="")
    after = tx.update(resource, changed.document(), Status.UPDATING)
    announce(tx, after)
    return after


def resized(endpoint: Endpoint, sizes: Mapping[str, Size]) -> Fleet:
    """The live fleet with what is wanted of it."""
    assert endpoint.live is not None, "an endpoint in service has a fleet"
    return endpoint.live.each(lambda variant: _resized(variant, sizes.get(variant.name, Size())))


def scale(tx: Transaction, scope: Scope, name: str, variant: str, size: Size, room: Room) -> Resource:
    """The endpoint `name` with this wanted of `variant`. Raises Unscalable, ResourceLimitExceeded."""
    resource = tx.get(scope, KIND, name.lower())
    if resource is None:
        raise Unscalable(f'Could not find endpoint "{arn_of(scope.region, scope.account, name)}".')
    if resource.status != Status.IN_SERVICE:
        raise Unscalable(
            f'Endpoint "{arn_of(scope.region, scope.account, name)}" has status {resource.status}; it can be scaled '
            f"while it is {Status.IN_SERVICE.value} alone."
        )
    live = Endpoint.of(resource.document).live
    if live is None or live.variant(variant) is None:
        raise Unscalable(f'Endpoint "{arn_of(scope.region, scope.account, name)}" has no variant "{variant}".')
    if misfit := fitting.misfit(tx, resource, resized(Endpoint.of(resource.document), {variant: size})):
        raise ResourceLimitExceeded(misfit)
    return resize(tx, resource, {variant: size}, room)


def follow(tx: Transaction, resource: Resource, variant: str, count: int, room: Room) -> None:
    """A serverless variant has so many instances from now on. The endpoint's status stays, and nobody is told.

    resource: of an endpoint that may follow its load, as it is in `tx`. What is missing takes requests once it is
    ready, as one does that is started again. Raises ConcurrentChange, ResourceLimitExceeded.
    """
    endpoint = Endpoint.of(resource.document)
    assert endpoint.live is not None, "an endpoint in service has a fleet"
    wanted = endpoint.live.each(lambda v: replace(v, desired_count=count) if v.name == variant else v)
    check_room(tx, wanted, _more(wanted), room)
    live = wanted.each(lambda v: replace(v, current_count=count) if v.name == variant else v)
    tx.observe(resource, replace(endpoint, live=live).document())


def _more(fleet: Fleet) -> list[tuple[Variant, int]]:
    return [(v, v.desired_count - v.current_count) for v in fleet.variants if v.desired_count > v.current_count]


def check_room(tx: Transaction, fleet: Fleet, more: Sequence[tuple[Variant, int]], room: Room) -> None:
    """more: instances that the fleet needs and that nobody claims yet.

    Raises ValidationFailed for weights that no request follows, ResourceLimitExceeded for want of room.

    Writers take turns, so two requests cannot both take the last room. A fleet that will never start needs none.
    """
    check_weights(fleet)
    if not more or fleet.problem:
        return
    check_fits(more, taken(tx), room())


def check_scaled(tx: Transaction, resource: Resource, what: str, types: Mapping[str, str]) -> None:
    """Raises ValidationFailed where a change would take away, or make another of, what autoscaling scales.

    what: makes the change, as the beginning of a sentence's end. types: InstanceTypes afterwards, by variant.
    """
    before = Endpoint.of(resource.document)
    prefix = f"endpoint/{resource.name}/variant/"
    for each in tx.list(resource.scope, TARGET, name_prefix=prefix).items:
        target = Target.of(each.document)
        if target.uid != before.uid:
            continue
        name = target.scalable.variant
        old = before.live.variant(name) if before.live else None
        if name not in types:
            change = "has no such variant"
        elif old is not None and types[name] != old.instance_type:
            change = f"changes its instance type from {old.instance_type} to {types[name]}"
        else:
            continue
        raise ValidationFailed(
            f'Variant "{name}" is scaled by Application Auto Scaling, and {what} {change}. Deregister the scalable '
            f"target {target.resource_id} first."
        )


def check_scaled_in(tx: Transaction, resource: Resource, fleet: Fleet) -> None:
    """As check_scaled, of an update to the fleet."""
    types = {each.name: each.instance_type for each in fleet.variants}
    check_scaled(tx, resource, f'endpoint configuration "{fleet.config}"', types)


def _resized(variant: Variant, size: Size) -> Variant:
    if size.serverless:
        variant = serverless.updated(variant, size.serverless)
    return replace(
        variant,
        desired_count=variant.desired_count if size.count is None else size.count,
        desired_weight=variant.desired_weight if size.weight is None else size.weight,
    )
