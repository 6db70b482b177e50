"""Which inference components an endpoint has, and whether a fleet has room for them, as the store knows it."""

from __future__ import annotations

from kedge.endpoints.records import COMPONENT, Endpoint, Fleet, Status
from kedge.inference_components.placement import Room, fits, size_of, taken_by
from kedge.store.records import Resource, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction


def of_host(store: Store | Transaction, scope: Scope, uid: str) -> list[Resource]:
    """The components of the endpoint with this uid."""
    return [each for each in store.list(scope, COMPONENT).items if each.document["host"]["uid"] == uid]


def taken(component: Endpoint, variant: str) -> list[Room]:
    """By the copies that it has or is to have on that variant of its host."""
    if component.host is None or component.host.variant != variant:
        return []
    return [
        taken_by(each)
        for fleet in component.present
        for each in fleet.variants
        for _ in range(max(each.current_count, each.wanted_count))
    ]


def misfit(store: Store | Transaction, resource: Resource, fleet: Fleet) -> str:
    """Why the components of an endpoint do not find room on this fleet, as a sentence; "" where they do.

    resource: the endpoint, whose other fleets are not looked at.
    """
    components = [
        Endpoint.of(each.document)
        for each in of_host(store, resource.scope, resource.document["uid"])
        if each.status not in (Status.DELETING, Status.FAILED)
    ]
    for name in dict.fromkeys(each.host.variant for each in components if each.host is not None):
        variant, named = fleet.variant(name), [each.name for each in components if taken(each, name)]
        on_it = [each.name for each in components if each.host is not None and each.host.variant == name]
        if variant is None or not variant.is_room:
            return f"Variant {name} runs the inference components {', '.join(on_it)}; it has to stay, without a model."
        copies = [room for each in components for room in taken(each, name)]
        if not fits(copies, size_of(variant), variant.desired_count):
            return (
                f"{variant.desired_count} instance(s) of type {variant.instance_type} have no room for the "
                f"{len(copies)} copies of the inference components {', '.join(named)} on variant {name}."
            )
    return ""
