"""What the resource store keeps and hands out. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

Document = dict[str, Any]
"""JSON only: text, finite numbers, booleans, None, lists and objects. Times are kept as text or numbers."""


@dataclass(frozen=True)
class Scope:
    """Whose a resource is. Region "" is for what has no region, such as an IAM role."""

    account: str
    region: str


@dataclass(frozen=True)
class Resource:
    """One resource as it was when it was read. `version` grows by one with each change."""

    scope: Scope
    kind: str
    name: str
    version: int
    document: Document
    status: str
    created_at: datetime
    modified_at: datetime
    id: int = 0
    """Never used twice: tells a resource from one of the same name that was deleted before."""


@dataclass(frozen=True)
class Author:
    """Who makes a change: the principal's ARN, or the controller's name with the request id that it acts for."""

    principal: str
    request_id: str
    at: datetime


@dataclass(frozen=True)
class Page:
    items: list[Resource]
    next: str | None
    """Cursor for `after`; None when nothing follows."""


@dataclass(frozen=True)
class Change:
    """One row of history. `before` is None for a creation, `after` for a deletion."""

    id: int
    scope: Scope
    kind: str
    name: str
    version: int
    at: datetime
    principal: str
    request_id: str
    before: Document | None
    after: Document | None
    status_before: str | None
    status_after: str | None


@dataclass(frozen=True)
class Event:
    """One row of the outbox. It may be delivered more than once, always under the same id."""

    id: str
    at: datetime
    source: str
    detail_type: str
    detail: Document
    scope: Scope | None


@dataclass(frozen=True)
class Entry:
    """One thing that waits in a queue, to be done or handed over at least once."""

    number: int
    """Grows in the order in which entries were put."""
    queue: str
    payload: str
    """Id of what was put; the same in every queue that it was put into."""
    body: Document
    at: datetime
    attempts: int
    due_at: datetime
    expires_at: datetime | None = None
    """When it is too late for it; None where it may wait for ever."""


@dataclass(frozen=True)
class Backlog:
    """Of one queue that is not empty."""

    count: int
    since: datetime
    """When its oldest entry was put."""


class AlreadyExists(Exception):
    """There is a resource of this scope, kind and name. The operation says it in its service's own words."""

    def __init__(self, scope: Scope, kind: str, name: str) -> None:
        super().__init__(f'{kind} "{name}" exists already')
        self.scope, self.kind, self.name = scope, kind, name


class LeaseLost(Exception):
    """A guarded transaction came from a holder whose lease went to another one; nothing was changed."""
