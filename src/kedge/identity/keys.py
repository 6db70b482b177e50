"""Access keys: those that are known, and temporary ones that carry all that is known of them in a sealed token.

A session token is AES-GCM over the key's own record, so nothing has to be stored or pushed when one is handed out: a
process that knows the seal key can open it. The router builds the same ring from the routing table. Secrets of users'
keys are sealed by the same key before they are stored, for signatures cannot be verified with a mere hash of them.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kedge import errors
from kedge.identity.records import AccessKey, Session

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_TOKEN_CHARS = 4096
_PURPOSE = b"kedge session token 2"
"""Bound into the seal, so that nothing else sealed with the key is taken for a token."""
_SECRET_PURPOSE = b"kedge access key 1 "
_NONCE_BYTES = 12
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_NO_SESSION = Session()
_INVALID = "The security token included in the request is invalid."


class TokenTooLarge(Exception):
    """What a session is to carry does not fit into a token. chars: how many it would have."""

    def __init__(self, chars: int) -> None:
        super().__init__(f"{chars} characters; a token has at most {MAX_TOKEN_CHARS}")
        self.chars = chars


class KeyRing:
    """Looks keys up. Remembers at most `limit` opened tokens. `find` is for one thread; any may do the rest."""

    def __init__(self, keys: Iterable[AccessKey], seal_key: bytes, limit: int = 1024) -> None:
        self._keys = {key.access_key_id: key for key in keys}
        self._seal_key = seal_key
        self._limit = limit
        self._opened: dict[str, AccessKey] = {}
        self._cipher: AESGCM | None = None

    def replace(self, keys: Iterable[AccessKey]) -> None:
        """Know these lasting keys and no others."""
        self._keys = {key.access_key_id: key for key in keys}

    def find(self, access_key_id: str, session_token: str | None, now: datetime) -> AccessKey:
        """Raises UnknownAccessKey, its kind UnknownToken, or ExpiredToken when the key's time is over."""
        if session_token is None:
            key = self._keys.get(access_key_id)
            if key is None:
                raise unknown_key()
        else:
            key = self._open(session_token)
            if key is None or key.access_key_id != access_key_id:
                raise errors.UnknownToken(_INVALID)
        if key.expires_at is not None and key.expires_at <= now:
            raise errors.ExpiredToken("The security token included in the request is expired")
        return key

    def seal(
        self, account: str, arn: str, user_id: str, expires_at: datetime, session: Session = _NO_SESSION
    ) -> tuple[str, str, str]:
        """A new temporary key: (access key id, secret, session token). Raises TokenTooLarge."""
        access_key_id = "ASIA" + random_id(16)
        secret = new_secret()
        agreed = [
            session.issued_s,
            session.principal_id or user_id.partition(":")[0],
            session.policies,
            session.policy_arns,
            session.limited,
            dict(session.tags),
            session.transitive,
            session.source_identity,
        ]
        record = [access_key_id, secret, account, arn, user_id, expires_at.timestamp(), agreed]
        packed = zlib.compress(json.dumps(record, separators=(",", ":")).encode())
        nonce = secrets.token_bytes(_NONCE_BYTES)
        token = base64.b64encode(nonce + self._aes().encrypt(nonce, packed, _PURPOSE)).decode()
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenTooLarge(len(token))
        return access_key_id, secret, token

    def seal_secret(self, access_key_id: str, secret: str) -> str:
        """What may be stored of a secret; it opens for this key id alone."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._aes().encrypt(nonce, secret.encode(), _SECRET_PURPOSE + access_key_id.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open_secret(self, access_key_id: str, sealed: str) -> str | None:
        """None for what was not sealed for this key id with this seal key."""
        opened = self._decrypted(sealed, _SECRET_PURPOSE + access_key_id.encode())
        return None if opened is None else opened.decode()

    def _open(self, token: str) -> AccessKey | None:
        known = self._opened.get(token)
        if known is not None or len(token) > MAX_TOKEN_CHARS:
            return known
        opened = self._decrypted(token, _PURPOSE)
        if opened is None:
            return None
        access_key_id, secret, account, arn, user_id, expires_s, agreed = json.loads(zlib.decompress(opened))
        issued_s, principal_id, policies, policy_arns, limited, tags, transitive, source_identity = agreed
        session = Session(
            issued_s,
            principal_id,
            tuple(policies),
            tuple(policy_arns),
            limited,
            tags,
            tuple(transitive),
            source_identity,
        )
        expires_at = datetime.fromtimestamp(expires_s, UTC)
        key = AccessKey(access_key_id, secret, account, arn, user_id, expires_at, session)
        if len(self._opened) >= self._limit:
            del self._opened[next(iter(self._opened))]
        self._opened[token] = key
        return key

    def _decrypted(self, text: str, purpose: bytes) -> bytes | None:
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.b64decode(text, validate=True)
            return self._aes().decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], purpose)
        except (binascii.Error, ValueError, InvalidTag):
            return None

    def _aes(self) -> AESGCM:
        # Imported at the first temporary key: a router that sees none starts faster without it.
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._cipher = AESGCM(self._seal_key)
        return self._cipher


def unknown_key() -> errors.UnknownAccessKey:
    return errors.UnknownAccessKey(_INVALID)


def random_id(count: int) -> str:
    """Characters as AWS's unique ids have them."""
    return "".join(secrets.choice(_BASE32) for _ in range(count))


def new_secret() -> str:
    """40 characters."""
    return secrets.token_urlsafe(30)
