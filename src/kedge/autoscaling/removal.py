"""A scalable target goes, with all that belongs to it."""

from __future__ import annotations

from kedge.autoscaling import owned_alarms
from kedge.autoscaling.records import POLICY, SCHEDULED, Policy, Target, target_arn
from kedge.store.records import Resource
from kedge.store.transaction import Transaction
from kedge.tags.attach import detach


def deregister(tx: Transaction, target: Resource) -> None:
    """The activities stay, as AWS keeps them."""
    for policy in tx.list(target.scope, POLICY, name_prefix=f"{target.name}|").items:
        remove_policy(tx, policy)
    for action in tx.list(target.scope, SCHEDULED, name_prefix=f"{target.name}|").items:
        tx.delete(action)
    tx.delete(target)
    detach(tx, target.scope, target_arn(target.scope, Target.of(target.document).id))


def remove_policy(tx: Transaction, policy: Resource) -> None:
    owned_alarms.remove(tx, policy.scope, Policy.of(policy.document))
    tx.delete(policy)
