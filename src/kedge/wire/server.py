"""uvicorn's server, which wakes up ten times a second to see whether it should end: here it is told."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import FrameType

import uvicorn

TICK_S = 1.0
"""How often the Date header is written anew."""


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        # What is due every tenth tick of uvicorn's own is due at every one of these.
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), TICK_S)

    def end(self) -> None:
        """Answer what is there, then return from `serve`. From the loop's thread."""
        self.should_exit = True
        self._ending.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
