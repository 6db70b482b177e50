"""Keeps the store from growing for ever, a little at a time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from kedge.clock import Clock
from kedge.store.store import Store

PERIOD_S = 3600.0
KEEP_EVENTS = timedelta(days=1)
"""Nothing delivers events yet: what is older than this is dropped, delivered or not."""
PAUSE_S = 0.05
"""Between two batches, so that those who wait for the write lock get it."""


async def prune(store: Store, history: timedelta, clock: Clock) -> None:
    """Delete the history older than `history` and the events older than KEEP_EVENTS."""
    while await asyncio.to_thread(store.prune, clock.now(), history=history, events=KEEP_EVENTS):
        await clock.sleep(PAUSE_S)
