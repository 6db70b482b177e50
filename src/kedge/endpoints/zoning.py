"""Kedge's own way to switch a zone of the machine off, for a test of what happens then, and on again.

A zone that is off is a resource in the store; the plan of every endpoint follows it (deployment.py, zones.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from kedge.call import Call
from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints.deployment import UID
from kedge.endpoints.zones import Zones, az_name
from kedge.errors import ValidationFailed
from kedge.store.records import Scope
from kedge.store.store import Author, Store, Transaction

PATH = "/kedge/zones"
KIND = "zone-off"
SCOPE = Scope("", "")
"""A zone belongs to the machine, not to an account."""
ON, OFF = "on", "off"
SWITCH_ACTION, SHOW_ACTION = "kedge:SwitchZone", "kedge:DescribeZones"

Answer = dict[str, Any]


def zones_of(store: Store | Transaction, setting: str) -> Zones:
    """setting: of KEDGE_ZONES."""
    return Zones.of(setting, [each.name for each in store.list(SCOPE, KIND).items])


def switch(call: Call, body: bytes) -> Answer:
    """body: JSON, {"Zone": "b", "State": "off" or "on"}. Needs kedge:SwitchZone.

    Raises ValidationFailed for a zone that is not there, and for the last one that is on.
    """
    call.require(call, SWITCH_ACTION, "*", {})
    zone, state = _asked(body)
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        zones = zones_of(tx, call.settings.zones)
        if zone not in zones.names:
            raise ValidationFailed(
                f'This machine has no zone "{zone}"; its zones are {", ".join(zones.names)} (KEDGE_ZONES).'
            )
        known = tx.get(SCOPE, KIND, zone)
        if state == OFF and zones.on == (zone,):
            raise ValidationFailed(f"Zone {zone} is the only one that is on: nothing would serve any more.")
        if state == OFF and known is None:
            tx.insert(SCOPE, KIND, zone, {"Since": call.now.timestamp(), "By": call.caller.arn})
        elif state == ON and known is not None:
            tx.delete(known)
    return {"Zone": zone, "State": state}


def shown(call: Call, tasks: Iterable[TaskStatus]) -> Answer:
    """Every zone, whether it is on, and its instances of endpoints. Needs kedge:DescribeZones."""
    call.require(call, SHOW_ACTION, "*", {})
    zones = zones_of(call.store, call.settings.zones)
    counts = {name: [0, 0] for name in zones.names}
    for task in tasks:
        if UID in task.labels and (zone := zones.of_task(task)) in counts:
            counts[zone][0] += task.state is TaskState.READY
            counts[zone][1] += 1
    return {
        "Zones": [
            {
                "Zone": name,
                "AvailabilityZone": az_name(call.scope.region, name),
                "State": OFF if name in zones.off else ON,
                "ReadyInstanceCount": counts[name][0],
                "InstanceCount": counts[name][1],
            }
            for name in zones.names
        ]
    }


def _asked(body: bytes) -> tuple[str, str]:
    try:
        given = json.loads(body)
        zone, state = given["Zone"], given["State"]
    except (ValueError, TypeError, KeyError):
        raise ValidationFailed('The body has to be {"Zone": ZONE, "State": "off" or "on"}.') from None
    if not isinstance(zone, str) or state not in (ON, OFF):
        raise ValidationFailed(f'State is {json.dumps(state)}; it has to be "{ON}" or "{OFF}", and Zone a text.')
    return zone, state
