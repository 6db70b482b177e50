"""The keys themselves: find one by any of its names, encrypt and decrypt under it, make and rotate its material.

Who may use a key is not asked here. Every method blocks for a read of the resource store, and may be called from any
thread. A change is a method that takes the transaction it belongs to.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from kedge.kms import aead, blob, policies, records
from kedge.kms.blob import Blob
from kedge.kms.errors import (
    Disabled,
    IncorrectKey,
    InvalidArn,
    InvalidCiphertext,
    InvalidState,
    KeyUnavailable,
    NotFound,
)
from kedge.kms.master import MasterKey
from kedge.store.records import AlreadyExists, Author, Document, Resource, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction

MATERIAL_BYTES = 32
_WRAP = "kms material"
_OWN = "own data key"


@dataclass(frozen=True, repr=False)
class DataKey:
    """Key bytes to use and forget, and the same sealed, to keep."""

    plaintext: bytes
    sealed: bytes


class KeyStore:
    def __init__(self, store: Store, master: MasterKey) -> None:
        self._store = store
        self._master = master

    # For those who encrypt something of their own: the object store, hosting

    def usable(self, scope: Scope, name: str, now: datetime) -> str:
        """The ARN of a key that can encrypt now. name: id, alias, or ARN of either.

        scope: the account and region of whoever asks; a key of another one cannot be used.
        Raises NotFound, Disabled, InvalidState.
        """
        key = self.find_or_make(scope, name, now)
        if key.scope != scope:
            raise NotFound(f"Invalid arn {key.scope.region}: {records.key_arn(key)} is of another account or region.")
        check_usable(key)
        return records.key_arn(key)

    def data_key(self, key_arn: str, context: Mapping[str, str]) -> DataKey:
        """A new data key under a KMS key. Raises as `usable`."""
        plaintext = os.urandom(aead.KEY_BYTES)
        return DataKey(plaintext, self.encrypt(self._by_arn(key_arn), plaintext, context))

    def open_data_key(self, key_arn: str, sealed: bytes, context: Mapping[str, str]) -> bytes:
        """What `data_key` sealed. Raises NotFound, Disabled, InvalidState, InvalidCiphertext."""
        return self.decrypt(self._by_arn(key_arn), sealed, context)

    def seal_data_key(self, key_arn: str, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """A data key that there is already, under another key or for another context. Raises as `data_key`."""
        return self.encrypt(self._by_arn(key_arn), plaintext, context)

    def seal_own(self, plaintext: bytes, bound: bytes) -> bytes:
        """A data key under the server's own key, that no caller sees: what S3 calls SSE-S3."""
        return self._master.wrap(_OWN, plaintext, bound)

    def open_own(self, sealed: bytes, bound: bytes) -> bytes:
        """Raises KeyUnavailable."""
        try:
            return self._master.unwrap(_OWN, sealed, bound)
        except aead.NotOpened:
            raise KeyUnavailable(
                f"A data key does not open under the server's master key {self._master.id}: it was sealed under "
                "another one, or is damaged."
            ) from None

    # Keys

    def find(self, name: str, scope: Scope, store: Store | Transaction | None = None) -> Resource:
        """The key that a request names. Raises NotFound, InvalidArn."""
        source = self._store if store is None else store
        parsed = records.parse_name(name, scope)
        if parsed is None:
            if name.startswith("arn:"):
                raise InvalidArn(f'"{name}" is not the ARN of a key or an alias.')
            raise NotFound(f"Invalid keyId '{name}'")
        key_id = parsed.name
        if parsed.kind == "alias":
            alias = source.get(parsed.scope, records.ALIAS, parsed.name)
            if alias is None:
                raise NotFound(f"Alias {parsed.arn} is not found.")
            key_id = alias.document["TargetKeyId"]
        key = source.get(parsed.scope, records.KEY, key_id)
        if key is None:
            raise NotFound(f"Key '{records.arn_of(parsed.scope, f'key/{key_id}')}' does not exist")
        return key

    def find_or_make(self, scope: Scope, name: str, now: datetime) -> Resource:
        """Like `find`; the keys that AWS manages for an account are there as soon as somebody names them."""
        parsed = records.parse_name(name, scope)
        if parsed is not None and parsed.name in records.MANAGED and parsed.scope == scope:
            return self.managed(scope, parsed.name, now)
        return self.find(name, scope)

    def managed(self, scope: Scope, alias: str, now: datetime) -> Resource:
        """The key behind one of records.MANAGED, made when there is none."""
        if self._store.get(scope, records.ALIAS, alias) is None:
            service = alias.rpartition("/")[2]
            document = records.new_key(
                now,
                description=f"Default key that protects my {service} data when no other key is defined",
                policy=policies.managed(scope, service),
                managed=True,
            )
            try:
                with self._store.transaction(Author("kedge", f"first use of {alias}", now)) as tx:
                    key = self.create(tx, scope, document)
                    tx.insert(scope, records.ALIAS, alias, {"TargetKeyId": key.name})
            except AlreadyExists:
                return self.find(alias, scope)  # another call made it meanwhile
        return self.find(alias, scope)

    def create(self, tx: Transaction, scope: Scope, document: Document) -> Resource:
        key = tx.insert(scope, records.KEY, str(uuid.uuid4()), document, records.ENABLED)
        self._add_material(tx, tx.insert(scope, records.MATERIAL, key.name, {}), 1)
        return key

    def rotate(self, tx: Transaction, key: Resource, now: datetime, kind: Literal["AUTOMATIC", "ON_DEMAND"]) -> None:
        """New material encrypts from now on; the old one still decrypts."""
        after = tx.update(key, records.rotated(key.document, now, kind))
        material = tx.get(key.scope, records.MATERIAL, key.name)
        if material is None:
            raise _without_material(key)
        self._add_material(tx, material, after.document["Version"])

    def destroy(self, tx: Transaction, key: Resource) -> None:
        """The key, its aliases and its material. What was encrypted under it cannot be read by anybody any more."""
        material = tx.get(key.scope, records.MATERIAL, key.name)
        if material is not None:
            tx.delete(tx.observe(material, {}))  # emptied first: a deletion's history shows what there was
        for alias in tx.list(key.scope, records.ALIAS).items:
            if alias.document["TargetKeyId"] == key.name:
                tx.delete(alias)
        tx.delete(key)

    # Encryption

    def encrypt(self, key: Resource, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Raises Disabled, InvalidState."""
        check_usable(key)
        version = key.document["Version"]
        head = Blob(key.name, version, b"")
        return Blob(
            key.name, version, aead.seal(self._material(key, version), plaintext, blob.bound(head, context))
        ).encode()

    def decrypt(self, key: Resource, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        """Raises Disabled, InvalidState, IncorrectKey, InvalidCiphertext."""
        check_usable(key)
        found = blob.decode(ciphertext)
        if found is None:
            raise not_a_ciphertext()
        if found.key_id != key.name:
            raise IncorrectKey("The key ID in the request does not identify a CMK that can perform this operation.")
        if found.version > key.document["Version"]:
            raise not_a_ciphertext()
        try:
            return aead.unseal(self._material(key, found.version), found.sealed, blob.bound(found, context))
        except aead.NotOpened:
            raise not_a_ciphertext() from None

    def _by_arn(self, key_arn: str) -> Resource:
        return self.find(key_arn, Scope("", ""))

    def _add_material(self, tx: Transaction, material: Resource, version: int) -> None:
        wrapped = self._master.wrap(_WRAP, os.urandom(MATERIAL_BYTES), _identity(material, version))
        # Observed, not updated: the history of resources would keep it after the key was deleted.
        tx.observe(material, {**material.document, str(version): base64.b64encode(wrapped).decode()})

    def _material(self, key: Resource, version: int) -> bytes:
        material = self._store.get(key.scope, records.MATERIAL, key.name)
        wrapped = None if material is None else material.document.get(str(version))
        if wrapped is None:
            raise _without_material(key)
        try:
            return self._master.unwrap(_WRAP, base64.b64decode(wrapped), _identity(key, version))
        except aead.NotOpened:
            raise KeyUnavailable(
                f"The material of {records.key_arn(key)} does not open under the server's master key "
                f"{self._master.id}: it was wrapped by another one, or is damaged."
            ) from None


def check_usable(key: Resource) -> None:
    """Raises Disabled, InvalidState."""
    check_not_pending(key)
    if key.status != records.ENABLED:
        raise Disabled(f"{records.key_arn(key)} is disabled.")


def check_not_pending(key: Resource) -> None:
    """Raises InvalidState."""
    if key.status == records.PENDING_DELETION:
        raise InvalidState(f"{records.key_arn(key)} is pending deletion.")


def not_a_ciphertext() -> InvalidCiphertext:
    return InvalidCiphertext(
        "The ciphertext is not one of this account and region, is damaged, or was made with another encryption context."
    )


def _without_material(key: Resource) -> KeyUnavailable:
    return KeyUnavailable(f"The material of {records.key_arn(key)} is not there.")


def _identity(key: Resource, version: int) -> bytes:
    return f"{key.scope.account}/{key.scope.region}/{key.name}/{version}".encode()
