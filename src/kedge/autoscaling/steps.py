"""Step scaling: how far a metric is beyond its alarm's threshold says by how much the capacity changes. PURE.

Source: "Step scaling policies" in the Application Auto Scaling user guide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from kedge.errors import ValidationFailed

EXACT, CHANGE, PERCENT = "ExactCapacity", "ChangeInCapacity", "PercentChangeInCapacity"
MAX_STEPS = 20


def check(config: Mapping[str, Any]) -> None:
    """config: a StepScalingPolicyConfiguration. Raises ValidationFailed."""
    steps = config.get("StepAdjustments", [])
    if "AdjustmentType" not in config:
        raise ValidationFailed(f"AdjustmentType has to be given: {CHANGE}, {EXACT} or {PERCENT}.")
    if not 1 <= len(steps) <= MAX_STEPS:
        raise ValidationFailed(f"StepAdjustments has {len(steps)} steps; it has to have 1 to {MAX_STEPS}.")
    if "MinAdjustmentMagnitude" in config:
        if config["AdjustmentType"] != PERCENT:
            raise ValidationFailed(f"MinAdjustmentMagnitude can be given with AdjustmentType {PERCENT} alone.")
        if config["MinAdjustmentMagnitude"] < 0:
            raise ValidationFailed(f"MinAdjustmentMagnitude is {config['MinAdjustmentMagnitude']}; it must not be < 0.")
    if config.get("Cooldown", 0) < 0:
        raise ValidationFailed(f"Cooldown is {config['Cooldown']} seconds; it must not be below 0.")
    if config["AdjustmentType"] == EXACT and any(step["ScalingAdjustment"] < 0 for step in steps):
        raise ValidationFailed(f"ScalingAdjustment must not be below 0 with AdjustmentType {EXACT}.")
    _check_intervals(steps)


def _check_intervals(steps: Sequence[Mapping[str, Any]]) -> None:
    found = sorted(_interval(step) for step in steps)
    for lower, upper in found:
        if lower >= upper:
            raise ValidationFailed(
                f"MetricIntervalLowerBound ({lower:g}) of a step has to be below its MetricIntervalUpperBound "
                f"({upper:g})."
            )
    for (_, upper), (lower, _) in pairwise(found):
        if upper > lower:
            raise ValidationFailed(f"StepAdjustments overlap: one ends at {upper:g}, the next begins at {lower:g}.")
        if upper < lower:
            raise ValidationFailed(f"StepAdjustments leave a gap from {upper:g} to {lower:g}.")


def _interval(step: Mapping[str, Any]) -> tuple[float, float]:
    lower = step.get("MetricIntervalLowerBound")
    upper = step.get("MetricIntervalUpperBound")
    return -math.inf if lower is None else float(lower), math.inf if upper is None else float(upper)


def adjusted(config: Mapping[str, Any], capacity: int, excess: float, *, below: bool) -> int | None:
    """The capacity that the policy wants, at least 0; None where no step holds the excess.

    excess: the metric minus the threshold of the alarm. below: the alarm watches for values below its threshold; then
    a step holds its upper bound, and not its lower one.
    """
    for step in config["StepAdjustments"]:
        lower, upper = _interval(step)
        holds = lower < excess <= upper if below else lower <= excess < upper
        if holds:
            return max(0, capacity + _change(config, capacity, int(step["ScalingAdjustment"])))
    return None


def _change(config: Mapping[str, Any], capacity: int, adjustment: int) -> int:
    match config["AdjustmentType"]:
        case "ExactCapacity":
            return adjustment - capacity
        case "PercentChangeInCapacity":
            least = int(config.get("MinAdjustmentMagnitude", 0))
            size = abs(capacity * adjustment) / 100
            # Between 0 and 1 it is 1; above, the fraction is dropped.
            whole = max(1 if size > 0 else 0, math.floor(size + 1e-9), least if adjustment else 0)
            return whole if adjustment > 0 else -whole
        case _:
            return adjustment


def aggregated(kind: str, values: Sequence[float]) -> float:
    """kind: MetricAggregationType. values: of the periods that the alarm decides by, at least one."""
    match kind:
        case "Maximum":
            return max(values)
        case "Minimum":
            return min(values)
        case _:
            return sum(values) / len(values)
