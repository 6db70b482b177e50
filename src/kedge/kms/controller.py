"""What happens to keys by itself: deletion when its day has come, and yearly rotation."""

from __future__ import annotations

import asyncio
import logging

from kedge.clock import Clock
from kedge.kms import records
from kedge.kms.keystore import KeyStore
from kedge.store.records import Author
from kedge.store.store import Store

PERIOD_S = 60.0

log = logging.getLogger(__name__)


async def step(store: Store, keys: KeyStore, clock: Clock) -> None:
    """Whatever is due. Each key is one transaction that asks again, so two processes do not do a thing twice."""
    await asyncio.to_thread(_step, store, keys, clock)


def _step(store: Store, keys: KeyStore, clock: Clock) -> None:
    now = clock.now()
    for found in store.list(None, records.KEY).items:
        if not records.due(found, now):
            continue
        with store.transaction(Author("kedge", "key schedule", now)) as tx:
            key = tx.get(found.scope, records.KEY, found.name)
            what = records.due(key, now) if key is not None else ""
            if key is not None and what == "delete":
                keys.destroy(tx, key)
            elif key is not None and what == "rotate":
                keys.rotate(tx, key, now, "AUTOMATIC")
        if what:
            log.info("%s %s", {"delete": "deleted", "rotate": "rotated"}[what], records.key_arn(found))
