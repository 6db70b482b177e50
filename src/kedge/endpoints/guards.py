"""What the alarms say that guard a deployment. They are read as they are: no message of theirs can be lost."""

from __future__ import annotations

from kedge.alarms.evaluate import State
from kedge.alarms.records import Alarm, find
from kedge.endpoints.records import Endpoint
from kedge.endpoints.shifting import policy_of
from kedge.store.records import Resource, Scope
from kedge.store.store import Store, Transaction


def state_of(store: Store | Transaction, scope: Scope, name: str) -> str | None:
    """Of the metric or composite alarm of this name; None when there is none."""
    found = find(store, scope, name)
    return None if found is None else found.status


def ringing_for(store: Store, resource: Resource) -> str:
    """What is wrong with the alarms that guard this endpoint's deployment, as a sentence; "" where all is well."""
    for name in policy_of(Endpoint.of(resource.document)).alarms:
        found = find(store, resource.scope, name)
        if found is None:
            return f'The alarm "{name}", which guards the deployment, is not there any more.'
        if found.status == State.ALARM:
            return f'The alarm "{name}" is in state ALARM: {Alarm.of(found.document).reason}'
    return ""
