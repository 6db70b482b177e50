"""How traffic moves from one fleet to the next, for each kind of deployment. PURE.

A deployment is a row of steps. A step gives the pending fleet more of the traffic; then it bakes, watched by alarms.
The blue/green kinds differ in their steps alone: all at once takes one, a canary two, a linear one as many as it needs,
and the live fleet stays whole until the last step has baked. A rolling one starts a batch of the new fleet before each
step and takes a batch of the old one away after it.

The functions that return an Endpoint are what the record says once a step was taken. Nothing else is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from kedge.endpoints.records import Endpoint, Fleet, Shift, Variant, shortened

ALL_AT_ONCE, CANARY, LINEAR, ROLLING = "ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING"
INSTANCE_COUNT, CAPACITY_PERCENT = "INSTANCE_COUNT", "CAPACITY_PERCENT"
LONGEST_S = 28_800
"""How long a deployment that names no MaximumExecutionTimeoutInSeconds may take, its waits not counted."""


@dataclass(frozen=True)
class Size:
    """A CapacitySize."""

    type: str
    value: int

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Size:
        return cls(given["Type"], given["Value"])

    def share(self, instances: int) -> Fraction:
        """Of so many instances; at most 1."""
        if self.type == CAPACITY_PERCENT:
            return min(Fraction(1), Fraction(self.value, 100))
        return min(Fraction(1), Fraction(self.value, max(1, instances)))

    def count(self, instances: int) -> int:
        """In instances, at least 1."""
        return max(1, math.ceil(instances * self.share(instances)))


@dataclass(frozen=True)
class Policy:
    """A DeploymentConfig, read."""

    kind: str
    size: Size
    """What a step or a batch is."""
    wait_s: float
    """How long every step bakes but the last one of a blue/green deployment."""
    last_wait_s: float
    timeout_s: float | None
    size_back: Size
    alarms: tuple[str, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Policy:
        """config: of a shape that the service model allows, and with the size that its type needs."""
        alarms = config.get("AutoRollbackConfiguration", {}).get("Alarms", ())
        names = tuple(dict.fromkeys(each["AlarmName"] for each in alarms))
        whole = Size(CAPACITY_PERCENT, 100)
        if rolling := config.get("RollingUpdatePolicy"):
            wait_s, size, back = rolling["WaitIntervalInSeconds"], rolling["MaximumBatchSize"], whole
            if "RollbackMaximumBatchSize" in rolling:
                back = Size.of(rolling["RollbackMaximumBatchSize"])
            timeout_s = rolling.get("MaximumExecutionTimeoutInSeconds")
            return cls(ROLLING, Size.of(size), wait_s, wait_s, timeout_s, back, names)
        blue_green = config.get("BlueGreenUpdatePolicy", {})
        routing = blue_green.get("TrafficRoutingConfiguration", {})
        kind = routing.get("Type", ALL_AT_ONCE)
        step = {CANARY: "CanarySize", LINEAR: "LinearStepSize"}.get(kind)
        return cls(
            kind,
            whole if step is None else Size.of(routing[step]),
            routing.get("WaitIntervalInSeconds", 0),
            blue_green.get("TerminationWaitInSeconds", 0),
            blue_green.get("MaximumExecutionTimeoutInSeconds"),
            whole,
            names,
        )

    def steps(self, fleets: tuple[Fleet, ...]) -> int:
        """How many it takes with these fleets, of which the last is the new one."""
        if self.kind == ALL_AT_ONCE:
            return 1
        if self.kind == CANARY:
            return 2
        counted = fleets if self.kind == ROLLING else fleets[-1:]
        counts = [max(1, v.desired_count) for fleet in counted for v in fleet.production]
        if self.kind == LINEAR:
            return max(math.ceil(1 / self.size.share(count)) for count in counts)
        return max(math.ceil(count / self.size.count(count)) for count in counts)

    def waits_s(self, steps: int) -> float:
        """What all steps bake."""
        return self.wait_s * (steps - 1) + self.last_wait_s

    def share(self, step: int, steps: int, instances: int) -> Fraction:
        """Of the traffic after that step of a blue/green deployment, for a variant of so many instances."""
        if step >= steps:
            return Fraction(1)
        return min(Fraction(1), step * self.size.share(instances))

    def most(self, before: int, after: int, steps: int) -> int:
        """The most instances of both fleets that a rolling deployment has at a time."""
        return max(
            self.arrived(after, step, steps) + self.remaining(before, step - 1, steps) for step in range(1, steps + 1)
        )

    def arrived(self, instances: int, step: int, steps: int) -> int:
        """How many of the new ones there are for a step of a rolling deployment."""
        return instances if step >= steps else min(instances, step * self.size.count(instances))

    def remaining(self, instances: int, step: int, steps: int) -> int:
        """How many of the old ones are left after it: at least one until the end."""
        return 0 if step >= steps else max(1, instances - step * self.size.count(instances))


def policy_of(endpoint: Endpoint) -> Policy:
    assert endpoint.shift is not None
    return Policy.of(endpoint.shift.policy)


def steps_of(endpoint: Endpoint) -> int:
    return policy_of(endpoint).steps(_fleets(endpoint))


def bake_s(endpoint: Endpoint) -> float:
    """How long the step that was taken last bakes."""
    assert endpoint.shift is not None
    if endpoint.shift.hurried:
        return 0.0
    policy = policy_of(endpoint)
    return policy.last_wait_s if len(endpoint.shift.steps) >= steps_of(endpoint) else policy.wait_s


def ends_at_s(endpoint: Endpoint) -> float:
    """When it has taken too long, in seconds since 1970."""
    assert endpoint.shift is not None
    policy = policy_of(endpoint)
    timeout_s = LONGEST_S + policy.waits_s(steps_of(endpoint)) if policy.timeout_s is None else policy.timeout_s
    return endpoint.shift.began_at_s + timeout_s


def due_at_s(endpoint: Endpoint) -> float | None:
    """When something is to be done of which no event tells; None for nothing."""
    shift = endpoint.shift
    if shift is None or shift.accepted or shift.back:
        return None
    end_s = ends_at_s(endpoint)
    return end_s if shift.baking_since_s is None else min(end_s, shift.baking_since_s + bake_s(endpoint))


def begun(endpoint: Endpoint, policy: Mapping[str, Any], now_s: float) -> Endpoint:
    """endpoint: with the pending fleet to which traffic is to move."""
    endpoint = replace(endpoint, shift=Shift(policy, now_s))
    return _with_batch(endpoint, 1) if policy_of(endpoint).kind == ROLLING else endpoint


def hurried(endpoint: Endpoint) -> Endpoint:
    """What is left of the deployment is not baked. Its steps are taken all the same, one after another."""
    assert endpoint.shift is not None
    return replace(endpoint, shift=replace(endpoint.shift, hurried=True))


def recalled(endpoint: Endpoint, reason: str, now_s: float) -> Endpoint:
    """It is to go back. An update that was given no DeploymentConfig becomes a deployment for it."""
    shift = endpoint.shift or Shift({}, now_s)
    return replace(endpoint, shift=replace(shift, recalled=reason))


def trying(endpoint: Endpoint, now_s: float) -> Endpoint:
    assert endpoint.shift is not None
    return replace(endpoint, shift=replace(endpoint.shift, trying_since_s=now_s))


def tried(endpoint: Endpoint, report: Mapping[str, Any]) -> Endpoint:
    assert endpoint.shift is not None
    return replace(endpoint, shift=replace(endpoint.shift, trial=report))


def stepped(endpoint: Endpoint, now_s: float) -> Endpoint:
    """The pending fleet gets the next part of the traffic."""
    shift, pending = endpoint.shift, endpoint.pending
    assert shift is not None
    assert pending is not None
    policy, steps, step = policy_of(endpoint), steps_of(endpoint), len(shift.steps) + 1

    def activated(variant: Variant) -> Variant:
        count = variant.wanted_count
        if policy.kind != ROLLING:
            count = min(count, max(1, math.ceil(count * policy.share(step, steps, count))))
        return replace(variant, current_count=count, current_weight=variant.desired_weight)

    shift = replace(shift, steps=(*shift.steps, now_s), baking_since_s=None)
    return replace(endpoint, pending=pending.each(activated), shift=shift)


def baking(endpoint: Endpoint, now_s: float) -> Endpoint:
    assert endpoint.shift is not None
    return replace(endpoint, shift=replace(endpoint.shift, baking_since_s=now_s))


def retired(endpoint: Endpoint, now_s: float) -> Endpoint:
    """What has baked is kept: a batch of the live fleet goes, after the last step all of it."""
    shift, live = endpoint.shift, endpoint.live
    assert shift is not None
    assert live is not None
    policy, steps, step = policy_of(endpoint), steps_of(endpoint), len(shift.steps)

    def reduced(variant: Variant) -> Variant:
        left = min(variant.current_count, policy.remaining(variant.desired_count, step, steps))
        return replace(variant, current_count=left, limit_count=left)

    shift = replace(shift, retired=(*shift.retired, now_s), accepted=step >= steps)
    changed = replace(endpoint, live=live.each(reduced), shift=shift)
    if not shift.accepted:
        return _with_batch(changed, step + 1)
    beside = endpoint.beside and endpoint.beside.each(lambda v: replace(v, current_count=0, limit_count=0))
    return replace(changed, beside=beside)


def turned_back(endpoint: Endpoint, reason: str) -> Endpoint:
    """The live fleet gets all of the traffic; where it has lost instances, they are brought back first."""
    shift, pending = endpoint.shift, endpoint.pending
    if shift is None or pending is None or not shift.retired:
        return endpoint.rolled_back(reason)
    changed = replace(
        endpoint,
        shift=replace(shift, back=shortened(reason), baking_since_s=None),
        pending=pending.each(lambda v: replace(v, limit_count=v.current_count)),
    )
    return _with_batch_back(changed)


def stepped_back(endpoint: Endpoint) -> Endpoint:
    """A batch of the live fleet is there again, and as much of the pending one goes."""
    shift, live, pending = endpoint.shift, endpoint.live, endpoint.pending
    assert shift is not None
    assert live is not None
    assert pending is not None
    size = policy_of(endpoint).size_back

    def reduced(variant: Variant) -> Variant:
        left = max(0, variant.current_count - size.count(variant.desired_count))
        return replace(variant, current_count=left, limit_count=left)

    live = live.each(lambda v: replace(v, current_count=v.wanted_count))
    changed = replace(endpoint, live=live, pending=pending.each(reduced))
    if all(v.current_count >= v.desired_count for v in live.variants):
        return changed.rolled_back(shift.back)
    return _with_batch_back(changed)


def stuck(endpoint: Endpoint, reason: str) -> Endpoint:
    """What serves goes on serving, of both fleets, as the roll-back that failed left it."""
    live, pending = endpoint.live, endpoint.pending
    assert live is not None

    def left(variant: Variant) -> Variant:
        return replace(variant, limit_count=variant.current_count)

    return replace(
        endpoint,
        live=replace(live.each(left), problem=""),
        pending=None,
        beside=endpoint.beside if pending is None else pending.each(left),
        shift=None,
        failure_reason=shortened(reason),
    )


def _fleets(endpoint: Endpoint) -> tuple[Fleet, ...]:
    return tuple(fleet for fleet in (endpoint.live, endpoint.pending) if fleet is not None)


def _with_batch(endpoint: Endpoint, step: int) -> Endpoint:
    """With the instances of the pending fleet that a step of a rolling deployment needs."""
    policy, steps = policy_of(endpoint), steps_of(endpoint)
    assert endpoint.pending is not None
    pending = endpoint.pending.each(lambda v: replace(v, limit_count=policy.arrived(v.desired_count, step, steps)))
    return replace(endpoint, pending=pending)


def _with_batch_back(endpoint: Endpoint) -> Endpoint:
    size = policy_of(endpoint).size_back
    assert endpoint.live is not None
    live = endpoint.live.each(
        lambda v: replace(v, limit_count=min(v.desired_count, v.current_count + size.count(v.desired_count)))
    )
    return replace(endpoint, live=live)
