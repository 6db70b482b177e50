"""Key policies: the one that a key gets when none is given, and whether a text is one.

Source: "Default key policy" and the errors of PutKeyPolicy in the KMS reference.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kedge.identity.errors import MalformedPolicyDocument
from kedge.identity.named import missing
from kedge.identity.policy_documents import checked_resource_policy
from kedge.kms.errors import LimitExceeded, MalformedPolicy
from kedge.store.records import Scope

if TYPE_CHECKING:
    from kedge.store.store import Store

NAME = "default"
"""The only name that a key's policy has."""
LARGEST_CHARS = 32_768


def default(account: str) -> str:
    """Whatever IAM policies of the account allow."""
    return _text("key-default-1", [_statement("Enable IAM User Permissions", account, "kms:*")])


def managed(scope: Scope, service: str) -> str:
    """Use by that service for principals of the account; by themselves they may only look."""
    return _text(
        f"auto-{service}-1",
        [
            {
                **_statement(
                    f"Allow access through {service}",
                    "*",
                    ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                ),
                "Condition": {
                    "StringEquals": {
                        "kms:CallerAccount": scope.account,
                        "kms:ViaService": f"{service}.{scope.region}.amazonaws.com",
                    }
                },
            },
            _statement(
                "Allow direct access to key metadata", scope.account, ["kms:Describe*", "kms:Get*", "kms:List*"]
            ),
        ],
    )


def checked(text: str, account: str, store: Store) -> str:
    """`text`, when it is a policy for a key of this account. Blocks. Raises MalformedPolicy, LimitExceeded."""
    if len(text) > LARGEST_CHARS:
        raise LimitExceeded(f"A key policy has at most {LARGEST_CHARS} characters; this one has {len(text)}.")
    try:
        statements = checked_resource_policy(text)
    except MalformedPolicyDocument as error:
        raise MalformedPolicy(f"The key policy is no JSON policy document that KMS takes: {error}") from None
    if (name := missing(store, account, statements)) is not None:
        raise MalformedPolicy(f"Policy contains a statement with one or more invalid principals: {name}")
    return text


def _statement(name: str, account: str, action: Any) -> dict[str, Any]:
    principal = "*" if account == "*" else f"arn:aws:iam::{account}:root"
    return {"Sid": name, "Effect": "Allow", "Principal": {"AWS": principal}, "Action": action, "Resource": "*"}


def _text(name: str, statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Id": name, "Statement": statements}, indent=2)
