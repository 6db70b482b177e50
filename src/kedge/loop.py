"""Run a step again and again: soon after a change, and every period in any case."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from kedge.clock import Clock
from kedge.errors import ServiceError
from kedge.store.records import LeaseLost

log = logging.getLogger(__name__)

REST_S = 10.0
"""When a step whose work is done is due again: only what happened without a sign waits for it."""
SHARED_REST_S = 5.0
"""The same where other nodes commit to the store too, of which there is no sign."""


class Signal:
    """Wakes those who wait for a change. Any thread may call `notify`; waiting is for the loop's own tasks."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self.count = 0
        """How often it was notified. Read it before looking at the state, pass it to `changed_since`."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def notify(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self.count += 1
        woken, self._event = self._event, asyncio.Event()
        woken.set()

    async def changed_since(self, count: int, timeout_s: float) -> bool:
        """True as soon as `notify` has been called after `count` was read; False after timeout_s without."""
        if self.count != count:
            return True
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


class Shareable(Protocol):
    """What store/store.py offers."""

    @property
    def is_shared(self) -> bool: ...


def rest_s(store: Shareable) -> float:
    """For a step that a commit wakes."""
    return SHARED_REST_S if store.is_shared else REST_S


class Lease(Protocol):
    """What store/lease.py offers: of all processes with one store, one holds it."""

    ttl_s: float

    @property
    def held(self) -> tuple[str, int] | None:
        """(name, token) to guard transactions with; None without the lease."""

    def hold(self) -> bool:
        """Renew it or try to take it, in a thread; True when it was just taken."""

    def on_taken(self, callback: Callable[[], None], /) -> None:
        """Call it each time that it was taken."""


def run_on_fastest_loop(main: Coroutine[Any, Any, None]) -> None:
    """The whole life of a process: uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    uvloop.run(main)


async def run(
    name: str,
    step: Callable[[], Awaitable[float | None]],
    wake: Signal,
    clock: Clock,
    *,
    period_s: float = 1.0,
    longest_back_off_s: float = 30.0,
) -> None:
    """Step for ever; a step that raises is logged and tried again after a growing pause.

    A step may say itself after how many seconds the next one is due at the latest, when nothing wakes it before.
    """
    pause_s = 0.0
    while True:
        seen = wake.count
        try:
            due_s = await step()
            pause_s = 0.0
        except Exception as error:
            pause_s = min(longest_back_off_s, max(0.1, pause_s * 2))
            # Where a store is not available, such as on a full disk, what it says is all there is to know.
            trace = not isinstance(error, ServiceError | sqlite3.OperationalError)
            log.error("%s: step failed: %s; next try in %.1f s", name, error, pause_s, exc_info=trace)
            await clock.sleep(pause_s)
            continue
        await wake.changed_since(seen, period_s if due_s is None else due_s)


async def keep(lease: Lease, clock: Clock) -> None:
    """For ever: take the lease and renew it, three times in its life."""
    while True:
        try:
            await asyncio.to_thread(lease.hold)
        except ServiceError as error:
            log.warning("a lease could not be renewed: %s", error)
        await clock.sleep(lease.ttl_s / 3)


async def with_lease(lease: Lease, step: Callable[[tuple[str, int]], Awaitable[float | None]]) -> float | None:
    """Step, given what guards its transactions; without the lease do nothing. A step that loses it ends quietly."""
    held = lease.held
    if held is None:
        return None
    try:
        return await step(held)
    except LeaseLost as lost:
        log.info("%s; the step ends here", lost)
        await asyncio.to_thread(lease.hold)  # so that the next step begins only if it may
        return None
