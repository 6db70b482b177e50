"""Data capture of asynchronous invocations: a sample of what completed goes to the capture process, as routers send it.

Bodies stream past, so of one that is sampled both are kept on the way, up to MOST_BYTES together; a longer one is
counted as dropped. Nothing waits for the capture process (kedge.serving.capture.tap).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from kedge.async_inference.records import Completed, Item, Outcome
from kedge.endpoints.capture import capture_of
from kedge.endpoints.records import Endpoint, Fleet
from kedge.metrics.platform import captured
from kedge.metrics.series import Datum
from kedge.serving.capture.records import Source
from kedge.serving.capture.tap import Stream, Tap
from kedge.store.records import Scope

MOST_BYTES = 6 * 1024 * 1024


class Kept:
    """The bodies of one invocation, as far as they are kept."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._input, self._output = bytearray(), bytearray()
        self._size = 0
        self.content_type = ""
        """Of the request, once it is known."""

    def input(self, part: bytes) -> None:
        self._keep(self._input, part)

    def output(self, part: bytes) -> None:
        self._keep(self._output, part)

    def _keep(self, body: bytearray, part: bytes) -> None:
        self._size += len(part)
        if self._size <= MOST_BYTES:
            body.extend(part)

    def ended(self, item: Item, outcome: Outcome, event_id: str) -> None:
        """Only what was answered is captured, as in real time."""
        if not isinstance(outcome, Completed):
            return
        given = (
            ("content-type", self.content_type),
            ("x-amzn-sagemaker-inference-id", item.inference_id),
            ("x-amzn-sagemaker-custom-attributes", item.custom_attributes),
        )
        answer = bytes(self._output) if self._size <= MOST_BYTES else None
        headers = {name: value for name, value in given if value}
        self._stream.keep(event_id, headers, bytes(self._input), outcome.content_type, answer)


class Capturing:
    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def kept(self, scope: Scope, endpoint: Endpoint, fleet: Fleet, variant: str) -> Kept | None:
        """For an invocation that is about to be carried out; None where it is not to be captured."""
        capture = capture_of(fleet)
        if capture is None:
            return None
        stream = self._tap.stream(Source(scope.account, scope.region, endpoint.name, variant, capture))
        return Kept(stream) if stream.draws() else None

    def counted(self, now: datetime) -> Iterator[Datum]:
        """What is new since this was asked last."""
        for each in self._tap.counted():
            yield from captured(each, int(now.timestamp()))

    def forget_others(self, endpoints: Collection[tuple[str, str, str]]) -> None:
        """What was counted of any but these (account, region, name)."""
        self._tap.keep(endpoints)
