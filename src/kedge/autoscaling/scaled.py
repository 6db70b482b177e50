"""What a scalable target scales, as the store has it: an endpoint's variant, or an inference component.

Both are stored alike, so their sizes are read alike; a component has one variant.
"""

from __future__ import annotations

from kedge import arn
from kedge.autoscaling.resource import PROVISIONED, Scalable
from kedge.endpoints import scaling, serverless
from kedge.endpoints.records import COMPONENT, KIND, Endpoint, Variant
from kedge.endpoints.scaling import Room, Size
from kedge.inference_components import copies
from kedge.serving.meter import VariantPlace
from kedge.store.records import Resource, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction


def arn_of(scalable: Scalable, scope: Scope) -> str:
    kind, name = (COMPONENT, scalable.component) if scalable.component else (KIND, scalable.endpoint)
    return arn.sagemaker(scope.region, scope.account, kind, name)


def scaled(store: Store | Transaction, scope: Scope, scalable: Scalable) -> Resource | None:
    """The resource whose document has the size."""
    if scalable.component:
        return store.get(scope, COMPONENT, scalable.component.lower())
    return store.get(scope, KIND, scalable.endpoint.lower())


def variant_of(endpoint: Endpoint, scalable: Scalable) -> Variant | None:
    """Of the live fleet."""
    if endpoint.live is None:
        return None
    return endpoint.live.variants[0] if scalable.component else endpoint.live.variant(scalable.variant)


def at(store: Store | Transaction, place: VariantPlace) -> Resource | None:
    """The resource that serves there."""
    scope = Scope(place.account, place.region)
    if place.component:
        return store.get(scope, COMPONENT, place.component.lower())
    return store.get(scope, KIND, place.endpoint.lower())


def scale(tx: Transaction, scope: Scope, scalable: Scalable, count: int, room: Room) -> None:
    """Raises Unscalable, ResourceLimitExceeded."""
    if scalable.component:
        copies.scale(tx, scope, scalable.component, count)
    else:
        provisioned = scalable.dimension == PROVISIONED
        size = Size(serverless={serverless.PROVISIONED: count}) if provisioned else Size(count)
        scaling.scale(tx, scope, scalable.endpoint, scalable.variant, size, room)


def scale_at(tx: Transaction, place: VariantPlace, count: int, room: Room) -> None:
    """As scale, what serves there."""
    scope = Scope(place.account, place.region)
    if place.component:
        copies.scale(tx, scope, place.component, count)
    else:
        scaling.scale(tx, scope, place.endpoint, place.variant, Size(count), room)
