"""Compares what production and shadows answered, and reports it as routers report what they count.

It lives in the capture process and does nothing until a router has a pair. Each second's findings go to control by a
report of its own, which is stored once however often it is sent; while control is away they wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import cast

from kedge.clock import Clock
from kedge.home import Home
from kedge.serving.meter import Told, VariantPlace
from kedge.serving.reports import Reporter
from kedge.shadowing.pairs import BadPair, Decoder, Pair
from kedge.shadowing.tally import MINUTES, Tally

REPORT_S = 0.5
"""How long an ending process waits until control has what was compared last."""

log = logging.getLogger(__name__)


class Comparer:
    """Everything happens on the loop's thread."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self._home, self._clock = home, clock
        self._tallies: dict[VariantPlace, Tally] = {}
        self._reporter: Reporter | None = None
        self._reporting: asyncio.Task[None] | None = None

    def take(self, pairs: list[Pair]) -> None:
        if self._reporter is None:
            self._reporter = Reporter(self._clock, os.urandom(8).hex(), told=self._roll)
            self._reporting = asyncio.create_task(self._reporter.run(self._home.report_socket))
        second = self._second()
        for pair in pairs:
            tally = self._tallies.get(pair.shadow)
            if tally is None or tally.generation != pair.generation:
                tally = self._tallies[pair.shadow] = Tally(pair.shadow, pair.generation)
            try:
                tally.add(pair, second)
            except (RecursionError, OverflowError) as error:
                log.warning("answers of %s/%s were not compared: %r", pair.shadow.endpoint, pair.shadow.variant, error)
        self._reporter.arrival()

    async def close(self) -> None:
        if self._reporter is not None and self._reporting is not None:
            await self._reporter.drain(REPORT_S)
            self._reporting.cancel()
            await asyncio.gather(self._reporting, return_exceptions=True)

    def _roll(self) -> list[Told]:
        second = self._second()
        found = [told for tally in self._tallies.values() for told in tally.roll(second)]
        self._tallies = {p: each for p, each in self._tallies.items() if each.last_second > second - 60 * MINUTES}
        return found

    def _second(self) -> int:
        return int(self._clock.now().timestamp())


class FromRouter(asyncio.Protocol):
    """One router's connection."""

    def __init__(self, comparer: Comparer) -> None:
        self._comparer = comparer
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            pairs = self._decoder.feed(data)
        except BadPair as error:
            log.error("a router's connection is closed: %s", error)
            with suppress(AttributeError):
                cast(asyncio.Transport, self._transport).close()
            return
        if pairs:
            self._comparer.take(pairs)
