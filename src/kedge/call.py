"""What an operation is given besides its parameters. Built by app.py for each request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from kedge.config import Settings
from kedge.errors import AccessDenied
from kedge.identity.records import Caller
from kedge.loop import Signal
from kedge.objects.files import Objects
from kedge.store.store import Scope, Store

Require = Callable[["Call", str, str, Mapping[str, tuple[str, ...]]], None]
"""(call, action, ARN of the resource, further condition keys in lower case). Blocks. Raises AccessDenied."""


def only_root(call: Call, action: str, resource: str, context: Mapping[str, tuple[str, ...]]) -> None:
    """Where nobody evaluates policies."""
    if not call.caller.is_root:
        raise AccessDenied(f"User: {call.caller.arn} is not authorized to perform: {action} on resource: {resource}")


@dataclass(frozen=True)
class Call:
    caller: Caller
    now: datetime
    request_id: str
    user_agent: str
    settings: Settings
    store: Store
    objects: Objects
    changed: Signal
    """Notified after every committed change and every change of an instance."""
    require: Require = only_root
    """What an operation needs beyond its own action, and finds out only while it works."""

    @property
    def scope(self) -> Scope:
        return Scope(self.caller.account, self.caller.region)
