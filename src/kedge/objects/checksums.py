"""Checksums of an object made of parts. PURE.

A COMPOSITE checksum is the algorithm over the parts' raw checksums, then "-" and their number. A FULL_OBJECT checksum
is that of the whole body; for a CRC it follows from the parts' CRCs and sizes without reading the body again.
Source: "Checking object integrity" in the S3 user guide; the CRC algebra is that of zlib's crc32_combine.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache

from kedge.wire import checksums

_CRC = {  # name: width in bits, polynomial with its bits reflected
    "CRC32": (32, 0xEDB88320),
    "CRC32C": (32, 0x82F63B78),
    "CRC64NVME": (64, 0x9A6C9329AC4BC9B5),
}
TYPES = {
    "CRC32": ("COMPOSITE", "FULL_OBJECT"),
    "CRC32C": ("COMPOSITE", "FULL_OBJECT"),
    "CRC64NVME": ("FULL_OBJECT",),
    "SHA1": ("COMPOSITE",),
    "SHA256": ("COMPOSITE",),
}
"""Types that an algorithm can have in a multipart upload; the first is the default."""


def of_parts(algorithm: str, kind: str, parts: Sequence[tuple[str, int]]) -> str:
    """The checksum of an object. parts: (base64 checksum, size in bytes) of each part, in order; at least one.

    Raises ValueError for a kind that the algorithm does not have.
    """
    if kind not in TYPES[algorithm]:
        raise ValueError(f"{algorithm} has no checksum of type {kind}")
    raw = [base64.b64decode(checksum) for checksum, _ in parts]
    if kind == "COMPOSITE":
        over_all = checksums.new(algorithm)
        over_all.update(b"".join(raw))
        return f"{_text(over_all.digest())}-{len(parts)}"
    width, _ = _CRC[algorithm]
    total = int.from_bytes(raw[0], "big")
    for part, (_, size) in zip(raw[1:], parts[1:], strict=True):
        total = _times(algorithm, _shift(algorithm, size), total) ^ int.from_bytes(part, "big")
    return _text(total.to_bytes(width // 8, "big"))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _times(algorithm: str, a: int, b: int) -> int:
    """a * b modulo the polynomial; the highest bit is the coefficient of x**0."""
    width, polynomial = _CRC[algorithm]
    bit, product = 1 << (width - 1), 0
    while bit:
        if a & bit:
            product ^= b
        b = (b >> 1) ^ (polynomial if b & 1 else 0)
        bit >>= 1
    return product


@lru_cache(maxsize=64)  # the parts of an upload have one size, the last one excepted
def _shift(algorithm: str, size: int) -> int:
    """x ** (8 * size): what `size` further bytes do to a CRC."""
    width, _ = _CRC[algorithm]
    power, factor, count = 1 << (width - 1), 1 << (width - 2), 8 * size
    while count:
        if count & 1:
            power = _times(algorithm, factor, power)
        factor = _times(algorithm, factor, factor)
        count >>= 1
    return power
