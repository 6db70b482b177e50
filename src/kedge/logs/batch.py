"""The rules of one PutLogEvents: what is refused as a whole, and which of its events are not taken. PURE."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kedge.errors import InvalidParameter

MOST_BYTES = 1_048_576
EVENT_BYTES = 26
"""What each event counts beside its text."""
LONGEST_MS = 86_400_000
AHEAD_MS = 2 * 3_600_000
OLDEST_MS = 14 * 86_400_000


@dataclass(frozen=True)
class Taken:
    """Which events are taken, by their places in the batch; the rest is told of by `rejected`."""

    first: int
    end: int
    rejected: dict[str, int]


def check(at_ms: Sequence[int], messages: Sequence[str]) -> None:
    """Raises InvalidParameter."""
    size = EVENT_BYTES * len(messages) + sum(
        len(text) if text.isascii() else len(text.encode(errors="replace")) for text in messages
    )
    if size > MOST_BYTES:
        raise InvalidParameter(f"Upload too large: {size} bytes exceeds limit of {MOST_BYTES}")
    if any(before > after for before, after in pairwise(at_ms)):
        raise InvalidParameter("Log events in a single PutLogEvents request must be in chronological order.")
    if at_ms[-1] - at_ms[0] > LONGEST_MS:
        raise InvalidParameter(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
        )


def taken(at_ms: Sequence[int], now_ms: int, expired_ms: int) -> Taken:
    """at_ms: in order. expired_ms: events before are older than the group keeps them."""
    too_old = bisect_left(at_ms, now_ms - OLDEST_MS)
    expired = bisect_left(at_ms, expired_ms)
    too_new = bisect_right(at_ms, now_ms + AHEAD_MS)
    rejected = {}
    if too_new < len(at_ms):
        rejected["tooNewLogEventStartIndex"] = too_new
    if too_old:
        rejected["tooOldLogEventEndIndex"] = too_old
    if expired:
        rejected["expiredLogEventEndIndex"] = expired
    return Taken(max(too_old, expired), too_new, rejected)
