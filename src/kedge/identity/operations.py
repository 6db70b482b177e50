"""STS and IAM: the table of operations, and the role that is there from the start."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kedge.identity import role_operations, roles, session_operations
from kedge.identity.keys import KeyRing
from kedge.identity.records import EXECUTION_ROLE
from kedge.store.records import Author, Scope

if TYPE_CHECKING:
    from kedge.call import Call
    from kedge.store.store import Store


def operations(keys: KeyRing) -> dict[str, Callable[[Call, dict[str, Any]], dict[str, Any]]]:
    """By "service.Operation". keys: seals the temporary keys that AssumeRole hands out."""
    return {**session_operations.operations(keys), **role_operations.OPERATIONS}


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
    with store.transaction(Author("kedge", "start", now)) as tx:
        if tx.get(Scope(account, ""), roles.KIND, EXECUTION_ROLE) is None:
            tx.insert(Scope(account, ""), roles.KIND, EXECUTION_ROLE, document)
