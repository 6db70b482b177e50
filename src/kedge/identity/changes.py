"""Reading and changing what IAM keeps: one transaction, and a revision that grows with every change.

Whoever keeps a copy of users and policies in memory looks at the revision alone to know whether it still holds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kedge.identity.entities import Kind, scope_of
from kedge.identity.errors import LimitExceeded
from kedge.identity.keys import random_id
from kedge.store.records import AlreadyExists, Author, Document, Resource, Scope

if TYPE_CHECKING:
    from kedge.call import Call
    from kedge.store.store import Store, Transaction

_REVISION = (Scope("", ""), "iam-revision", "revision")


def revision(store: Store) -> tuple[int, int] | None:
    found = store.get(*_REVISION)
    return None if found is None else (found.id, found.version)


@contextmanager
def transaction(store: Store, author: Author) -> Iterator[Transaction]:
    with store.transaction(author) as tx:
        yield tx
        if tx.changed:
            found = tx.get(*_REVISION)
            if found is None:
                tx.insert(*_REVISION, {"changes": 1})
            else:
                tx.observe(found, {"changes": found.document["changes"] + 1})


def changing(call: Call) -> Any:
    """A transaction in the caller's name."""
    return transaction(call.store, Author(call.caller.arn, call.request_id, call.now))


def scope(call: Call) -> Scope:
    return scope_of(call.caller.account)


def new_id(kind: Kind) -> str:
    return kind.prefix + random_id(17)


def insert(call: Call, tx: Transaction, kind: Kind, document: Document) -> Resource:
    """Raises EntityAlreadyExists, LimitExceeded."""
    name: str = document[kind.parameter]
    try:
        made = tx.insert(scope(call), kind.kind, name.lower(), document)
    except AlreadyExists:
        raise kind.taken(name) from None
    if len(tx.list(scope(call), kind.kind, limit=kind.most + 1).items) > kind.most:
        raise LimitExceeded(f"Cannot exceed quota for {kind.noun}sPerAccount: {kind.most}")
    return made


def found(call: Call, kind: Kind, request: Mapping[str, Any], tx: Transaction | None = None) -> Resource:
    """What the request names. Raises NoSuchEntity."""
    source = call.store if tx is None else tx
    resource = source.get(scope(call), kind.kind, kind.key(request))
    if resource is None:
        raise kind.missing(request[kind.parameter])
    return resource


@contextmanager
def changed(call: Call, kind: Kind, request: Mapping[str, Any]) -> Iterator[Document]:
    """The document of what the request names, written back as the block leaves it. Raises NoSuchEntity."""
    with changing(call) as tx:
        resource = found(call, kind, request, tx)
        document = copy.deepcopy(resource.document)
        yield document
        if document != resource.document:
            tx.update(resource, document)


def listed(call: Call, kind: Kind, tx: Transaction | None = None) -> list[Resource]:
    source = call.store if tx is None else tx
    return source.list(scope(call), kind.kind).items
