"""Tags on a resource: kept apart from it, under its ARN, so that tagging never collides with what a controller writes.

Operations that create or delete a resource attach and detach in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from kedge.errors import ValidationFailed

if TYPE_CHECKING:
    from kedge.store.store import Scope, Store, Transaction

KIND = "tags"
MAX_TAGS = 50
RESERVED = "aws:"

Tag = Mapping[str, str]
"""{"Key": ..., "Value": ...}"""


def checked(given: Sequence[Tag]) -> list[dict[str, str]]:
    """The tags of one request, in its order. Raises ValidationFailed."""
    seen: set[str] = set()
    for tag in given:
        key = tag["Key"]
        if key.lower().startswith(RESERVED):
            raise ValidationFailed(f'Tag key "{key}" is not allowed: keys that start with "{RESERVED}" are reserved.')
        if key in seen:
            raise ValidationFailed(f'Duplicate tag key found: "{key}" is given more than once.')
        seen.add(key)
    return [{"Key": tag["Key"], "Value": tag["Value"]} for tag in given]


def merged(before: Sequence[Tag], given: Sequence[Tag]) -> list[dict[str, str]]:
    """`before` with the values of `given`; new keys come last. Raises ValidationFailed when there are too many."""
    after = {tag["Key"]: tag["Value"] for tag in before} | {tag["Key"]: tag["Value"] for tag in checked(given)}
    if len(after) > MAX_TAGS:
        raise ValidationFailed(f"A resource has at most {MAX_TAGS} tags; with this request it would have {len(after)}.")
    return [{"Key": key, "Value": value} for key, value in after.items()]


def without(before: Sequence[Tag], keys: Collection[str]) -> list[dict[str, str]]:
    return [{"Key": tag["Key"], "Value": tag["Value"]} for tag in before if tag["Key"] not in keys]


def read(store: Store | Transaction, scope: Scope, arn: str) -> list[dict[str, str]]:
    found = store.get(scope, KIND, arn)
    return [] if found is None else [dict(tag) for tag in found.document["Tags"]]


def write(tx: Transaction, scope: Scope, arn: str, tags: Sequence[Tag]) -> None:
    """These tags and no others; none at all leaves nothing behind."""
    found = tx.get(scope, KIND, arn)
    if found is not None and not tags:
        tx.delete(found)
    elif found is not None:
        tx.update(found, {"Tags": [dict(tag) for tag in tags]})
    elif tags:
        tx.insert(scope, KIND, arn, {"Tags": [dict(tag) for tag in tags]})


def attach(tx: Transaction, scope: Scope, arn: str, given: Sequence[Tag]) -> list[dict[str, str]]:
    """The tags of a resource that is being created. Raises ValidationFailed."""
    tags = merged([], given)
    write(tx, scope, arn, tags)
    return tags


def detach(tx: Transaction, scope: Scope, arn: str) -> None:
    """The resource is deleted, and so are its tags."""
    write(tx, scope, arn, [])
