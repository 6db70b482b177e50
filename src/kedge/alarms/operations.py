"""Every operation on alarms.

Not here: mute rules and alarms on log queries, whose operations CloudWatch has under names of their own, and alarms on
PromQL queries, which PutMetricAlarm refuses.
"""

from __future__ import annotations

from kedge.alarms import (
    alarm_operations,
    composite_operations,
    history_operations,
    metric_operations,
    tag_operations,
)
from kedge.alarms.requests import Handler

OPERATIONS: dict[str, Handler] = {
    **metric_operations.OPERATIONS,
    **composite_operations.OPERATIONS,
    **alarm_operations.OPERATIONS,
    **history_operations.OPERATIONS,
    **tag_operations.OPERATIONS,
}
