"""What the KMS operations share: the key that a request names, changes, tags, and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from kedge.call import Call
from kedge.errors import AccessDenied, ValidationFailed
from kedge.kms import records
from kedge.kms.errors import InvalidMarker, LimitExceeded, NotFound, TagRefused, Unsupported
from kedge.kms.keystore import KeyStore
from kedge.store.records import Author, Document, Page, Resource
from kedge.store.transaction import Transaction

Request = Mapping[str, Any]
Result = dict[str, Any]
Handler = Callable[[KeyStore, Call, Request], Result]
T = TypeVar("T")

DEFAULT_PAGE = 100
MOST_TAGS = 50


def author(call: Call) -> Author:
    return Author(call.caller.arn, call.request_id, call.now)


def key_named(
    keys: KeyStore, call: Call, name: str, store: Transaction | None = None, *, by_alias: bool = False
) -> Resource:
    """The caller's key. by_alias: an alias will do. Raises NotFound, InvalidArn, AccessDenied."""
    parsed = records.parse_name(name, call.scope)
    if parsed is not None:
        if parsed.scope.account != call.caller.account:
            raise AccessDenied(f"{name} is a key of another account: keys are not shared between accounts here.")
        if parsed.scope != call.scope:
            raise NotFound(f"Invalid arn {parsed.scope.region}: the request is signed for {call.caller.region}.")
        if parsed.kind == "alias" and not by_alias:
            raise NotFound(f"Invalid keyId '{name}': this operation takes a key id or a key ARN, not an alias.")
    if by_alias and store is None:
        return keys.find_or_make(call.scope, name, call.now)
    return keys.find(name, call.scope, store)


def own_key(keys: KeyStore, call: Call, name: str, store: Transaction | None = None) -> Resource:
    """One that the account may change: not one that AWS manages. Raises as `key_named`."""
    key = key_named(keys, call, name, store)
    if records.is_managed(key):
        raise AccessDenied(
            f"{records.key_arn(key)} is managed by AWS: it can be looked at and used through its service, not changed."
        )
    return key


@contextmanager
def changing(keys: KeyStore, call: Call, request: Request) -> Iterator[tuple[Transaction, Resource]]:
    """One transaction on the key of a request."""
    with call.store.transaction(author(call)) as tx:
        yield tx, own_key(keys, call, request["KeyId"], tx)


def update(tx: Transaction, key: Resource, status: str | None = None, **changed: Any) -> Resource:
    document: Document = {**key.document, **changed}
    return tx.update(key, document, status)


def refuse(request: Request, **unsupported: str) -> None:
    """Raises Unsupported for each member that is given; its value here says why not."""
    for member, why in unsupported.items():
        if request.get(member):
            raise Unsupported(f"{member}: {why}")


def merged_tags(before: Sequence[Mapping[str, str]], given: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Raises TagRefused, LimitExceeded."""
    seen: set[str] = set()
    for tag in given:
        key = tag["TagKey"]
        if key.lower().startswith("aws:"):
            raise TagRefused(f'Tag key "{key}": keys that begin with "aws:" are reserved.')
        if key in seen:
            raise TagRefused(f'Duplicate tag keys: "{key}" is given more than once.')
        seen.add(key)
    after = {tag["TagKey"]: tag["TagValue"] for tag in (*before, *given)}
    if len(after) > MOST_TAGS:
        raise LimitExceeded(f"A key has at most {MOST_TAGS} tags; with this request it would have {len(after)}.")
    return [{"TagKey": key, "TagValue": value} for key, value in after.items()]


def resources(call: Call, kind: str, request: Request) -> Page:
    """A page of the caller's, by name. Raises InvalidMarker."""
    try:
        return call.store.list(
            call.scope, kind, limit=request.get("Limit", DEFAULT_PAGE), after=request.get("Marker") or None
        )
    except ValidationFailed:
        raise _no_marker() from None


def page(items: Sequence[T], request: Request) -> tuple[Sequence[T], Result]:
    """A page of what is there at once, and what the answer says about the next. Raises InvalidMarker."""
    marker = request.get("Marker") or "0"
    if not marker.isascii() or not marker.isdecimal() or int(marker) > len(items):
        raise _no_marker()
    start, limit = int(marker), request.get("Limit", DEFAULT_PAGE)
    return items[start : start + limit], following(str(start + limit) if start + limit < len(items) else None)


def following(marker: str | None) -> Result:
    return {"Truncated": False} if marker is None else {"Truncated": True, "NextMarker": marker}


def _no_marker() -> InvalidMarker:
    return InvalidMarker("Marker is not one that this list has given; start again without it.")
