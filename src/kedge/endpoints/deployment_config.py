"""Which DeploymentConfig this release can follow. PURE.

CreateEndpoint stores one for later. An update that is to follow one that is not there is refused, since traffic that
was to be shifted step by step would otherwise be shifted at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.errors import ValidationFailed


def check_shape(policy: Mapping[str, Any] | None) -> None:
    """Raises ValidationFailed for a policy that contradicts itself."""
    if policy and "BlueGreenUpdatePolicy" in policy and "RollingUpdatePolicy" in policy:
        raise ValidationFailed(
            "DeploymentConfig gives both BlueGreenUpdatePolicy and RollingUpdatePolicy; one of the two is allowed."
        )


def check(policy: Mapping[str, Any] | None) -> None:
    """Raises ValidationFailed for a policy that an update cannot follow."""
    check_shape(policy)
    if policy and (missing := _missing(policy)):
        raise ValidationFailed(
            f"DeploymentConfig asks for {missing}, which this release of Kedge does not do. It updates all at once: "
            "BlueGreenUpdatePolicy with TrafficRoutingConfiguration.Type ALL_AT_ONCE and TerminationWaitInSeconds 0, "
            "without alarms."
        )


def _missing(policy: Mapping[str, Any]) -> str:
    if "RollingUpdatePolicy" in policy:
        return "a rolling update (RollingUpdatePolicy)"
    if policy.get("AutoRollbackConfiguration", {}).get("Alarms"):
        return "roll-back on alarms (AutoRollbackConfiguration)"
    blue_green = policy.get("BlueGreenUpdatePolicy", {})
    # WaitIntervalInSeconds is the time between steps; all at once there is one step, and so nothing to wait for.
    traffic = blue_green.get("TrafficRoutingConfiguration", {}).get("Type", "ALL_AT_ONCE")
    if traffic != "ALL_AT_ONCE":
        return f"traffic routing of type {traffic}"
    if blue_green.get("TerminationWaitInSeconds", 0):
        return "a wait before the old fleet is stopped (TerminationWaitInSeconds)"
    return ""
