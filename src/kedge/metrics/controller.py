"""What happens to metrics by itself: what is finished is rolled up, what is too old is forgotten."""

from __future__ import annotations

import asyncio

from kedge.metrics.store import MetricStore

PERIOD_S = 5.0
_PAUSE_S = 0.02
"""Between two steps: whoever puts or reads comes first."""


async def keep_house(store: MetricStore) -> float | None:
    """One short step, and when the next is due."""
    more = await asyncio.to_thread(store.keep_house)
    return _PAUSE_S if more else None
