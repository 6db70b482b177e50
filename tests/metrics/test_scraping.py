"""The port of its own, on which nobody signs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kedge.clock import SystemClock
from kedge.metrics.platform import Served
from kedge.metrics.scraping import Scraping
from kedge.metrics.totals import Totals
from kedge.serving.meter import VariantPlace

PLACE = VariantPlace("1" * 12, "us-east-1", "e", "blue")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    with ThreadPoolExecutor(1) as threads:
        scraping = Scraping(Totals(SystemClock()), threads, lambda: [Served(PLACE, "", 0.0)], lambda: 2)
        await scraping.listen(0)
        assert scraping.port
        yield scraping.port
        await scraping.close()


async def said(port: int, request: bytes) -> tuple[bytes, bytes]:
    """(head, body) of all that comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def test_a_scrape(port: int):
    asked = b"GET /metrics?x=1 HTTP/1.1\r\nHost: here\r\nAccept: application/openmetrics-text\r\n\r\n"
    head, body = await said(port, asked)
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: application/openmetrics-text; version=1.0.0")
    assert b"content-length: %d" % len(body) in head
    assert b'kedge_endpoint_invocations_total{endpoint_name="e",variant_name="blue"' in body
    assert b"kedge_routers 2.0\n" in body
    assert body.endswith(b"# EOF\n")
    head, body = await said(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert (head[:15], body) == (b"HTTP/1.1 200 OK", b"")


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"POST /metrics HTTP/1.1", b"GET /metricsx HTTP/1.1", b"nonsense"])
async def test_what_is_not_there(port: int, line: bytes):
    head, _ = await said(port, line + b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 Not Found")


async def test_who_talks_without_end_gets_nothing(port: int):
    with pytest.raises((ConnectionError, AssertionError)):
        assert (await said(port, b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 100_000))[0]
    assert (await said(port, b"GET /metrics HTTP/1.1\r\n\r\n"))[0].startswith(b"HTTP/1.1 200 OK")
