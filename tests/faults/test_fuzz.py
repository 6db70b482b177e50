"""Bytes that nobody meant, for the frame decoders of both sides and for the HTTP front.

KEDGE_FUZZ_S says for how many seconds, over all the targets; 20 unless it is set. Each round draws other bytes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from random import Random
from typing import Any

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kedge.serving import frames
from kedge.serving.answers import RequestIds
from kedge.serving.asking import Wire
from kedge.serving.frames import FrameError, Kind
from kedge.serving.front import Front
from kedge.serving.inbound import Inbound, Limits
from kedge.serving.runtimes.base import Answer, Busy
from kedge.serving.streams import Arrived, Peer

TARGETS = 4
SECONDS = float(os.environ.get("KEDGE_FUZZ_S", "20")) / TARGETS
ROUND = 100
HEAD_BYTES = 2048
BODY_BYTES = 4096


def fuzz(test: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    """Rounds of examples until the time is over, at least one."""
    quick = settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    end_s = time.monotonic() + SECONDS
    while True:
        quick(given(*strategies)(test))()
        if time.monotonic() >= end_s:
            return


# Frames.

SMALL = st.integers(0, 4)
HEADS = st.one_of(
    st.dictionaries(
        st.sampled_from(
            ["version", "instance", "status", "deadline_ms", "timeout_ms", "content_type", "kind", "ending"]
        ),
        st.one_of(st.none(), st.integers(-2, 2**40), st.text(max_size=5), st.booleans(), st.just("i-1")),
        max_size=4,
    ),
    st.just({"version": 1, "instance": "i-1"}),
)
FRAMES = st.one_of(
    st.builds(
        lambda kind, stream, head, part, flags: frames.with_head(kind, stream, head, part, flags),
        *(st.sampled_from(Kind), SMALL, HEADS, st.binary(max_size=60), st.integers(0, 3)),
    ),
    st.builds(frames.frame, st.sampled_from(Kind), SMALL, st.binary(max_size=60), st.integers(0, 255)),
    st.builds(frames.credit, SMALL, st.integers(0, 2**32 - 1)),
    st.builds(lambda stream, size: frames.frame(Kind.CHUNK, stream, bytes(size)), SMALL, st.integers(0, 300_000)),
)
CUTS = st.lists(st.integers(0, 5000), max_size=4)
DAMAGE = st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=4)), max_size=2)


def damaged(whole: bytes, damage: list[tuple[int, bytes]]) -> bytes:
    data = bytearray(whole)
    for at, wrong in damage:
        at %= len(data) + 1
        data[at : at + len(wrong)] = wrong
    return bytes(data)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def test_what_a_router_sends_a_worker():
    """A FrameError or requests that are whole; nothing is held that was not announced, and all of it is let go."""
    room = 1_000_000

    def feed(sent: list[bytes], damage: list[tuple[int, bytes]], cuts: list[int], answers: int) -> None:
        peer = Peer({"instance": "i-1"}, lambda: room - peer.partial_bytes)
        hello = frames.with_head(Kind.HELLO, 0, {"version": frames.VERSION})
        streams: list[int] = []
        try:
            for piece in pieces(damaged(hello + b"".join(sent), damage), cuts):
                for event in peer.receive(piece):
                    if isinstance(event, Arrived):
                        assert type(event.request.body) is bytes
                        streams.append(event.stream)
                assert peer.partial_bytes == sum(each.size for each in peer._partial.values())
                assert peer.partial_bytes <= room
                for stream in streams[:answers]:
                    peer.answer(stream, Answer(b"x" * 300_000, "a/b") if stream % 2 else Busy("full"))
                peer.hold_up(streams[answers:])
                peer.go_on()
                while peer.outgoing():
                    pass
        except FrameError:
            return
        assert peer.waiting <= set(streams)

    fuzz(feed, st.lists(FRAMES, max_size=8), DAMAGE, CUTS, SMALL)


class Asker:
    """Who waits for one answer."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def begun(self) -> None:
        """No outcome, and it may come at any time."""
        assert not self.outcomes

    def told(self, samples: object) -> None:
        """Nor is this."""
        assert not self.outcomes

    def answered(self, head: dict[str, Any], body: bytes) -> None:
        assert type(body) is bytes
        self.outcomes.append("answered")

    def failed(self, head: dict[str, Any]) -> None:
        self.outcomes.append("failed")

    def overran(self) -> None:
        self.outcomes.append("overran")

    def lost(self) -> None:
        self.outcomes.append("lost")


class Owner:
    instance_id = "i-1"

    def now_connected(self, wire: Wire) -> None: ...

    def now_ready(self) -> None: ...

    def now_ending(self) -> None: ...

    def now_refused(self, why: str) -> None: ...

    def now_lost(self) -> None: ...


class Sink(asyncio.Transport):
    """Takes what is written, and does not end by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.ended = False
        self.reading = True

    def write(self, data: Any) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True

    abort = close


def test_what_a_worker_sends_a_router():
    """Whoever asked hears of it exactly once, whatever came; nothing of an answer is held beyond its limit."""
    limit = 400_000

    async def converse(sent: list[bytes], damage: list[tuple[int, bytes]], cuts: list[int]) -> None:
        wire, sink, asked = Wire(Owner()), Sink(), [Asker() for _ in range(4)]
        wire.connection_made(sink)
        for each in asked:
            wire.send(each, frames.with_head(Kind.REQUEST, 0, {})[frames.HEADER_BYTES :], b"[1]", limit)
        for piece in pieces(damaged(b"".join(sent), damage), cuts):
            if sink.ended:
                break
            wire.data_received(piece)
            held = sum(len(stream.answer or b"") for stream in wire.streams.values())
            assert held <= 4 * limit
        await asyncio.sleep(0)
        wire.connection_lost(None)
        assert [len(each.outcomes) for each in asked] == [1] * 4
        assert not wire.streams

    def feed(sent: list[bytes], damage: list[tuple[int, bytes]], cuts: list[int]) -> None:
        loop.run_until_complete(converse(sent, damage, cuts))

    loop = asyncio.new_event_loop()
    try:
        fuzz(feed, st.lists(FRAMES, max_size=10), DAMAGE, CUTS)
    finally:
        loop.close()


# HTTP.

Read = tuple[str, str, bytes]

LINES = st.sampled_from(
    [
        *(
            b"Host: a",
            b"Host: b",
            b"Content-Length: 3",
            b"Content-Length: 0",
            b"Content-Length: 40",
            b"content-length:3 ",
        ),
        *(
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: Chunked",
            b"Transfer-Encoding: gzip",
            b"Expect: 100-continue",
        ),
        *(
            b"Connection: close",
            b"Connection: keep-alive",
            b"Connection: Upgrade",
            b"Upgrade: h2c",
            b"X: y",
            b"X:",
            b"X:\ty",
        ),
        *(
            b" folded",
            b"Content-Length:",
            b"Content-Length: 3, 3",
            b"Trailer: X",
            b"TE: trailers",
            b"X: a\rb",
            b"X: a\nb: c",
        ),
        *(
            b"Transfer-Encoding : chunked",
            b"Transfer_Encoding: chunked",
            b"Content-Length: +3",
            b"X: \xe9",
            b"X\x00: y",
        ),
    ]
)
BODIES = st.sampled_from(
    [
        b"",
        b"abc",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"3;e=1\r\nabc\r\n0\r\nT: r\r\n\r\n",
        b"0\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"-1\r\n",
        b"x" * 40,
    ]
)
STARTS = st.sampled_from(
    [
        *(
            b"POST /a HTTP/1.1",
            b"GET /a?b=c HTTP/1.1",
            b"HEAD / HTTP/1.1",
            b"POST http://h/a HTTP/1.1",
            b"PUT /a HTTP/1.1",
        ),
        *(
            b"POST /a HTTP/1.0",
            b"POST /a  HTTP/1.1",
            b"POST /\xe9 HTTP/1.1",
            b"GET /a#b HTTP/1.1",
            b"POST /a HTTP/1.1 ",
        ),
    ]
)
REQUESTS = st.builds(
    lambda start, lines, body: b"\r\n".join([start, *lines, b"", body]),
    STARTS,
    st.lists(LINES, max_size=5).map(lambda lines: [b"Host: a", *lines]),
    BODIES,
)


async def read(data: list[bytes]) -> tuple[list[Read], bool]:
    """(requests handed on, whether the connection was ended) of one connection that gets these pieces."""
    requests: list[Read] = []

    def handle(inbound: Inbound) -> None:
        requests.append((inbound.method, inbound.path, inbound.body))
        inbound.respond(200, b"", b"{}")

    limits = Limits(head_bytes=HEAD_BYTES, head_s=3600.0)
    front = Front(handle, limits, BODY_BYTES, RequestIds(Random(1)))
    connection, sink = front.new_connection(), Sink()
    connection.connection_made(sink)
    for piece in data:
        if sink.ended:
            break
        connection.data_received(piece)
        assert front.held_bytes <= BODY_BYTES + limits.pipelined_bytes + len(piece)
        for _ in range(40):
            await asyncio.sleep(0)
            if connection.is_idle:
                break
    ended = sink.ended or b"connection: close" in bytes(sink.written)
    connection.connection_lost(None)
    assert front.held_bytes == 0
    assert b"HTTP/1.1 500" not in sink.written
    return requests, ended


def independently(data: bytes) -> tuple[list[Read], bool]:
    """What another reader of HTTP makes of the same bytes: (requests, whether it refused something)."""
    requests: list[Read] = []
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES * 4)
    parser.receive_data(data)
    begun, body = None, b""
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError:
            return requests, True
        if isinstance(event, h11.Request):
            begun, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert begun is not None
            requests.append((begun.method.decode(), begun.target.decode("latin-1"), body))
            parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            parser.send(h11.EndOfMessage())
            if parser.our_state is not h11.DONE or parser.their_state is not h11.DONE:
                return requests, True
            parser.start_next_cycle()
        else:
            return requests, False


def test_http_is_read_in_one_way_only():
    """However the bytes are cut, the same requests are read, by the fast reader and by the parser, and as many and with
    the same bodies as by a reader that nobody here wrote, as far as that one goes."""

    def feed(sent: list[bytes], damage: list[tuple[int, bytes]], cuts: list[int]) -> None:
        data = damaged(b"".join(sent), damage)
        whole = loop.run_until_complete(read([data]))
        for other in (
            pieces(data, cuts),
            [data[at : at + 1] for at in range(len(data))],
            sent if not damage else [data],
        ):
            assert loop.run_until_complete(read(other)) == whole
        theirs, _ = independently(data)
        for ours, its in zip(whole[0], theirs, strict=False):
            assert (ours[0], ours[2]) == (its[0], its[2])

    loop = asyncio.new_event_loop()
    try:
        fuzz(feed, st.lists(REQUESTS, max_size=3), DAMAGE, CUTS)
    finally:
        loop.close()


def test_http_of_any_bytes():
    def feed(data: list[bytes], prefix: bytes) -> None:
        loop.run_until_complete(read([prefix, *data]))

    loop = asyncio.new_event_loop()
    try:
        fuzz(feed, st.lists(st.binary(max_size=400), max_size=5), st.one_of(st.just(b""), REQUESTS))
    finally:
        loop.close()
