"""Bytes from the capture process to that of the minutes. PURE.

u32 length of what follows | u8 kind | ...

RECORDS    JSON of [account, region, endpoint, variant, records that were missed before], a line | lines of records
FORGET     drop everything
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import NamedTuple

RECORDS, FORGET = 1, 2
MOST_BYTES = 2**31
HEAD = struct.Struct("<IB")


class BadFrame(ValueError):
    """The peer is no capture process of this release."""


class VariantKey(NamedTuple):
    account: str
    region: str
    endpoint: str
    variant: str


class Records(NamedTuple):
    """missed: how many records of the variant were not handed on since the last ones."""

    variant: VariantKey
    missed: int
    lines: list[bytes]


def records(variant: VariantKey, missed: int, lines: Sequence[bytes]) -> bytes:
    """lines: each with its end."""
    body = json.dumps([*variant, missed]).encode() + b"\n" + b"".join(lines)
    return HEAD.pack(len(body) + 1, RECORDS) + body


def forget() -> bytes:
    return HEAD.pack(1, FORGET)


def body_bytes(head: bytes) -> tuple[int, int]:
    """(kind, how many bytes follow). head: HEAD.size bytes. Raises BadFrame."""
    length, kind = HEAD.unpack(head)
    if kind not in (RECORDS, FORGET) or not 1 <= length <= MOST_BYTES:
        raise BadFrame(f"a frame of kind {kind} and {length} bytes")
    return kind, length - 1


def read(body: bytes) -> Records:
    """Of RECORDS. Raises BadFrame."""
    head, _, lines = body.partition(b"\n")
    try:
        account, region, endpoint, variant, missed = json.loads(head)
        return Records(VariantKey(account, region, endpoint, variant), int(missed), lines.splitlines(keepends=True))
    except (ValueError, TypeError) as error:
        raise BadFrame(f"a frame that cannot be read: {error!r}") from error
