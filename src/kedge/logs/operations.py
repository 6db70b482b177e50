"""The operations of CloudWatch Logs that there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kedge.call import Call
from kedge.logs import event_operations, group_operations, stream_operations, tag_operations
from kedge.logs.requests import Request, Result
from kedge.logs.store import LogStore


def operations(logs: LogStore) -> dict[str, Callable[[Call, Request], Result]]:
    """By "service.Operation"."""
    table = {
        **group_operations.OPERATIONS,
        **stream_operations.OPERATIONS,
        **event_operations.OPERATIONS,
        **tag_operations.OPERATIONS,
    }
    return {name: partial(handler, logs) for name, handler in table.items()}
