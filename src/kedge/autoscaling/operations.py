"""Application Auto Scaling: everything that can be asked of it."""

from __future__ import annotations

from kedge.autoscaling import (
    activity_operations,
    policy_operations,
    schedule_operations,
    tag_operations,
    target_operations,
)
from kedge.autoscaling.requests import Handler

OPERATIONS: dict[str, Handler] = {
    **target_operations.OPERATIONS,
    **policy_operations.OPERATIONS,
    **schedule_operations.OPERATIONS,
    **activity_operations.OPERATIONS,
    **tag_operations.OPERATIONS,
}
