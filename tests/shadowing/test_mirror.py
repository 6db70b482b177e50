"""Copies in the router: what production's clients see is the same whatever the shadow does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kedge.serving import frames
from kedge.serving.capture.records import Capture
from kedge.serving.meter import Frame, decode
from kedge.serving.table import Variant
from kedge.shadowing import mirror
from kedge.shadowing.feed import Feed
from kedge.shadowing.pairs import Decoder, Pair
from tests.serving import test_streaming as streaming
from tests.serving.peers import Call, Served, Worker, endpoint, never, request, running, table, until


class Shadowed:
    """A router with one production and one shadow instance, and who takes the pairs."""

    def __init__(self, served: Served, production: Worker, shadow: Worker, feed: Feed, share: float) -> None:
        self.served, self.production, self.shadow, self.feed = served, production, shadow, feed
        self.share = share
        self.pairs: list[Pair] = []

    def table(self, version: int, share: float | None = None, **options: Any) -> Any:
        shadow = Variant("S", self.share if share is None else share, (self.shadow.instance,))
        return table(
            endpoint(Variant("P", 1.0, (self.production.instance,)), shadow=shadow, **options), version=version
        )

    async def ready(self) -> None:
        await until(lambda: self.served.router.fleet.ready_count == 2)

    async def take(self, count: int, body: bytes = b"[1]") -> None:
        async with self.served.client() as client:
            for _ in range(count):
                answer = await client.send(request(body))
                assert (answer.status, answer.headers["x-amzn-invoked-production-variant"]) == (200, "P")
                assert answer.body == body

    def count(self) -> dict[str, float]:
        """Of the metrics that the router tells, all so far."""
        found: dict[str, float] = {}
        for told in (each for frame in self.frames() for each in frame.told):
            found[told.name] = found.get(told.name, 0) + told.values.total
        return found

    def counted(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(variant, instance) -> (invocations, model errors)."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for cell in (each for frame in self.frames() for each in frame.cells):
            at = (cell.place.variant, cell.place.instance)
            before = found.get(at, (0, 0))
            found[at] = (before[0] + cell.invocations, before[1] + cell.model_errors)
        return {at: counts for at, counts in found.items() if counts[0]}

    def frames(self) -> list[Frame]:
        """All that the router has counted."""
        self.served.router.reporter.roll()
        return [decode(report.frame) for report in self.served.router.reporter._waiting]


@pytest.fixture
def shadowed(tmp_path: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def make(
        serve: Callable[[Call], None], share: float = 1.0, queue_bytes: int = 1 << 20, *, compared: bool = True
    ) -> AsyncIterator[Shadowed]:
        production = await Worker("p-1", tmp_path / "p.sock").start()
        shadow = await Worker("s-1", tmp_path / "s.sock", serve).start()
        path = tmp_path / "shadow.sock"
        feed = Feed(path, queue_bytes)
        async with running(None, feed=feed) as served:
            made = Shadowed(served, production, shadow, feed, share)

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                decoder = Decoder()
                while data := await reader.read(65536):
                    made.pairs += decoder.feed(data)
                writer.close()

            server = await asyncio.start_unix_server(accept, path) if compared else None
            served.router.swap(made.table(1))
            await made.ready()
            yield made
            await feed.close()
            if server is not None:
                server.close()
        await production.close()
        await shadow.close()

    return make


async def test_every_request_is_copied(shadowed: Any):
    async with shadowed(lambda call: call.answer(b"[2]", content_type="text/csv")) as made:
        await made.take(20)
        await until(lambda: len(made.pairs) == 20)
        counted, told = made.counted(), made.count()
    pair = made.pairs[0]
    assert (pair.shadow.variant, pair.generation, pair.same, pair.whole) == ("S", "s-1", False, True)
    assert (pair.production.body, pair.production.content_type) == (b"[1]", "application/json")
    assert (pair.copied.status, pair.copied.body, pair.copied.content_type) == (200, b"[2]", "text/csv")
    assert 0 < pair.copied.latency_us < 5e6
    assert counted == {("P", "p-1"): (20, 0), ("S", "s-1"): (20, 0)}
    assert told == {mirror.COPIES: 20}
    assert [call.body for call in made.shadow.calls] == [b"[1]"] * 20
    assert [c.head["request_id"] for c in made.shadow.calls] == [c.head["request_id"] for c in made.production.calls]


@pytest.mark.parametrize(("share", "want"), [(0.25, 50), (0.0, 0), (0.5, 100)])
async def test_the_share_is_drawn_evenly(shadowed: Any, share: float, want: int):
    async with shadowed(Call.answer, share) as made:
        await made.take(200)
        await until(lambda: len(made.shadow.calls) == want)
        made.served.router.swap(made.table(2, 1.0))
        await made.take(10)
        await until(lambda: len(made.shadow.calls) == want + 10)
    assert made.shadow.connections == 1


async def test_a_shadow_that_raises(shadowed: Any):
    async with shadowed(lambda call: call.error(400, "no")) as made:
        await made.take(5)
        await until(lambda: len(made.pairs) == 5)
        assert made.counted()["S", "s-1"] == (5, 5)
    assert made.pairs[0].copied.status == 400


async def test_a_shadow_that_never_answers(shadowed: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mirror, "MAX_COPIES", 8)
    async with shadowed(never) as made:
        made.served.router.swap(made.table(2, timeout_s=0.3))
        await made.take(20)
        assert len(made.shadow.calls) <= 8
        await until(lambda: len(made.pairs) == 8)
        assert all(each.copied.status == 0 for each in made.pairs)
        await until(lambda: all(call.cancelled for call in made.shadow.calls))
        assert made.count() == {mirror.COPIES: 8, mirror.DROPPED: 12}
        assert made.counted()["S", "s-1"] == (8, 8)
        made.shadow.serve = Call.answer
        await made.take(3)
        await until(lambda: len(made.pairs) == 11)


async def test_a_shadow_that_dies_and_comes_back(shadowed: Any):
    async with shadowed(never) as made:
        await made.take(3)
        await until(lambda: len(made.shadow.calls) == 3)
        made.shadow.die()
        await until(lambda: len(made.pairs) == 3)
        await made.take(5)
        assert made.count() == {mirror.COPIES: 3, mirror.DROPPED: 5}
        made.shadow.serve = Call.answer
        await made.shadow.start()
        await made.ready()
        await made.take(2)
        await until(lambda: len(made.pairs) == 5)
        assert made.served.router.fleet._mirrors.held_bytes == 0


async def test_bytes_are_bounded(shadowed: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mirror, "MAX_BYTES", 10_000)
    async with shadowed(never) as made:
        await made.take(5, b"x" * 2000)
        assert made.count() == {mirror.COPIES: 2, mirror.DROPPED: 3}


async def test_nobody_compares(shadowed: Any):
    async with shadowed(Call.answer, queue_bytes=1000, compared=False) as made:
        await made.take(30)
        await until(lambda: made.count().get(mirror.UNCOMPARED, 0) > 10)
        assert made.count()[mirror.COPIES] == 30


async def test_what_production_does_not_answer_is_not_copied(shadowed: Any):
    async with shadowed(Call.answer) as made:
        made.production.serve = lambda call: call.error(422, "no such row")
        answer = await made.served.invoke()
        assert answer.status == 424
        await until(lambda: made.pairs)
        assert (made.pairs[0].production.status, made.pairs[0].copied.status) == (422, 200)
        made.production.serve = never
        made.served.router.swap(made.table(2, timeout_s=0.2))
        assert (await made.served.invoke()).status == 424
        assert len(made.shadow.calls) == 1


async def test_nobody_can_ask_the_shadow(shadowed: Any):
    async with shadowed(Call.answer) as made:
        answer = await made.served.invoke(x_amzn_sagemaker_target_variant="S")
        assert answer.status == 400
        assert made.shadow.calls == []


async def test_a_shadow_comes_and_goes(shadowed: Any):
    async with shadowed(never) as made:
        await made.take(2)
        await until(lambda: len(made.shadow.calls) == 2)
        made.served.router.swap(table(endpoint(Variant("P", 1.0, (made.production.instance,))), version=2))
        await made.take(2)
        assert len(made.shadow.calls) == 2
        for call in made.shadow.calls:
            call.answer()
        await until(lambda: len(made.pairs) == 2)
        made.shadow.serve = Call.answer
        made.served.router.swap(made.table(3))
        await made.ready()
        await made.take(2)
        await until(lambda: len(made.pairs) == 4)
        assert made.served.router.fleet._mirrors.held_bytes == 0


async def test_a_large_answer_is_left_uncompared_but_answered(shadowed: Any):
    async with shadowed(lambda call: call.answer(b"x" * (2 << 20))) as made:
        made.served.router.swap(made.table(2, body_limit_bytes=1 << 20))
        await made.take(1)
        await until(lambda: made.pairs)
        assert made.pairs[0].copied.status == 0
        await made.take(1, b"[" + b"1," * (frames.PART_BYTES) + b"1]")


async def test_what_shadows_answer_is_captured(shadowed: Any):
    async with shadowed(lambda call: call.answer(b"[2]")) as made:
        capture = Capture(percent=100, bucket="b", prefix="", input=True, output=True)
        made.served.router.swap(made.table(2, capture=capture))
        await made.take(3)
        await until(lambda: len(made.pairs) == 3)
        taken = {each["variant"]: each["taken"] for each in made.served.router.tap.variants()}
        assert taken == {"P": 3, "S": 3}


async def test_an_answer_in_parts_is_copied_when_it_is_whole(shadowed: Any):
    async with shadowed(lambda call: call.answer(b"one two")) as made:
        made.production.serve = never
        async with made.served.client() as client:
            client.writer.write(streaming.asking())
            await until(lambda: made.production.calls)
            call = made.production.calls[0]
            streaming.first(call, b"one ")
            await streaming.head_of(client)
            assert made.shadow.calls == []
            streaming.more(call, b"two")
            streaming.end(call)
            assert len(await streaming.events(client)) == 2
        await until(lambda: made.pairs)
    [pair] = made.pairs
    assert (pair.same, pair.production.status) == (True, 200)
    assert "answer" not in made.shadow.calls[0].head
