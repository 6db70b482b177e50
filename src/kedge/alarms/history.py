"""The lines of an alarm's history, as DescribeAlarmHistory shows them. PURE."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kedge.alarms.messages import Said
from kedge.alarms.records import HISTORY, TYPES, Alarm
from kedge.store.records import Change, Resource

if TYPE_CHECKING:
    from kedge.store.transaction import Transaction

KEPT = timedelta(days=14)
MAX_SUMMARY_CHARS, MAX_DATA_CHARS = 255, 4095


def configured(tx: Transaction, resource: Resource, operation: str) -> None:
    """operation: create, update or delete."""
    alarm = Alarm.of(resource.document)
    verb = {"create": "created", "update": "updated", "delete": "deleted"}[operation]
    data = {"version": "1.0", "type": operation.capitalize(), f"{verb}Alarm": dict(alarm.config)}
    if len(_json(data)) > MAX_DATA_CHARS:
        data[f"{verb}Alarm"] = {"AlarmName": resource.name}  # what does not fit; the store's own history has it
    _note(tx, resource, "ConfigurationUpdate", f'Alarm "{resource.name}" {verb}', data)


def transitioned(tx: Transaction, resource: Resource, before: Said) -> None:
    """resource: the alarm after its change."""
    after = Said.of(resource)
    data = {"version": "1.0", "oldState": before.history(), "newState": after.history()}
    if len(_json(data)) > MAX_DATA_CHARS:
        data = {"version": "1.0", "oldState": _without_data(before), "newState": _without_data(after)}
    _note(tx, resource, "StateUpdate", f"Alarm updated from {before.value} to {after.value}", data)


def acted(tx: Transaction, resource: Resource, target: str, problem: str = "") -> None:
    """An action was delivered, or could not be: `problem` says why."""
    how = "Failed to execute" if problem else "Successfully executed"
    data = {"actionState": "Failed" if problem else "Succeeded", "notificationResource": target}
    _note(tx, resource, "Action", f"{how} action {target}", {**data, **({"error": problem} if problem else {})})


def described(change: Change) -> dict[str, Any]:
    """An AlarmHistoryItem."""
    line = change.after or {}
    return {
        "AlarmName": change.name,
        "AlarmType": line["alarm_type"],
        "Timestamp": change.at,
        "HistoryItemType": line["item_type"],
        "HistorySummary": line["summary"],
        "HistoryData": line["data"],
    }


def _note(tx: Transaction, resource: Resource, item_type: str, summary: str, data: Mapping[str, Any]) -> None:
    line = {
        "alarm_type": TYPES[resource.kind],
        "item_type": item_type,
        "summary": summary[:MAX_SUMMARY_CHARS],
        "data": _json(data),
    }
    tx.note(resource.scope, HISTORY, resource.name, line)


def _without_data(said: Said) -> dict[str, Any]:
    return replace(said, reason_data="").history()


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)
