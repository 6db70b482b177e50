"""Statements of a topic's policy that AddPermission writes and RemovePermission takes away. PURE."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from kedge.topics.errors import InvalidParameter

_ACTIONS = frozenset(
    {"AddPermission", "DeleteTopic", "GetDataProtectionPolicy", "GetTopicAttributes", "ListSubscriptionsByTopic",
     "ListTagsForResource", "Publish", "PutDataProtectionPolicy", "RemovePermission", "SetTopicAttributes",
     "Subscribe"}
)  # fmt: skip
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")


def added(policy: str, label: str, accounts: Sequence[str], actions: Sequence[str], topic_arn: str) -> str:
    """The policy with a statement that lets these accounts do these actions. Raises InvalidParameter."""
    if not _LABEL.match(label):
        raise InvalidParameter("Label Reason: it has 1 to 80 letters, digits, '-' and '_'")
    for account in accounts:
        if not re.fullmatch(r"[0-9]{12}", account):
            raise InvalidParameter(f"AWSAccountId Reason: an account has 12 digits, which {account[:64]} has not")
    if not accounts or not actions or not set(actions) <= _ACTIONS:
        raise InvalidParameter("Policy statement action out of service scope!")
    document = _document(policy)
    if any(each.get("Sid") == label for each in document["Statement"]):
        raise InvalidParameter("Statement already exists")
    principals = [f"arn:aws:iam::{account}:root" for account in accounts]
    statement = {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": principals[0] if len(principals) == 1 else principals},
        "Action": [f"SNS:{action}" for action in actions],
        "Resource": topic_arn,
    }
    return json.dumps({**document, "Statement": [*document["Statement"], statement]})


def removed(policy: str, label: str) -> str:
    """The policy without the statement of this label. Raises InvalidParameter."""
    document = _document(policy)
    left = [each for each in document["Statement"] if each.get("Sid") != label]
    if len(left) == len(document["Statement"]):
        raise InvalidParameter(f"Label Reason: the policy has no statement {label[:80]}")
    if not left:
        raise InvalidParameter("Label Reason: it is the policy's only statement; set the Policy attribute instead")
    return json.dumps({**document, "Statement": left})


def _document(policy: str) -> dict[str, list[dict[str, object]]]:
    document = json.loads(policy)
    found = document["Statement"]
    return {**document, "Statement": [found] if isinstance(found, dict) else found}
