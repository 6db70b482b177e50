"""The master key: 32 bytes in a file of mode 0600, under which every other key is wrapped.

The file holds them as 64 hexadecimal digits. Its id, a hash, is kept in the resource store: so a start with another
master key, or with none, is refused before anything is read or written with the wrong one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
from datetime import datetime
from pathlib import Path

from kedge.home import HomeError, write_whole
from kedge.kms import aead
from kedge.store.records import Author, Scope
from kedge.store.store import Store

KIND = "master-key"
_SCOPE, _NAME = Scope("", ""), "current"

log = logging.getLogger(__name__)


class MasterKey:
    """What is wrapped for one purpose opens for that purpose only."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == aead.KEY_BYTES, "a master key has 32 bytes"
        self._key = key
        self.id = hashlib.sha256(b"kedge master key id" + key).hexdigest()[:16]
        """Says which key it is, and nothing about it."""

    def wrap(self, purpose: str, data: bytes, bound: bytes) -> bytes:
        return aead.seal(self._for(purpose), data, bound)

    def unwrap(self, purpose: str, wrapped: bytes, bound: bytes) -> bytes:
        """Raises aead.NotOpened."""
        return aead.unseal(self._for(purpose), wrapped, bound)

    def key_for(self, purpose: str) -> bytes:
        """32 bytes, always the same for one purpose, and for nothing that `wrap` does."""
        return aead.derived(self._key, b"kedge key of a purpose", purpose.encode())

    def _for(self, purpose: str) -> bytes:
        return aead.derived(self._key, b"kedge master key", purpose.encode())


def open_master(path: Path, given: str, store: Store, now: datetime) -> MasterKey:
    """The master key of a data directory, made at its first start. Raises HomeError.

    path: where it lies unless `given`, a setting, names another file, which has to exist.
    """
    known = store.get(_SCOPE, KIND, _NAME)
    file = Path(given).expanduser() if given else path
    try:
        if not given and not file.exists():
            if known is not None:
                raise HomeError(
                    f"The master key {file} is gone, and keys in this data directory are wrapped by it. Bring it back "
                    "from a backup, or name it by KEDGE_MASTER_KEY_FILE; without it nothing encrypted can be read."
                )
            write_whole(file, secrets.token_hex(aead.KEY_BYTES).encode() + b"\n")
    except OSError as error:
        raise _unreadable(file, error) from error
    master = read_master(path, given)
    if known is not None and known.document["Id"] != master.id:
        raise HomeError(
            f"{file} holds the master key {master.id}, but the keys of this data directory are wrapped by "
            f"{known.document['Id']}. Bring that file back, or name it by KEDGE_MASTER_KEY_FILE."
        )
    return master


def read_master(path: Path, given: str) -> MasterKey:
    """The master key where `open_master` left or found it. Raises HomeError."""
    file = Path(given).expanduser() if given else path
    try:
        text = file.read_bytes()
        if os.stat(file).st_mode & 0o077:
            log.warning("others than its owner may read the master key %s; give it the mode 0600", file)
    except OSError as error:
        raise _unreadable(file, error) from error
    if re.fullmatch(rb"\s*[0-9a-fA-F]{64}\s*", text) is None:
        raise HomeError(f"{file} is no master key: it has to hold 64 hexadecimal digits, such as openssl rand -hex 32.")
    return MasterKey(bytes.fromhex(text.decode()))


def _unreadable(file: Path, error: OSError) -> HomeError:
    return HomeError(f"The master key {file} cannot be read: {error.strerror}.")


def record_master(master: MasterKey, store: Store, now: datetime) -> None:
    """From now on this store takes no other. Changes nothing when it is recorded already."""
    if store.get(_SCOPE, KIND, _NAME) is not None:
        return
    with store.transaction(Author("kedge", "start", now)) as tx:
        if tx.get(_SCOPE, KIND, _NAME) is None:
            tx.insert(_SCOPE, KIND, _NAME, {"Id": master.id})
