"""An alarm asks for a policy: it is noted in the policy's record, and the controller hears it there."""

from __future__ import annotations

from dataclasses import replace

from kedge import arn
from kedge.alarms.records import name_in
from kedge.autoscaling.records import POLICY, Policy, policy_arn
from kedge.autoscaling.resource import FORMS, NAMESPACE, parse
from kedge.errors import ValidationFailed
from kedge.events.records import Action, Outcome
from kedge.store.records import Resource, Scope
from kedge.store.transaction import Transaction


def carry_out(tx: Transaction, action: Action) -> Outcome:
    """For actions whose target is the ARN of a scaling policy."""
    found = _find(tx, action)
    if found is None:
        return Outcome(False, f"There is no scaling policy {action.target_arn}.")
    policy = Policy.of(found.document)
    asked = {**policy.asked, name_in(action.source_arn): action.at.timestamp()}
    tx.observe(found, replace(policy, asked=asked).document())
    return Outcome(True)


def _find(tx: Transaction, action: Action) -> Resource | None:
    parsed = arn.parse(action.target_arn)
    scope = Scope(action.account, action.region)
    if (parsed.account, parsed.region) != (scope.account, scope.region):
        return None
    where, _, name = parsed.resource.partition(":policyName/")
    _, _, resource_id = where.partition(f":resource/{NAMESPACE}/")
    for dimension in FORMS:
        try:
            key = parse(resource_id, dimension).key
        except ValidationFailed:
            continue
        found = tx.get(scope, POLICY, f"{key}|{name}")
        if found is not None and policy_arn(scope, Policy.of(found.document)) == action.target_arn:
            return found
    return None
