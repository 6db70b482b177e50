"""C, which only the compiled core has: native.c, built by scripts/build-core."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

def read_head(data: bytes, /) -> tuple[str, str, str, dict[str, str], bytes] | None:
    """As kedge.serving.head.parse, or None where that has to look."""

def signer(known: Mapping[str, tuple[bytes, T]], path: str, headers: Mapping[str, str], body: bytes, /) -> T | None:
    """The value of the credential in `known` whose key has signed a POST without a query; None where
    kedge.wire.sigv4.verify has to look. known: by credential, with what key_halves makes of its signing key.
    """

def key_halves(key: bytes, /) -> bytes:
    """SHA-256 of the key as an HMAC pads it, inner and outer (RFC 2104)."""
