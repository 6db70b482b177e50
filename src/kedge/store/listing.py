"""Lists of resources: filters, order, and cursors that stay right while rows come and go.

A cursor holds the place of the last row that was given (its sort value, name and scope), not a count of rows, so a
row that is added or deleted on an earlier page moves nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, select, tuple_

from kedge.errors import ValidationFailed
from kedge.store.records import Scope
from kedge.store.schema import resources

SortBy = Literal["name", "created_at", "modified_at", "status"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TO_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def micros(at: datetime) -> int:
    """Whole microseconds since 1970. Raises TypeError for a time without a zone."""
    return (at - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    return _EPOCH + value * _MICROSECOND


def storable(text: str) -> bool:
    """False for what no resource can be called: PostgreSQL keeps no NUL, neither engine half a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass(frozen=True)
class Query:
    """Which resources, in which order. `after` times are included, `before` times are not, as AWS has it."""

    scope: Scope | None
    kind: str
    name_contains: str = ""
    status: str = ""
    created_after: datetime | None = None
    created_before: datetime | None = None
    modified_after: datetime | None = None
    modified_before: datetime | None = None
    sort_by: SortBy = "name"
    descending: bool = False
    limit: int | None = None
    after: str | None = None
    name_prefix: str = ""
    has_slash: bool | None = None
    """Whether names have a slash; None: either."""

    def statement(self) -> Select[Any]:
        """Asks for one row more than the limit, which tells whether a next page exists."""
        c = resources.c
        found = select(resources).where(c.kind == self.kind)
        keys: list[ColumnElement[Any]] = [] if self.sort_by == "name" else [c[self.sort_by]]
        if self.scope is None:
            keys += [c.name, c.account, c.region]
        else:
            found = found.where(c.account == self.scope.account, c.region == self.scope.region)
            keys += [c.name]
        if self.name_contains:
            found = found.where(func.lower(c.name).contains(self.name_contains.translate(_TO_LOWER), autoescape=True))
        if self.name_prefix:
            # SQLite's LIKE takes no notice of the case of letters; the first comparison is for the index.
            same = func.substr(c.name, 1, len(self.name_prefix)) == self.name_prefix
            found = found.where(c.name >= self.name_prefix, same)
        if self.has_slash is not None:
            slashed = c.name.contains("/")
            found = found.where(slashed if self.has_slash else ~slashed)
        if self.status:
            found = found.where(c.status == self.status)
        if self.created_after is not None:
            found = found.where(c.created_at >= micros(self.created_after))
        if self.created_before is not None:
            found = found.where(c.created_at < micros(self.created_before))
        if self.modified_after is not None:
            found = found.where(c.modified_at >= micros(self.modified_after))
        if self.modified_before is not None:
            found = found.where(c.modified_at < micros(self.modified_before))
        if self.after is not None:
            place, here = tuple_(*self._place(self.after)), tuple_(*keys)
            found = found.where(here < place if self.descending else here > place)
        found = found.order_by(*(key.desc() if self.descending else key.asc() for key in keys))
        return found if self.limit is None else found.limit(self.limit + 1)

    def cursor(self, row: Any) -> str:
        """The place after `row`, a row of `resources`."""
        place = [] if self.sort_by == "name" else [getattr(row, self.sort_by)]
        place += [row.name, row.account, row.region] if self.scope is None else [row.name]
        text = json.dumps([self.sort_by, self.descending, place], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def _place(self, cursor: str) -> list[Any]:
        """Raises ValidationFailed for a cursor that this store did not give for this order."""
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            sort_by, descending, place = json.loads(base64.b64decode(padded, b"-_", validate=True))
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise _no_cursor() from None
        kinds: list[type] = [] if self.sort_by == "name" else [str if self.sort_by == "status" else int]
        kinds += [str] if self.scope else [str, str, str]
        if (sort_by, descending) != (self.sort_by, self.descending) or not isinstance(place, list):
            raise _no_cursor()
        if [type(value) for value in place] != kinds or not all(_fits(value) for value in place):
            raise _no_cursor()
        return place


def _fits(value: str | int) -> bool:
    return storable(value) if isinstance(value, str) else -(2**63) <= value < 2**63


def _no_cursor() -> ValidationFailed:
    return ValidationFailed("NextToken is not one that this list has given; start again without it.")
