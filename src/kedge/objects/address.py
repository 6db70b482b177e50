"""s3:// addresses. PURE."""

from __future__ import annotations

LONGEST_KEY_BYTES = 1024


def parse(uri: str) -> tuple[str, str]:
    """(bucket, key); the key may be empty. Raises ValueError, whose text ends a sentence about the address."""
    # A key may hold "?" and "#", which a URL parser would cut off.
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise ValueError("it has to be s3://BUCKET or s3://BUCKET/KEY")
    if len(key.encode()) > LONGEST_KEY_BYTES:
        raise ValueError(f"its key is longer than {LONGEST_KEY_BYTES} bytes")
    return bucket, key


def below(uri: str, *parts: str) -> str:
    """The address of an object below a prefix; empty parts are left out."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts if part.strip("/"))])
