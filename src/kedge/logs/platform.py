"""What the platform itself says in log groups of those who use it. Every function blocks."""

from __future__ import annotations

from collections.abc import Sequence

from kedge.clock import Clock
from kedge.logs import records
from kedge.logs.records import KIND, as_ms
from kedge.logs.store import LogStore
from kedge.store.records import AlreadyExists, Author, Scope
from kedge.store.store import Store


def group_number(store: Store, scope: Scope, name: str, author: Author) -> int:
    """Of a group in the log store; the group is made where there is none."""
    found = store.get(scope, KIND, name)
    if found is None:
        try:
            with store.transaction(author) as tx:
                return tx.insert(scope, KIND, name, records.document()).id
        except AlreadyExists:
            found = store.get(scope, KIND, name)
    assert found is not None, "it was there a moment ago"
    return found.id


class PlatformLog:
    def __init__(self, logs: LogStore, store: Store, clock: Clock) -> None:
        self._logs, self._store, self._clock = logs, store, clock

    def write(self, scope: Scope, group: str, stream: str, lines: Sequence[str]) -> None:
        """Events of now. Raises ServiceError, sqlite3.Error."""
        now = self._clock.now()
        number = group_number(self._store, scope, group, Author("kedge", f"lines of {stream}", now))
        now_ms = as_ms(now)
        self._logs.put(number, stream, [now_ms] * len(lines), list(lines), now_ms, create=True)
