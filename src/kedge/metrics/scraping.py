"""Answers to whoever scrapes: on the API port through the gateway, and unsigned on a loopback port of its own.

The own port speaks as much HTTP as a scraper needs: one GET for each connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path

from kedge import __version__
from kedge.metrics import exposition
from kedge.metrics.exposition import Family
from kedge.metrics.platform import Served
from kedge.metrics.totals import Totals

PATH = "/metrics"
LOOPBACK = "127.0.0.1"
MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 32
ASKED_WITHIN_S = 10.0

log = logging.getLogger(__name__)


class Scraping:
    def __init__(
        self, totals: Totals, executor: Executor, served: Callable[[], Iterable[Served]], routers: Callable[[], int]
    ) -> None:
        """served: every variant that takes requests now; may block. routers: how many are connected."""
        self._totals, self._executor, self._served, self._routers = totals, executor, served, routers
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def answer(self, accept: str) -> tuple[str, bytes]:
        """(content type, body)."""
        form = exposition.content_type(accept)
        return form, exposition.written(await self.families(), form)

    async def families(self) -> list[Family]:
        """As it is now; what is counted from now on does not change it."""
        served = await asyncio.get_running_loop().run_in_executor(self._executor, lambda: list(self._served()))
        return [*self._totals.families(each.place for each in served), *_own(self._routers())]

    async def listen(self, port: int) -> None:
        """Raises OSError."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, port, limit=MAX_HEAD_BYTES)

    @property
    def port(self) -> int:
        """On which it listens; 0 when it does not."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else 0

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(ASKED_WITHIN_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._response(head))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
            pass  # it asked for nothing that could be answered
        finally:
            self._connections -= 1
            writer.close()

    async def _response(self, head: bytes) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, _, target = first.partition(" ")
        accept = next((v.strip() for n, _, v in (each.partition(":") for each in lines) if n.lower() == "accept"), "")
        if method not in ("GET", "HEAD") or target.split(" ")[0].partition("?")[0] != PATH:
            return _http("404 Not Found", "text/plain", f"GET {PATH} is all that there is.\n".encode())
        form, body = await self.answer(accept)
        return _http("200 OK", form, body, head_only=method == "HEAD")


def _http(status: str, form: str, body: bytes, *, head_only: bool = False) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {form}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + (b"" if head_only else body)


def _own(routers: int) -> list[Family]:
    """Of the control process itself, by the names that client libraries of Prometheus give."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    families = [
        Family("kedge_build_info", "gauge", "Always 1; which release this is.", [({"version": __version__}, 1)]),
        Family("kedge_routers", "gauge", "Routers that are connected.", [({}, routers)]),
        Family("process_cpu_seconds", "counter", "Of the control process.", [({}, used.ru_utime + used.ru_stime)]),
    ]
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no /proc
        return families
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    return [*families, Family("process_resident_memory_bytes", "gauge", "Of the control process.", [({}, memory)])]
