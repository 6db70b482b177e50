"""What lets an instance ask control for the credentials of its model's execution role. PURE."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

_PURPOSE = b"kedge instance credentials 1"


@dataclass(frozen=True)
class Grant:
    """That this task may have credentials of this role."""

    task: str
    role_arn: str


def grant(seal_key: bytes, given: Grant) -> str:
    """The text that proves it to whoever has the same key."""
    payload = json.dumps(asdict(given), separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_seal(seal_key, payload) + payload).decode()


def granted(seal_key: bytes, text: str) -> Grant | None:
    """None when it was not written with this key."""
    try:
        data = base64.urlsafe_b64decode(text.encode())
    except (binascii.Error, ValueError):
        return None
    seal, payload = data[:32], data[32:]
    if not hmac.compare_digest(seal, _seal(seal_key, payload)):
        return None
    return Grant(**json.loads(payload))


def _seal(seal_key: bytes, payload: bytes) -> bytes:
    return hmac.digest(seal_key, _PURPOSE + payload, hashlib.sha256)
