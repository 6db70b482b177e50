"""Messages of a bucket to topics: actions in the resource store, which events/delivery.py carries out.

The policy of the topic has to let S3 publish for the bucket, or everybody for the bucket's account, as a new topic's
policy does for its own account. A message that cannot be published is kept as a failed action, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kedge.events import records
from kedge.events.records import Action
from kedge.store.records import Scope
from kedge.store.transaction import Transaction

SUBJECT = "Amazon S3 Notification"


def is_topic(target_arn: str) -> bool:
    return target_arn.split(":", 3)[2:3] == ["sns"]


def tell(
    tx: Transaction, topic_arn: str, message: Mapping[str, Any], bucket: str, owner: Scope, at: datetime, identity: str
) -> None:
    """After the commit the topic gets it. owner: whose bucket it is, and where. identity: what waits under it already
    is not told again."""
    text = json.dumps(message, separators=(",", ":"))
    source_arn = f"arn:aws:s3:::{bucket}"
    action = Action(identity, owner.account, owner.region, topic_arn, SUBJECT, text, at=at, source_arn=source_arn)
    records.write(tx, action)
