"""What an operation is given besides its parameters. Built by app.py for each request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kedge.config import Settings
from kedge.identity.records import Caller
from kedge.loop import Signal
from kedge.objects.files import Objects
from kedge.store.store import Scope, Store


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

    @property
    def scope(self) -> Scope:
        return Scope(self.caller.account, self.caller.region)
