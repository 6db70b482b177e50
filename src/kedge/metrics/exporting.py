"""Pushes the series to an OpenTelemetry collector: every few seconds, one POST of OTLP as protobuf.

A push that fails is not kept: counters are cumulative, so the next one that arrives tells what the lost one would have.

Source: OpenTelemetry Protocol 1.x, "OTLP/HTTP": paths, retryable codes, Retry-After.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from kedge import __version__
from kedge.clock import Clock
from kedge.metrics import otlp
from kedge.metrics.exposition import Family
from kedge.serving.http_client import AnswerTooLarge, BrokenAnswer, Client, Reply, Stream

PERIOD_S = 10.0
TIMEOUT_S = 10.0
LONGEST_PAUSE_S = 60.0
LONGEST_ASKED_PAUSE_S = 600.0
LAST_PUSH_S = 2.0
"""What the last push may take, while the process ends."""
LARGEST_ANSWER_BYTES = 1024 * 1024
_RETRYABLE = (429, 502, 503, 504)

log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    problem: str = ""
    """Why it was not taken; "" if it was."""
    retryable: bool = True
    """Whether the same may be taken soon: not where the collector says that it is the request's fault."""
    asked_s: float | None = None
    """The pause for which the collector asked."""


class Exporting:
    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        instance: str,
        clock: Clock,
        families: Callable[[], Awaitable[list[Family]]],
    ) -> None:
        """endpoint: the collector's URL; /v1/metrics is added to it. instance: what tells this server from others."""
        self.url = f"{endpoint.rstrip('/')}/v1/metrics"
        self._parts = urlsplit(self.url)
        self._headers = {"Content-Type": otlp.CONTENT_TYPE, "User-Agent": f"kedge/{__version__}", **headers}
        self._resource = {"service.name": "kedge", "service.version": __version__, "service.instance.id": instance}
        self._clock, self._families = clock, families
        self._starts = otlp.Starts(self._now_ns())
        self._client = Client(self._connect, self._parts.netloc)
        self._context: ssl.SSLContext | None = None
        self._failures = 0
        self._said = ""

    async def step(self) -> float:
        """One push. Returns after how many seconds the next one is due."""
        outcome = await self._push(TIMEOUT_S)
        if not outcome.problem:
            self._failures = 0
            return PERIOD_S
        self._failures += 1
        return pause_s(outcome, self._failures, random.random())

    async def close(self) -> None:
        """What was counted since the last push is told, where the collector took that one."""
        if not self._failures:
            await self._push(LAST_PUSH_S)
        self._client.close()

    async def _push(self, within_s: float) -> Outcome:
        families, at_ns = await self._families(), self._now_ns()
        since_ns = self._starts.look(families, at_ns)
        body = await asyncio.to_thread(otlp.request, families, since_ns, self._resource, at_ns)
        try:
            async with asyncio.timeout(within_s):
                reply = await self._client.ask("POST", self._parts.path, self._headers, body, LARGEST_ANSWER_BYTES)
        except TimeoutError:
            outcome = Outcome(f"no answer within {within_s:g} s")
        except AnswerTooLarge:
            outcome = Outcome(f"an answer of more than {LARGEST_ANSWER_BYTES} bytes", retryable=False)
        except (OSError, BrokenAnswer) as error:
            outcome = Outcome(str(error) or type(error).__name__)
        else:
            outcome = outcome_of(reply)
            if not outcome.problem:
                self._say(otlp.rejected(reply.body))
                return outcome
        self._say(outcome.problem)
        return outcome

    def _say(self, problem: str) -> None:
        """Once, not with every push."""
        if problem and problem != self._said:
            log.warning("metrics pushed to %s: %s", self.url, problem)
        elif self._said and not problem:
            log.info("metrics pushed to %s are taken again", self.url)
        self._said = problem

    async def _connect(self) -> Stream:
        """Raises OSError."""
        https = self._parts.scheme == "https"
        if https and self._context is None:
            # Reading the system's authorities takes some milliseconds.
            self._context = await asyncio.to_thread(ssl.create_default_context)
        port = self._parts.port or (443 if https else 80)
        return await asyncio.open_connection(self._parts.hostname, port, ssl=self._context)

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1e6) * 1000


def outcome_of(reply: Reply) -> Outcome:
    if 200 <= reply.status < 300:
        return Outcome()
    asked = reply.headers.get("retry-after", "")
    return Outcome(f"status {reply.status}", reply.status in _RETRYABLE, float(asked) if asked.isdecimal() else None)


def pause_s(outcome: Outcome, failures: int, spread: float) -> float:
    """Before the next push, after so many failures in a row. spread: 0 to 1, so that not all servers come at once."""
    if outcome.asked_s is not None:
        return min(max(1.0, outcome.asked_s), LONGEST_ASKED_PAUSE_S)
    longest_s = LONGEST_PAUSE_S if not outcome.retryable else min(LONGEST_PAUSE_S, 2.0 ** min(failures, 10))
    return longest_s * (0.5 + spread / 2)
