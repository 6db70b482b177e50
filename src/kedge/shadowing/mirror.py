"""Copies of what production was asked, on their way to the shadow variant and back.

A request is copied when its answer has been handed to the client's connection, so nothing that becomes of the copy can
change, fail or hold up what the client sees. There is no second try and no queue: when too many copies are unanswered,
or no instance of the shadow is healthy, a copy is dropped and counted. What the shadow answers is metered as its own,
captured where the endpoint captures, and handed on to be compared. Everything happens on the router's loop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from kedge import errors
from kedge.metrics.sketch import Sketch
from kedge.serving.asking import encoded_head
from kedge.serving.choose import Split
from kedge.serving.deadlines import Deadlines
from kedge.serving.meter import Told
from kedge.serving.table import Endpoint
from kedge.shadowing.feed import Feed
from kedge.shadowing.pairs import Answer, Pair

if TYPE_CHECKING:
    from kedge.serving.fleet import Pool
    from kedge.serving.reports import Reporter
    from kedge.serving.upstream import Upstream

MAX_COPIES = 256
"""Of one endpoint and router, with the shadow at a time."""
MAX_BYTES = 64 * 1024 * 1024
"""Of requests and production's answers, held for all copies of a router."""
COPIES, DROPPED, UNCOMPARED = "ShadowCopies", "ShadowDroppedCopies", "ShadowDroppedComparisons"
_COUNT = "Count"


class Mirrors:
    """What the mirrors of one router share."""

    def __init__(self, deadlines: Deadlines, random: Random, feed: Feed) -> None:
        self.deadlines, self.random, self.feed = deadlines, random, feed
        self.reporter: Reporter | None = None
        """Of the router, which is made after this; before any endpoint is."""
        self.held_bytes = 0

    def mirror(self, pool: Pool, endpoint: Endpoint) -> Mirror:
        """pool: of the shadow variant."""
        assert self.reporter is not None
        return Mirror(self, pool, endpoint, self.reporter)


class Mirror:
    """Of one endpoint. `offer` is called for each request that production's model has answered."""

    def __init__(self, shared: Mirrors, pool: Pool, endpoint: Endpoint, reporter: Reporter) -> None:
        self.shared = shared
        self.pool = pool
        self.endpoint = endpoint
        self.reporter = reporter
        self.generation = ""
        self.outstanding = 0
        self.copies = self.dropped = self.uncompared = 0
        """Since they were told."""
        self._share = -1.0
        self._split = Split((), shared.random)
        self.update(endpoint)

    def update(self, endpoint: Endpoint) -> None:
        shadow = endpoint.shadow
        assert shadow is not None
        self.endpoint = endpoint
        self.generation = shadow.instances[0].id if shadow.instances else ""
        if shadow.weight != self._share:
            self._share = shadow.weight
            self._split = Split((shadow.weight, 1.0 - shadow.weight), self.shared.random)

    def offer(
        self,
        request_id: str,
        headers: Mapping[str, str],
        fields: tuple[tuple[str, str], ...],
        body: bytes,
        production: Answer,
    ) -> None:
        """Copy the request, if it is drawn. headers, body: of the request. fields: as the model gets them."""
        if self._split.draw() != 0:
            return
        size = len(body) + len(production.body)
        if self.outstanding >= MAX_COPIES or self.shared.held_bytes + size > MAX_BYTES or not self.pool.ready_count:
            self.drop()
            return
        Copy(self, request_id, headers, fields, body, production, size).start()

    def drop(self) -> None:
        self.dropped += 1
        self.reporter.arrival()

    def told(self) -> Iterator[Told]:
        """What is new since this was asked last."""
        counts = {COPIES: self.copies, DROPPED: self.dropped, UNCOMPARED: self.uncompared}
        self.copies = self.dropped = self.uncompared = 0
        for name, count in counts.items():
            if count:
                yield Told(self.pool.place.of_variant, name, _COUNT, Sketch.of([float(count)]))


class Copy:
    """One request on its way to the shadow. A job of its pool, and who waits for the instance's answer."""

    affinity = ""
    pinned = ""
    prefix = ""
    is_suspect = False
    lost_with: Upstream | None = None
    refused_by: Collection[Upstream] = ()
    to_new = False

    def __init__(
        self,
        mirror: Mirror,
        request_id: str,
        headers: Mapping[str, str],
        fields: tuple[tuple[str, str], ...],
        body: bytes,
        production: Answer,
        size: int,
    ) -> None:
        self._mirror = mirror
        self._pool = mirror.pool
        self._request_id = request_id
        self._headers = headers
        self._fields = fields
        self._body = body
        self._production = production
        self._size = size
        self._upstream: Upstream | None = None
        self._stream = 0
        self._began_s = self._sent_s = mirror.reporter.now_s()
        self._ended = False
        self.deadline_s = 0.0
        self.timeout_s = mirror.endpoint.timeout_s

    def start(self) -> None:
        mirror = self._mirror
        mirror.outstanding += 1
        mirror.shared.held_bytes += self._size
        try:
            self._pool.admit(self, self._began_s, self.timeout_s)
            mirror.reporter.arrival()
            mirror.shared.deadlines.add(self)
            self._pool.submit(self)
        except errors.ServiceError:
            self._drop()

    def send_to(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._sent_s = self._mirror.reporter.now_s()
        self._mirror.copies += 1
        limit_ms = max(1, int(self.timeout_s * 1000))
        head = encoded_head(self._fields, self._request_id, limit_ms, limit_ms)
        self._stream = upstream.send(self, head, self._body, self._mirror.endpoint.body_limit_bytes)

    # What becomes of it.

    def begun(self) -> None:
        """It is never asked for."""

    def told(self, samples: object) -> None:
        upstream = self._upstream
        if upstream is not None:
            self._mirror.reporter.samples(upstream.place, upstream.containers, samples)

    def answered(self, head: dict[str, Any], body: bytes) -> None:
        status = head.get("status", 200)
        content_type = str(head.get("content_type") or "")
        if not isinstance(status, int):
            status = 500
        capture = self._pool.capture
        if capture is not None and 200 <= status < 300 and content_type.isascii():
            capture(self._request_id, self._headers, self._body, content_type, body)
        self._said(status, content_type, body)

    def failed(self, head: dict[str, Any]) -> None:
        if head.get("kind") in ("busy", "lost", "loading", "target"):
            self._drop()  # no model has begun with it
        else:
            status = head.get("status", 500)
            self._said(status if isinstance(status, int) and 100 <= status <= 599 else 500, "", b"")

    def overran(self) -> None:
        self._said(0, "", b"")

    def lost(self) -> None:
        self._said(0, "", b"")

    def expire(self) -> None:
        if self._upstream is None:
            self._drop()
            return
        self._upstream.cancel(self._stream)
        self._said(0, "", b"")

    def reroute(self) -> None:
        """The endpoint has no such shadow any more."""
        self._drop()

    def wake(self) -> None:
        """Nothing is started for a copy."""

    def shed(self) -> None:
        if self._upstream is not None:
            self._upstream.cancel(self._stream)
        self._drop()

    def _said(self, status: int, content_type: str, body: bytes) -> None:
        mirror, upstream, production = self._mirror, self._upstream, self._production
        now_s = mirror.reporter.now_s()
        model_s = now_s - self._sent_s
        if upstream is not None:
            mirror.reporter.invocation(
                upstream.place, status, self._pool.ready_count, model_s, self._sent_s - self._began_s
            )
        self._end(now_s, answered=status > 0)
        copied = Answer(status, model_s * 1e6, content_type, body)
        same = production.body == body
        pair = Pair(self._pool.place.of_variant, mirror.generation, production, copied, same)
        if not mirror.shared.feed.put(pair):
            mirror.uncompared += 1

    def _drop(self) -> None:
        if not self._ended:
            self._mirror.drop()
            self._end(self._mirror.reporter.now_s(), answered=False)

    def _end(self, now_s: float, *, answered: bool) -> None:
        self._ended = True
        mirror, pool = self._mirror, self._pool
        mirror.outstanding -= 1
        mirror.shared.held_bytes -= self._size
        mirror.shared.deadlines.remove(self)
        pool.depart(self, now_s, self._began_s, answered=answered)
        if self._upstream is not None:
            pool.release(self._upstream, self)
        else:
            pool.forget(self)
