"""One page of a listing with prefix and delimiter. PURE: the rows come from a function that seeks.

Keys are compared as the bytes of their UTF-8, as S3 does. A run of keys that share a common prefix is left by seeking
past it, so a page costs what it shows and not what it hides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

_STEPS_BEFORE_SEEK = 16
"""Rows of one common prefix that are stepped over before a seek is cheaper."""


class Keyed(Protocol):
    @property
    def key(self) -> str: ...


Row = TypeVar("Row", bound=Keyed)


@dataclass(frozen=True)
class Page(Generic[Row]):
    rows: list[Row]
    common_prefixes: list[str]
    truncated: bool
    last: str
    """The key or common prefix after which the next page begins; "" for an empty page."""


def start_after(prefix: str, delimiter: str, after: str | None) -> bytes | None:
    """Where the page behind `after` begins: at the first key >= the result; None: at no key at all.

    An `after` within a common prefix is behind that whole prefix.
    """
    first = prefix.encode()
    if after is None:
        return first
    rolled = _common_prefix(after.encode(), first, delimiter.encode())
    following = _successor(rolled) if rolled else after.encode() + b"\0"
    return None if following is None else max(first, following)


def page(
    scan: Callable[[bytes], Iterator[Row]], start: bytes | None, prefix: str, delimiter: str, limit: int
) -> Page[Row]:
    """At most `limit` rows and common prefixes. scan(start): rows with key >= start, in order, read when needed."""
    rows: list[Row] = []
    rolled_up: list[str] = []
    last = ""
    raw_prefix, raw_delimiter = prefix.encode(), delimiter.encode()
    while start is not None and limit > 0:
        current, steps, seek = b"", 0, False
        for row in scan(start):
            key = row.key.encode()
            if not key.startswith(raw_prefix):
                break
            rolled = _common_prefix(key, raw_prefix, raw_delimiter)
            if rolled and rolled == current:
                steps += 1
                if steps >= _STEPS_BEFORE_SEEK:
                    seek = True
                    break
                continue
            if len(rows) + len(rolled_up) == limit:
                return Page(rows, rolled_up, True, last)
            current, steps = rolled, 0
            if rolled:
                last = rolled.decode()
                rolled_up.append(last)
            else:
                last = row.key
                rows.append(row)
        start = _successor(current) if seek else None
    return Page(rows, rolled_up, False, last)


def _common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """`key` up to and with the first delimiter behind the prefix; b"" when it is listed by itself."""
    if not delimiter or not key.startswith(prefix):
        return b""
    at = key.find(delimiter, len(prefix))
    return key[: at + len(delimiter)] if at >= 0 else b""


def _successor(prefix: bytes) -> bytes | None:
    """The first bytes behind everything that starts with `prefix`; None when there are none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
