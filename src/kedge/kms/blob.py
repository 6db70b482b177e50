"""A ciphertext that KMS hands out: it names its key and version, so that opening it needs no other word. PURE.

    format (1 byte, 1) | key id (16) | version of the material (4, big endian) | what kedge.kms.aead made

Bound to it: those first 21 bytes and the encryption context.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

FORMAT = 1
_HEAD_BYTES = 21


@dataclass(frozen=True)
class Blob:
    key_id: str
    version: int
    sealed: bytes

    @property
    def head(self) -> bytes:
        return bytes([FORMAT]) + uuid.UUID(self.key_id).bytes + self.version.to_bytes(4, "big")

    def encode(self) -> bytes:
        return self.head + self.sealed


def decode(data: bytes) -> Blob | None:
    """None for what is no ciphertext of ours."""
    if len(data) <= _HEAD_BYTES or data[0] != FORMAT:
        return None
    return Blob(str(uuid.UUID(bytes=data[1:17])), int.from_bytes(data[17:_HEAD_BYTES], "big"), data[_HEAD_BYTES:])


def bound(blob: Blob, context: Mapping[str, str]) -> bytes:
    """What has to be the same to open it. The order of a context's pairs does not matter."""
    return blob.head + json.dumps(sorted(context.items()), separators=(",", ":")).encode()
