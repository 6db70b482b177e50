"""STS and IAM: the table of operations, and the role that is there from the start."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kedge.identity import (
    account_operations,
    changes,
    holder_operations,
    policy_operations,
    role_operations,
    session_operations,
    user_operations,
)
from kedge.identity.entities import ROLE, scope_of
from kedge.identity.keys import KeyRing
from kedge.identity.records import EXECUTION_ROLE
from kedge.store.records import Author

if TYPE_CHECKING:
    from kedge.call import Call
    from kedge.store.store import Store


def operations(keys: KeyRing) -> dict[str, Callable[[Call, dict[str, Any]], dict[str, Any]]]:
    """By "service.Operation". keys: seals temporary keys, and the secrets of users' keys."""
    return {
        **session_operations.operations(keys),
        **account_operations.operations(keys),
        **holder_operations.OPERATIONS,
        **policy_operations.OPERATIONS,
        **role_operations.OPERATIONS,
        **user_operations.operations(keys),
    }


def seed(store: Store, account: str, now: datetime) -> None:
    """Make the execution role unless it is there, so that the first CreateModel has a role to name.

    It trusts SageMaker, and everybody of its own account, who may so try out what a model will be allowed to do.
    """
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"},
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"},
        ],
    }
    document = role_operations.new_role(
        account,
        {
            "RoleName": EXECUTION_ROLE,
            "AssumeRolePolicyDocument": json.dumps(trust),
            "Description": "Execution role for models, made at the first start.",
        },
    )
    document["AttachedPolicies"] = [
        {"PolicyName": "AmazonSageMakerFullAccess", "PolicyArn": "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"}
    ]
    with changes.transaction(store, Author("kedge", "start", now)) as tx:
        if tx.get(scope_of(account), ROLE.kind, EXECUTION_ROLE) is None:
            tx.insert(scope_of(account), ROLE.kind, EXECUTION_ROLE, document)
