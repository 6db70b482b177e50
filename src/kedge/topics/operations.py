"""The SNS operations that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kedge.call import Call
from kedge.topics import publish_operations, subscription_operations, topic_operations
from kedge.topics.requests import Request, Result

OPERATIONS: Mapping[str, Callable[[Call, Request], Result]] = {
    **topic_operations.OPERATIONS,
    **subscription_operations.OPERATIONS,
    **publish_operations.OPERATIONS,
}
