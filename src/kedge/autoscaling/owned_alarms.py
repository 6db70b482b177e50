"""The alarms that a target tracking policy has, and those of others that ask for a policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kedge.alarms import validation
from kedge.alarms.records import METRIC, Alarm, arn_of, find
from kedge.alarms.requests import put, tell
from kedge.alarms.watched import Watched
from kedge.autoscaling import tracking
from kedge.autoscaling.records import Policy, policy_arn
from kedge.autoscaling.resource import parse
from kedge.call import Call
from kedge.errors import ServiceError, ValidationFailed
from kedge.metrics.math import MathRefused
from kedge.store.records import Resource, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction
from kedge.tags.attach import detach


def names(resource_id: str, ids: Iterable[str]) -> dict[str, str]:
    """As AWS calls them. ids: one for each."""
    kinds = zip((tracking.HIGH, tracking.LOW), ids, strict=True)
    return {kind: f"TargetTracking-{resource_id}-{tracking.SUFFIX[kind]}-{id_}" for kind, id_ in kinds}


def write(call: Call, tx: Transaction, policy: Policy) -> None:
    """Make them, or change them to what the policy is now. Raises ValidationFailed for what cannot be watched."""
    scalable = parse(policy.resource_id, policy.dimension)
    wanted = tracking.alarms(policy.config, scalable, policy_arn(call.scope, policy), policy.alarms)
    for request in wanted.values():
        try:
            after = put(call, tx, METRIC, validation.metric_alarm(request), [])
            Watched.of(after).check()
        except (ServiceError, MathRefused) as error:
            raise ValidationFailed(f"CustomizedMetricSpecification cannot be watched: {error}") from error


def remove(tx: Transaction, scope: Scope, policy: Policy) -> None:
    for name in policy.alarms.values():
        found = find(tx, scope, name)
        if found is not None:
            tell(tx, found, "delete")
            tx.delete(found)
            detach(tx, scope, arn_of(scope, name))


def shown(store: Store, resource: Resource) -> list[dict[str, str]]:
    """Every alarm that asks for the policy, as descriptions list them."""
    policy = Policy.of(resource.document)
    scope = resource.scope
    if policy.alarms:
        found = list(policy.alarms.values())
    else:
        found = [each.name for each in asking(store, scope, policy_arn(scope, policy))]
    return [{"AlarmName": name, "AlarmARN": arn_of(scope, name)} for name in found]


def asking(store: Store, scope: Scope, target_arn: str) -> Iterator[Resource]:
    for each in store.list(scope, METRIC).items:
        config = Alarm.of(each.document).config
        if any(target_arn in config.get(member, ()) for member in ("AlarmActions", "OKActions")):
            yield each
