"""How many copies an inference component has and should have, changed in one place: by a caller, or by autoscaling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kedge import arn
from kedge.endpoints.records import COMPONENT, Endpoint, Status
from kedge.endpoints.scaling import Unscalable
from kedge.store.records import Resource, Scope
from kedge.store.transaction import Transaction


def arn_of(scope: Scope, name: str) -> str:
    return arn.sagemaker(scope.region, scope.account, COMPONENT, name)


def resized(tx: Transaction, resource: Resource, count: int) -> Resource:
    """The component with so many copies wanted, and Updating. resource: in service, as it is in `tx`."""
    component = Endpoint.of(resource.document)
    assert component.live is not None, "a component in service has a fleet"
    live = component.live.each(lambda variant: replace(variant, desired_count=count))
    return tx.update(resource, replace(component, live=live, failure_reason="").document(), Status.UPDATING)


def scale(tx: Transaction, scope: Scope, name: str, count: int) -> Resource:
    """As resized, of the component of that name. Raises Unscalable."""
    resource = tx.get(scope, COMPONENT, name.lower())
    if resource is None:
        raise Unscalable(f'Could not find inference component "{arn_of(scope, name)}".')
    if resource.status != Status.IN_SERVICE:
        raise Unscalable(
            f'Inference component "{arn_of(scope, name)}" has status {resource.status}; it can be scaled while it is '
            f"{Status.IN_SERVICE.value} alone."
        )
    return resized(tx, resource, count)


def runtime_config(component: Endpoint) -> dict[str, Any]:
    """As DescribeInferenceComponent shows it."""
    serving = [fleet for fleet in (component.live, component.beside) if fleet is not None]
    steps = component.shift is not None and component.shift.steps
    shown = [*serving, component.pending] if component.pending is not None and steps else serving
    current = sum(v.current_count for fleet in shown if fleet is not None for v in fleet.variants)
    newest = component.pending or component.live
    desired = sum(v.desired_count for v in newest.variants) if newest is not None else 0
    return {"DesiredCopyCount": desired, "CurrentCopyCount": current}
