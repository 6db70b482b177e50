"""The copy of users, roles, policies and keys that the control process decides by, kept true to the store."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kedge.errors import ServiceError
from kedge.identity import changes
from kedge.identity.entities import ACCESS_KEY, GROUP, KINDS, POLICY, ROLE, USER, scope_of
from kedge.identity.keys import KeyRing
from kedge.identity.policy import Identity
from kedge.identity.principals import Directory, Principal, tags_of
from kedge.identity.records import AccessKey, Caller
from kedge.store.records import Author, Resource

if TYPE_CHECKING:
    from kedge.store.store import Store

LOOK_AGAIN_S = 0.5
"""Another process may have changed something: after this time the revision is read again in any case."""
USED_EVERY_S = 60.0
"""How often the last use of keys is written down."""

IDENTITIES = 4096
"""How many callers are remembered with their policies."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    directory: Directory = field(default_factory=Directory)
    keys: tuple[AccessKey, ...] = ()
    """Users' keys that are active."""
    trusts: Mapping[str, str] = field(default_factory=dict)
    """Text of each role's trust policy, by the role's ARN."""
    arns: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """(account, kind in the store, name in lower case) -> ARN: a name alone does not tell the path."""
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By ARN."""
    _identities: dict[str, Identity] = field(default_factory=dict, repr=False, compare=False)

    def identity(self, caller: Caller) -> Identity:
        """Remembered by access key: one key is one principal with one set of policies."""
        found = self._identities.get(caller.access_key_id)
        if found is None:
            if len(self._identities) >= IDENTITIES:
                self._identities.clear()
            found = self._identities[caller.access_key_id] = self.directory.identity(caller)
        return found


class Known:
    """Any thread may ask."""

    def __init__(self, store: Store, ring: KeyRing, root: AccessKey) -> None:
        """ring: gets the users' keys; it opens their secrets."""
        self._store = store
        self._ring = ring
        self._root = root
        self._revision: tuple[int, int] | None = None
        self._is_loaded = False
        self._snapshot = Snapshot()
        self._count = itertools.count()
        self._commits = next(self._count)
        self._seen = -1
        self._looked_s = 0.0
        self._turn = threading.Lock()
        self._used: dict[str, dict[str, Any]] = {}
        store.on_commit(self.look_again)

    def look_again(self) -> None:
        # Another number each time, whichever of two threads is the last to write it down.
        self._commits = next(self._count)

    @property
    def is_fresh(self) -> bool:
        """`current` will not read the store."""
        return self._seen == self._commits and time.monotonic() - self._looked_s < LOOK_AGAIN_S

    def current(self) -> Snapshot:
        """Blocks for a read of the store when it is not fresh. What was committed before the call is in it."""
        if self.is_fresh:
            return self._snapshot
        with self._turn:
            if not self.is_fresh:
                # Counted before the store is read: what is committed meanwhile is looked for again.
                commits = self._commits
                self._refresh()
                self._seen = commits
        return self._snapshot

    def _refresh(self) -> None:
        revision = changes.revision(self._store)
        if revision != self._revision or not self._is_loaded:
            self._snapshot = snapshot(self._store, self._ring)
            self._ring.replace([self._root, *self._snapshot.keys])
            self._revision, self._is_loaded = revision, True
        self._looked_s = time.monotonic()

    def use(self, access_key_id: str, service: str, region: str, now: datetime) -> None:
        """Remember that a lasting key has signed a request."""
        self._used[access_key_id] = {"at_s": now.timestamp(), "service": service, "region": region}

    def write_used(self, now: datetime) -> None:
        """Write down what `use` has remembered."""
        used, self._used = self._used, {}
        for access_key_id, last in used.items():
            scope = scope_of(self._root.account)
            try:
                with self._store.transaction(Author("kedge", "use of keys", now)) as tx:
                    key = tx.get(scope, ACCESS_KEY, access_key_id)
                    if key is not None:
                        tx.observe(key, {**key.document, "LastUsed": last})
            except ServiceError as error:
                log.warning("the last use of a key could not be written down: %s", error)
                return


def snapshot(store: Store, ring: KeyRing) -> Snapshot:
    found = {kind.kind: store.list(None, kind.kind).items for kind in KINDS}
    roles, users, groups = found[ROLE.kind], found[USER.kind], found[GROUP.kind]
    documents: dict[str, str] = {}
    for policy in found[POLICY.kind]:
        document = policy.document
        documents[document["Arn"]] = document["Versions"][document["DefaultVersionId"]]["Document"]
    held: dict[str, tuple[str, ...]] = {}
    for group in groups:
        held[group.document["GroupId"]] = _policies(group.document["GroupId"], group, documents)
    principals: dict[str, Principal] = {}
    for role in roles:
        unique = role.document["RoleId"]
        principals[unique] = _principal(unique, role, _policies(unique, role, documents))
    for user in users:
        unique = user.document["UserId"]
        inherited = tuple(name for group in user.document["Groups"] for name in held.get(group, ()))
        principals[unique] = _principal(unique, user, _policies(unique, user, documents) + inherited)
    everything = [each for items in found.values() for each in items]
    return Snapshot(
        Directory(principals, documents),
        tuple(_keys(store.list(None, ACCESS_KEY).items, principals, ring)),
        {role.document["Arn"]: role.document["AssumeRolePolicyDocument"] for role in roles},
        {(each.scope.account, each.kind, each.name): each.document["Arn"] for each in everything},
        {each.document["Arn"]: tags_of(each.document["Tags"]) for each in everything if each.document.get("Tags")},
    )


def _policies(unique: str, holder: Resource, documents: dict[str, str]) -> tuple[str, ...]:
    """Names of all policies of a user, group or role; inline ones become documents under a name of their own."""
    names = [policy["PolicyArn"] for policy in holder.document["AttachedPolicies"]]
    for name, text in holder.document["InlinePolicies"].items():
        documents[f"{unique}/{name}"] = text
        names.append(f"{unique}/{name}")
    return tuple(names)


def _principal(unique: str, holder: Resource, policies: tuple[str, ...]) -> Principal:
    document = holder.document
    return Principal(
        unique, document["Arn"], policies, document.get("PermissionsBoundary", ""), tags_of(document["Tags"])
    )


def _keys(stored: Iterable[Resource], principals: Mapping[str, Principal], ring: KeyRing) -> Iterable[AccessKey]:
    for key in stored:
        owner = principals.get(key.document["UserId"])
        if owner is None or key.status != "Active":
            continue
        secret = ring.open_secret(key.name, key.document["Secret"])
        if secret is None:
            log.error("the secret of access key %s cannot be opened: it was sealed with another seal key", key.name)
            continue
        yield AccessKey(key.name, secret, key.scope.account, owner.arn, owner.id)
