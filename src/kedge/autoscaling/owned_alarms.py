"""The alarms that a target tracking policy has, and those of others that ask for a policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kedge.alarms import validation
from kedge.alarms.records import ACTIONS, METRIC, Alarm, arn_of, find
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


def shown(store: Store, policies: Sequence[Resource]) -> list[list[dict[str, str]]]:
    """Of each policy the alarms that ask for it, as descriptions list them: its own, or every one that names it."""
    naming: dict[tuple[Scope, str], list[str]] = {}
    scopes = {each.scope for each in policies if not Policy.of(each.document).alarms}
    for scope in scopes:
        for alarm in store.list(scope, METRIC).items:
            config = Alarm.of(alarm.document).config
            targets = {target for member in ACTIONS.values() for target in config.get(member, ())}
            for target in targets:
                naming.setdefault((scope, target), []).append(alarm.name)
    found = []
    for each in policies:
        policy = Policy.of(each.document)
        names = list(policy.alarms.values()) or naming.get((each.scope, policy_arn(each.scope, policy)), [])
        found.append([{"AlarmName": name, "AlarmARN": arn_of(each.scope, name)} for name in names])
    return found
