"""Run a step again and again: soon after a change, and every period in any case."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from kedge.clock import Clock

log = logging.getLogger(__name__)


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


async def run(
    name: str,
    step: Callable[[], Awaitable[None]],
    wake: Signal,
    clock: Clock,
    *,
    period_s: float = 1.0,
    longest_back_off_s: float = 30.0,
) -> None:
    """Step for ever; a step that raises is logged and tried again after a growing pause."""
    pause_s = 0.0
    while True:
        seen = wake.count
        try:
            await step()
            pause_s = 0.0
        except Exception:
            pause_s = min(longest_back_off_s, max(0.1, pause_s * 2))
            log.exception("%s: step failed; next try in %.1f s", name, pause_s)
            await clock.sleep(pause_s)
            continue
        await wake.changed_since(seen, period_s)
