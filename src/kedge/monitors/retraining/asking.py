"""The alert of a monitor, or somebody, asks for a retraining: its record is made, and the controller decides on it."""

from __future__ import annotations

import uuid
from datetime import datetime

from kedge.monitors.describing import arn_of
from kedge.monitors.kinds import MODEL_QUALITY
from kedge.monitors.monitor import Monitor
from kedge.monitors.records import Execution, Schedule, Seen, Status
from kedge.monitors.retraining.announcing import announce
from kedge.monitors.retraining.records import KIND, Phase, Run
from kedge.monitors.retraining.settings import TAG
from kedge.store.records import Scope
from kedge.store.transaction import Transaction
from kedge.tags.attach import read


def unfit(monitor: Monitor) -> str:
    """Why a monitor cannot have its model trained again; "" where it can."""
    if monitor.kind != MODEL_QUALITY.type:
        return (
            f"The tag {TAG} is given for a {monitor.kind} monitor; a {MODEL_QUALITY.type} monitor has to have it: "
            "a model is trained on the labels which that one knows."
        )
    if not monitor.endpoint:
        return f"The tag {TAG} is given for a monitor of batch transforms; there is no endpoint to deploy a model to."
    return ""


def on_alert(
    tx: Transaction, scope: Scope, schedule: Schedule, execution: Execution, status: Status, now: datetime
) -> None:
    """At the end of an execution. schedule: as it is after it."""
    if schedule.alert_status != "InAlert" or status is not Status.VIOLATED:
        return
    if any(each["Key"] == TAG for each in read(tx, scope, arn_of(scope, schedule.name))):
        _insert(tx, scope, schedule, execution.start_s, execution.end_s, execution.name, now)


def by_hand(
    tx: Transaction, scope: Scope, schedule: Schedule, seen: Seen, execution: str, who: str, now: datetime
) -> Run:
    return _insert(tx, scope, schedule, seen.start_s, seen.end_s, execution, now, who)


def _insert(
    tx: Transaction, scope: Scope, schedule: Schedule, start_s: float, end_s: float, execution: str, now: datetime,
    who: str = "",
) -> Run:  # fmt: skip
    run = Run(
        uid=uuid.uuid4().hex, schedule=schedule.name, schedule_uid=schedule.uid, asked_at_s=now.timestamp(),
        asked_by=who, start_s=start_s, end_s=end_s, execution=execution, endpoint=schedule.endpoint,
    )  # fmt: skip
    run = run.at(Phase.DECIDING, now.timestamp())
    announce(tx, tx.insert(scope, KIND, run.name, run.document(), Phase.DECIDING))
    return run
