"""What others than endpoints have of the instances and of the cache of model data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Others:
    busy: Callable[[], frozenset[str]] = frozenset
    """Instances of endpoints that have to stay: they are at work of which no router knows."""
    artifacts: Callable[[], frozenset[str]] = frozenset
    """Hashes of model data in the cache that is still needed."""
    fetching: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by who brings model data into the cache, and by who clears it."""
