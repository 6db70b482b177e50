"""What each policy of a target wishes for, by what its alarms and the routers say now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kedge.alarms.records import METRIC, Alarm
from kedge.alarms.watched import Read, Watched
from kedge.autoscaling import steps, tracking, windows
from kedge.autoscaling.known import KnownTarget
from kedge.autoscaling.policy import Limits, Wish
from kedge.autoscaling.records import STEP, Policy
from kedge.metrics.math import MathRefused
from kedge.serving.meter import VariantPlace
from kedge.store.records import Resource, Scope
from kedge.store.store import Store

SETTLE_S = 1.2
"""How long after the end of a period its last values may still arrive."""
ALARM = "ALARM"

Samples = Callable[[VariantPlace], list[float | None]]


class Wishes:
    def __init__(self, store: Store, read: Read, samples: Samples) -> None:
        """read: of the metric store. samples: of the fast path."""
        self._store, self._read, self._samples = store, read, samples

    def fast(self, known: KnownTarget, current: int, now_s: float) -> list[Wish]:
        """Of the policies that follow the last seconds."""
        followed = (each for each in known.policies if each.is_fast)
        since_out_s = now_s - known.target.out_at_s
        found = (self._fast(each, known.place, current, since_out_s) for each in followed)
        return [wish for wish in found if wish is not None]

    def by_alarms(self, known: KnownTarget, current: int, now_s: float) -> list[Wish]:
        """Of the others. Blocks."""
        found: list[Wish] = []
        base = Limits.of(known.target).counted_from(current, now_s)
        for policy in known.policies:
            if policy.type == STEP:
                found += self._steps(policy, known.resource.scope, current, base, now_s)
            elif not policy.is_fast:
                wish = self._tracked(policy, known.resource.scope, current, base, now_s)
                if wish is not None:
                    found.append(wish)
        return found

    def _fast(self, policy: Policy, place: VariantPlace, current: int, since_out_s: float) -> Wish | None:
        """None where it has no say: its wish for less is not wanted."""
        target = float(policy.config["TargetValue"])
        found = windows.wanted(self._samples(place), current, target, since_out_s)
        if found is None:
            return None if policy.config.get("DisableScaleIn") else _wish(policy, current)
        if found.capacity < current and policy.config.get("DisableScaleIn"):
            return None
        cause = (
            f"policy {policy.name} follows concurrent requests: {found.requests:.1f} on average over the last "
            f"{found.over_s} seconds, with a target value of {target:g} per {'copy' if place.component else 'instance'}"
        )
        return _wish(policy, found.capacity, cause)

    def _tracked(self, policy: Policy, scope: Scope, current: int, base: int, now_s: float) -> Wish | None:
        high, low = (self._alarm(scope, policy.alarms.get(kind, "")) for kind in (tracking.HIGH, tracking.LOW))
        if high is not None and high.status == ALARM and high.name in policy.asked:
            values = self._values(high, now_s)
            if values and (wanted := tracking.out(policy.config, base, values[-1])) > current:
                return _wish(policy, wanted, triggered(high, policy))
            return _wish(policy, current)
        if policy.config.get("DisableScaleIn"):
            return None
        if low is not None and low.status == ALARM and (values := self._values(low, now_s)):
            return _wish(policy, min(current, tracking.into(policy.config, current, values)), triggered(low, policy))
        return _wish(policy, current)

    def _steps(self, policy: Policy, scope: Scope, current: int, base: int, now_s: float) -> Iterator[Wish]:
        for name in policy.asked:
            alarm = self._alarm(scope, name)
            if alarm is None:
                continue
            config = Alarm.of(alarm.document).config
            values = self._values(alarm, now_s)
            if not values or "Threshold" not in config:
                continue
            value = steps.aggregated(policy.config.get("MetricAggregationType", "Average"), values)
            below = config["ComparisonOperator"].startswith("LessThan")
            excess = value - config["Threshold"]
            wanted = steps.adjusted(policy.config, base, excess, below=below)
            if wanted is not None and base < current and wanted < current:
                # What the cooldown counts already; from the present capacity it may be a wish for less.
                now = steps.adjusted(policy.config, current, excess, below=below)
                wanted = current if now is None or now >= current else now
            if wanted is not None:
                yield _wish(policy, wanted, triggered(alarm, policy))

    def _alarm(self, scope: Scope, name: str) -> Resource | None:
        return self._store.get(scope, METRIC, name) if name else None

    def _values(self, alarm: Resource, now_s: float) -> list[float]:
        """Of the periods that it decides by, the newest that have data; oldest first."""
        watched = Watched.of(alarm)
        try:
            points = watched.datapoints(self._read, watched.end_s(now_s, SETTLE_S))
        except MathRefused:
            return []
        values = [point.value for point in points if point.value is not None]
        return values[-watched.watch.evaluation_periods :]


def triggered(alarm: Resource, policy: Policy) -> str:
    return f"monitor alarm {alarm.name} in state {alarm.status} triggered policy {policy.name}"


def triggered_by(policies: Iterable[Policy]) -> str:
    """The alarms that have asked and were not heard yet, in words; "" for none."""
    asked = [f"monitor alarm {name} triggered policy {each.name}" for each in policies for name in each.asked]
    return ", ".join(asked)


def _wish(policy: Policy, capacity: int, cause: str = "") -> Wish:
    return Wish(policy.name, capacity, cause, policy.out_cooldown_s, policy.in_cooldown_s)
