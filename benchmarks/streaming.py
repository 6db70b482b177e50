"""Answers in parts: how soon the first part is there, how many parts a second, and what a part costs the server.

    scripts/bench streaming [--quick] [--unsigned]

A script yields as many parts of a size as it is asked for, as fast as it can. Each row has so many streams at a time,
each of an instance of its own, over raw connections that read all they get. The row "whole" asks the same script for
the same bytes by InvokeEndpoint: what the way there costs without parts. Every answer's length is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field

from benchmarks.serving import machine, own, prepared
from benchmarks.serving.own import Artifact, Setup
from kedge.wire import eventstream

INSTANCES = 8
ROWS = (
    # parts, bytes of one, streams at a time
    (20, 32, 1),
    (20, 32, 8),
    (5_000, 32, 1),
    (5_000, 32, 8),
    (200, 65_536, 1),
)
SCRIPT = """
import json


def model_fn(model_dir):
    return None


def transform_fn(model, body, content_type, accept):
    asked = json.loads(body)
    part = b"x" * asked["size"]
    return (part for _ in range(asked["parts"])), "application/octet-stream"
"""
PATHS = {"parts": "/endpoints/streams/invocations-response-stream", "whole": "/endpoints/streams/invocations"}
_FRAMING = len(eventstream.Framed("PayloadPart", "application/octet-stream")(b""))


@dataclass
class Seen:
    firsts_ms: list[float] = field(default_factory=list)
    streams: int = 0
    wrong: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0


async def one(port: int, until_s: float, request: bytes, parts: int, size: int, seen: Seen) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while time.monotonic() < until_s:
            sent_s = time.perf_counter()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            first_ms, got = 0.0, 0
            if b"transfer-encoding: chunked" in head:
                while count := int(await reader.readuntil(b"\r\n"), 16):
                    await reader.readexactly(count + 2)
                    first_ms = first_ms or (time.perf_counter() - sent_s) * 1000
                    got += count - _FRAMING
                await reader.readexactly(2)
            else:
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                got = len(await reader.readexactly(length))
                first_ms = (time.perf_counter() - sent_s) * 1000
            seen.firsts_ms.append(first_ms)
            seen.streams += 1
            seen.wrong += got != parts * size
    finally:
        writer.close()


async def measured(
    server: own.Server, tree: machine.Tree, way: str, parts: int, size: int, streams: int, seconds: float
) -> Seen:
    body = json.dumps({"parts": parts, "size": size}).encode()
    [request] = prepared.requests(server.port, [PATHS[way]], "application/json", [body], server.signer)
    seen = Seen()
    await one(server.port, time.monotonic() + 0.2, request, parts, size, Seen())
    cpu_s, began_s = tree.cpu_s(), time.monotonic()
    tasks = (one(server.port, began_s + seconds, request, parts, size, seen) for _ in range(streams))
    await asyncio.gather(*tasks)
    seen.seconds, seen.cpu_s = time.monotonic() - began_s, tree.cpu_s() - cpu_s
    return seen


def line(way: str, parts: int, size: int, streams: int, seen: Seen) -> str:
    firsts = sorted(seen.firsts_ms)
    given = seen.streams * parts
    return (
        f"{way:>6} {parts:>6} x {size:>6} B  c={streams:<2} first p50 {firsts[len(firsts) // 2]:7.2f} ms"
        f"  p99 {firsts[len(firsts) * 99 // 100]:7.2f} ms  {given / seen.seconds:9.0f} parts/s"
        f"  {given * size / seen.seconds / 1e6:7.1f} MB/s  {seen.cpu_s / given * 1e6:7.1f} us CPU a part"
        f"  {seen.streams} answers  {seen.wrong} wrong"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench streaming", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1 s a row, not 5")
    parser.add_argument("--unsigned", action="store_true", help="with --insecure-no-auth")
    options = parser.parse_args()
    server = own.Server(Setup(signed=not options.unsigned))
    try:
        server.deploy("streams", Artifact({"code/inference.py": SCRIPT.encode()}, "kedge/script", "script"), INSTANCES)
        tree = machine.Tree(server.root)
        seconds = 1.0 if options.quick else 5.0
        for parts, size, streams in ROWS:
            for way in PATHS:
                seen = asyncio.run(measured(server, tree, way, parts, size, streams, seconds))
                print(line(way, parts, size, streams, seen), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
