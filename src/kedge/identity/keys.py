"""Access keys: those that are known, and temporary ones that carry all that is known of them in a sealed token.

A session token is AES-GCM over the key's own record, so nothing has to be stored or pushed when one is handed out: a
process that knows the seal key can open it. The router builds the same ring from the routing table.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kedge import errors
from kedge.identity.records import AccessKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_TOKEN_CHARS = 4096
_PURPOSE = b"kedge session token 1"
"""Bound into the seal, so that nothing else sealed with the key is taken for a token."""
_NONCE_BYTES = 12
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class KeyRing:
    """Looks keys up. Remembers at most `limit` opened tokens. `find` is for one thread; any may `seal`."""

    def __init__(self, keys: Iterable[AccessKey], seal_key: bytes, limit: int = 1024) -> None:
        self._keys = {key.access_key_id: key for key in keys}
        self._seal_key = seal_key
        self._limit = limit
        self._opened: dict[str, AccessKey] = {}
        self._cipher: AESGCM | None = None

    def find(self, access_key_id: str, session_token: str | None, now: datetime) -> AccessKey:
        """Raises UnknownAccessKey, or ExpiredToken when the key's time is over."""
        if session_token is None:
            key = self._keys.get(access_key_id)
        else:
            key = self._open(session_token)
            if key is not None and key.access_key_id != access_key_id:
                key = None
        if key is None:
            raise errors.UnknownAccessKey("The security token included in the request is invalid.")
        if key.expires_at is not None and key.expires_at <= now:
            raise errors.ExpiredToken("The security token included in the request is expired")
        return key

    def seal(self, account: str, arn: str, user_id: str, expires_at: datetime) -> tuple[str, str, str]:
        """A new temporary key: (access key id, secret, session token)."""
        access_key_id = "ASIA" + "".join(secrets.choice(_BASE32) for _ in range(16))
        secret = secrets.token_urlsafe(30)
        record = [access_key_id, secret, account, arn, user_id, expires_at.timestamp()]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._aes().encrypt(nonce, json.dumps(record, separators=(",", ":")).encode(), _PURPOSE)
        return access_key_id, secret, base64.b64encode(nonce + sealed).decode()

    def _open(self, token: str) -> AccessKey | None:
        known = self._opened.get(token)
        if known is not None or len(token) > MAX_TOKEN_CHARS:
            return known
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.b64decode(token, validate=True)
            opened = self._aes().decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _PURPOSE)
        except (binascii.Error, ValueError, InvalidTag):
            return None
        access_key_id, secret, account, arn, user_id, expires_s = json.loads(opened)
        key = AccessKey(access_key_id, secret, account, arn, user_id, datetime.fromtimestamp(expires_s, UTC))
        if len(self._opened) >= self._limit:
            del self._opened[next(iter(self._opened))]
        self._opened[token] = key
        return key

    def _aes(self) -> AESGCM:
        # Imported at the first temporary key: a router that sees none starts faster without it.
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._cipher = AESGCM(self._seal_key)
        return self._cipher
