"""Whether a DeploymentConfig can be followed: the limits that the service model does not hold. PURE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from kedge.endpoints.records import Fleet
from kedge.endpoints.shifting import CANARY, CAPACITY_PERCENT, LINEAR, Policy, Size
from kedge.errors import ValidationFailed

ALARM = "ALARM"
_SIZES = {
    # type of traffic routing: the member with its size, and from how many to how many percent
    CANARY: ("CanarySize", 0, 50),
    LINEAR: ("LinearStepSize", 10, 50),
}
_BATCH, _BATCH_BACK = (5, 50), (0, 100)


def check(config: Mapping[str, Any] | None, live: Fleet | None, fleet: Fleet) -> None:
    """Raises ValidationFailed for a config that contradicts itself, or that does not fit the new fleet's variants."""
    if not config:
        return
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    if blue_green is not None and rolling is not None:
        raise ValidationFailed(
            "DeploymentConfig gives both BlueGreenUpdatePolicy and RollingUpdatePolicy; one of the two is allowed."
        )
    for alarm in config.get("AutoRollbackConfiguration", {}).get("Alarms", ()):
        if "AlarmName" not in alarm:
            raise ValidationFailed("AutoRollbackConfiguration.Alarms has an entry without an AlarmName.")
    if blue_green is not None:
        _check_routing(blue_green["TrafficRoutingConfiguration"], fleet)
    if rolling is not None:
        if serverless := [each.name for each in fleet.production if each.serverless]:
            raise ValidationFailed(
                f"RollingUpdatePolicy replaces instances in batches, and variant {serverless[0]} is serverless; "
                "BlueGreenUpdatePolicy moves its traffic."
            )
        _check_size("RollingUpdatePolicy.MaximumBatchSize", rolling["MaximumBatchSize"], fleet, *_BATCH)
        if "RollbackMaximumBatchSize" in rolling:
            back = rolling["RollbackMaximumBatchSize"]
            _check_size("RollingUpdatePolicy.RollbackMaximumBatchSize", back, live or fleet, *_BATCH_BACK)
    _check_waits(Policy.of(config), live, fleet)


def check_alarms(config: Mapping[str, Any] | None, state: Callable[[str], str | None]) -> None:
    """Raises ValidationFailed where an alarm could not guard a deployment that begins now.

    state: of the alarm of this name; None when there is none.
    """
    if not config:
        return
    for name in Policy.of(config).alarms:
        found = state(name)
        if found is None:
            raise ValidationFailed(
                f'AutoRollbackConfiguration names the alarm "{name}", which is not there; a metric or composite alarm '
                "of this account and region is needed."
            )
        if found == ALARM:
            raise ValidationFailed(
                f'The alarm "{name}" of AutoRollbackConfiguration is in state ALARM already, so the deployment would '
                "be rolled back at once; it has to be in state OK or INSUFFICIENT_DATA."
            )


def _check_routing(routing: Mapping[str, Any], fleet: Fleet) -> None:
    kind = routing["Type"]
    for other, (member, least, most) in _SIZES.items():
        if other != kind and member in routing:
            raise ValidationFailed(
                f"TrafficRoutingConfiguration gives {member} with the Type {kind}; it belongs to the Type {other}."
            )
        if other == kind and member not in routing:
            raise ValidationFailed(f"TrafficRoutingConfiguration of the Type {kind} needs {member}.")
        if other == kind:
            _check_size(f"TrafficRoutingConfiguration.{member}", routing[member], fleet, least, most)


def _check_size(where: str, given: Mapping[str, Any], fleet: Fleet, least: int, most: int) -> None:
    """least, most: percent of a variant's instances."""
    size = Size.of(given)
    allowed = f"{least} to {most} %" if least else f"{most} % at most"
    if size.type == CAPACITY_PERCENT:
        if not least <= size.value <= most:
            raise ValidationFailed(f"{where} is {size.value} % of the instances; it has to be {allowed}.")
        return
    for variant in fleet.production:
        count = variant.desired_count
        percent = Fraction(100 * size.value, max(1, count))
        if not least <= percent <= most:
            raise ValidationFailed(
                f"{where} is {size.value} instance(s), {float(percent):g} % of the {count} of variant {variant.name}; "
                f"it has to be {allowed}."
            )


def _check_waits(policy: Policy, live: Fleet | None, fleet: Fleet) -> None:
    waits_s = policy.waits_s(policy.steps((fleet,) if live is None else (live, fleet)))
    if policy.timeout_s is not None and waits_s >= policy.timeout_s:
        raise ValidationFailed(
            f"MaximumExecutionTimeoutInSeconds is {policy.timeout_s:g}, but the waits of the deployment alone take "
            f"{waits_s:g} s; it has to be more than that."
        )
