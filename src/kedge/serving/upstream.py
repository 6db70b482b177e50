"""The router's connection to one instance's worker: requests out as frames, answers back, many at once.

Only the loss of the connection says that an instance died; a slow one is not a dead one, and one that hangs ends itself
(`watch`). The connection is tried again for ever, at first after 10 ms, later every second, or every 50 ms while a
request waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from kedge.serving.asking import Streaming, Waiting, Wire
from kedge.serving.meter import Place
from kedge.serving.table import Instance

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.01
WAITED_FOR_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
MAX_OUTSTANDING = 10_000


class Upstream:
    """One instance as this router sees it. `on_change` is called whenever `ready` has changed."""

    def __init__(self, instance: Instance, place: Place, on_change: Callable[[Upstream], None]) -> None:
        self.instance = instance
        self.place = place
        """Under which its requests are counted."""
        self.ready = False
        self.suspect: object | None = None
        """The one request that is here alone, because an instance died with it in flight."""
        self.containers: set[str] = set()
        """Those that it has told the latency of."""
        self._on_change = on_change
        self._wire: Wire | None = None
        self._leaving = False
        self._hurry = False
        self._is_refused = False
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._stay_connected())

    @property
    def instance_id(self) -> str:
        return self.instance.id

    @property
    def outstanding(self) -> int:
        """Requests sent and not answered yet."""
        return len(self._wire.streams) if self._wire is not None else 0

    @property
    def joinable(self) -> bool:
        """Whether it answers several requests in one batch; only while `ready`."""
        return self._wire is not None and self._wire.joinable

    @property
    def tells_begun(self) -> bool:
        """Whether it says, where a request asks for that, when its model begins with it; only while `ready`."""
        return self._wire is not None and self._wire.tells_begun

    def send(
        self, waiting: Waiting, head: bytes, body: bytes, limit_bytes: int, streaming: Streaming | None = None
    ) -> int:
        """Send one request and return its stream. Only while `ready`. head: of `encoded_head`; the rest as Wire.send"""
        assert self._wire is not None
        return self._wire.send(waiting, head, body, limit_bytes, streaming)

    def credit(self, stream: int, count: int) -> None:
        """As Wire.credit."""
        if self._wire is not None:
            self._wire.credit(stream, count)

    def cancel(self, stream: int) -> None:
        """Nobody waits for this answer any more."""
        if self._wire is not None:
            self._wire.cancel(stream)

    def hurry(self, wanted: bool) -> None:
        """Whether a request waits for this instance."""
        if wanted and not self._hurry:
            self.retry_now()
        self._hurry = wanted

    def leave(self) -> None:
        """The table names it no more: take no new requests, finish those in flight, then close."""
        self._leaving = True
        self.ready = False
        self._wake.set()
        if self._wire is not None:
            self._wire.close_when_idle()

    async def close(self) -> None:
        self._leaving = True
        self._task.cancel()
        if self._wire is not None:
            self._wire.close()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while not self._leaving:
            try:
                _, wire = await loop.create_unix_connection(lambda: Wire(self), self.instance.socket)
            except OSError:
                pass  # it is starting, or starting again
            else:
                await wire.gone
                if wire.greeted:
                    pause_s = FIRST_PAUSE_S
            if self._leaving:
                return
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), pause_s)
            except TimeoutError:
                pause_s = min(pause_s * 2, WAITED_FOR_PAUSE_S if self._hurry else LONGEST_PAUSE_S)
            else:
                pause_s = FIRST_PAUSE_S

    def retry_now(self) -> None:
        """There is news: the instance may be there by now."""
        if not self.ready:
            self._wake.set()

    def now_connected(self, wire: Wire) -> None:
        self._wire = wire
        if self._leaving:
            wire.close()

    def now_ready(self) -> None:
        self._is_refused = False
        if not self._leaving and not self.ready:
            self.ready = True
            self._on_change(self)

    def now_ending(self) -> None:
        """It takes no more: whoever waits goes elsewhere, or waits for the one that comes after it."""
        if self.ready:
            self.ready = False
            self._on_change(self)

    def now_refused(self, why: str) -> None:
        if not self._is_refused:
            self._is_refused = True
            log.warning("instance %s is tried again until it takes this router: %s", self.instance.id, why)

    def now_lost(self) -> None:
        self._wire = None
        if self.ready:
            self.ready = False
            self._on_change(self)
