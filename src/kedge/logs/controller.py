"""What becomes of the log store by itself: small blocks become large ones, what a group keeps no longer is erased."""

from __future__ import annotations

from datetime import datetime

from kedge.logs.records import KIND, Group
from kedge.logs.store import LogStore
from kedge.store.store import Store

KEEP_EVERY_S = 5.0
"""Also how much a loss of power takes."""
ERASE_EVERY_S = 300.0
"""Expired events are invisible at once; this is when the disk gets their room back."""


def keep(logs: LogStore) -> None:
    """Flush, and join blocks. Blocks the thread."""
    logs.flush()
    while logs.join():
        pass


def erase(logs: LogStore, store: Store, now: datetime) -> None:
    """What is expired, and what groups have left that are not there any more. Blocks the thread."""
    # In this order: a group is in the resource store before anything of it is in the log store.
    known = logs.groups()
    groups = {each.id: Group.of(each) for each in store.list(None, KIND).items}
    for number in known - groups.keys():
        logs.delete_group(number)
    for number in known & groups.keys():
        if expired_ms := groups[number].expired_ms(now):
            logs.expire(number, expired_ms)
    logs.erase_deleted()
