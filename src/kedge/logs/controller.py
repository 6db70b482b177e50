"""What becomes of the log store by itself: what a group keeps no longer is erased, small blocks become large ones."""

from __future__ import annotations

import asyncio
from datetime import datetime

from kedge.logs.records import KIND, Group
from kedge.logs.store import LogStore
from kedge.store.store import Store

PERIOD_S = 5.0
ERASE_EVERY_S = 300
"""Expired events are invisible at once; this is when the disk gets their room back."""


async def step(logs: LogStore, store: Store, now: datetime) -> None:
    await asyncio.to_thread(_step, logs, store, now)


def _step(logs: LogStore, store: Store, now: datetime) -> None:
    logs.flush()
    while logs.join():
        pass
    if int(now.timestamp()) % ERASE_EVERY_S < PERIOD_S:
        erase(logs, store, now)


def erase(logs: LogStore, store: Store, now: datetime) -> None:
    """What is expired, and what groups have left that are not there any more."""
    # In this order: a group is in the resource store before anything of it is in the log store.
    known = logs.groups()
    groups = {each.id: Group.of(each) for each in store.list(None, KIND).items}
    for number in known - groups.keys():
        logs.delete_group(number)
    for number in known & groups.keys():
        if expired_ms := groups[number].expired_ms(now):
            logs.expire(number, expired_ms)
    logs.erase_deleted()
