"""A block: some events of one stream, in order, as they lie in the log store. PURE.

Columns first (time, place in the order of arrival, time of arrival, end of the text), then all texts behind one another
as UTF-8. So a term is looked for in the texts of thousands of events by one search, and only the events that have it
are made. Columns are arrays of the standard library: the control process starts without numpy.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat
from typing import NamedTuple, TypeAlias

LEVEL = 1
_WORTH_BYTES = 512
"""Below this compression gains nothing that a page of the file would not lose again."""
_TIME, _END = "q", "I"
_TIME_BYTES = 8
_COLUMNS_BYTES = 3 * _TIME_BYTES + 4
"""Of one event."""

Column: TypeAlias = "array[int]"
Key: TypeAlias = tuple[int, int]
"""(at_ms, sequence): of an event, or a place between two."""
FIRST_KEY: Key = (-1, -1)
LAST_KEY: Key = (2**62, 2**62)


class Event(NamedTuple):
    """Events are in order of (at_ms, sequence); the sequence is unique in the store."""

    at_ms: int
    sequence: int
    stream: int
    ingested_ms: int
    message: str


_new: Callable[[type[Event], tuple[int, int, int, int, str]], Event] = tuple.__new__
"""An event of its fields, at a third of the cost of Event(*fields)."""


@dataclass(frozen=True)
class Block:
    at_ms: Column
    order: Column
    """Of arrival: an event's sequence is `base` more."""
    ingested_ms: Column
    ends: Column
    """Of each event's text in `text`."""
    text: bytes
    base: int = 0

    @classmethod
    def of(cls, at_ms: Sequence[int], messages: Sequence[str], ingested_ms: int) -> Block:
        """Of one request, its events already in order."""
        texts = [message.encode(errors="replace") for message in messages]
        count = len(texts)
        return cls(
            array(_TIME, at_ms),
            array(_TIME, range(count)),
            array(_TIME, [ingested_ms]) * count,
            array(_END, accumulate(map(len, texts))),
            b"".join(texts),
        )

    @property
    def raw_bytes(self) -> int:
        return _COLUMNS_BYTES * len(self.at_ms) + len(self.text)

    def encode(self) -> bytes:
        """Compressed where that is shorter: then, and only then, it has less than raw_bytes. Without the base."""
        columns = (self.at_ms, self.order, self.ingested_ms, self.ends)
        raw = b"".join([*(_little_endian(column).tobytes() for column in columns), self.text])
        if len(raw) < _WORTH_BYTES:
            return raw
        import zstandard  # imported by whoever has more than a few lines

        compressed = zstandard.ZstdCompressor(LEVEL).compress(raw)
        return compressed if len(compressed) < len(raw) else raw

    @classmethod
    def decode(cls, data: bytes, count: int, raw_bytes: int, base: int = 0) -> Block:
        raw = data
        if len(data) != raw_bytes:
            import zstandard

            raw = zstandard.ZstdDecompressor().decompress(data, raw_bytes)
        width = _TIME_BYTES * count
        at_ms, order, ingested_ms = (
            _little_endian(array(_TIME, raw[begin : begin + width])) for begin in (0, width, 2 * width)
        )
        begin = _COLUMNS_BYTES * count
        ends = _little_endian(array(_END, raw[3 * width : begin]))
        return cls(at_ms, order, ingested_ms, ends, raw[begin:], base)

    def events(self, indices: Sequence[int], stream: int) -> list[Event]:
        ends, text, base = self.ends, self.text, self.base
        fields = zip(
            map(self.at_ms.__getitem__, indices),
            [base + self.order[index] for index in indices],
            repeat(stream),
            map(self.ingested_ms.__getitem__, indices),
            [text[ends[index - 1] if index else 0 : ends[index]].decode() for index in indices],
            strict=False,
        )
        return list(map(_new, repeat(Event), fields))

    def within(self, start_ms: int, end_ms: int, after: Key = FIRST_KEY, before: Key = LAST_KEY) -> range:
        """Indices of the events with start_ms <= time < end_ms whose keys are after the one and before the other."""
        first = max(bisect_left(self.at_ms, start_ms), self._place(after, bisect_right))
        last = min(bisect_left(self.at_ms, end_ms), self._place(before, bisect_left))
        return range(first, max(first, last))

    def _place(self, key: Key, bisect: Callable[..., int]) -> int:
        at_ms, sequence = key
        low, high = bisect_left(self.at_ms, at_ms), bisect_right(self.at_ms, at_ms)
        return bisect(self.order, sequence - self.base, low, high)

    def having(self, term: bytes, among: range) -> Iterator[int]:
        """Indices, ascending, of the events among these in whose text the term is."""
        ends, text = self.ends, self.text
        if not among:
            return
        at = ends[among.start - 1] if among.start else 0
        stop = ends[among.stop - 1]
        index = among.start
        while (at := text.find(term, at, stop)) >= 0:
            index = bisect_right(ends, at, index)
            end = ends[index]
            if at + len(term) <= end:
                yield index
                at = end
            else:
                at += 1  # from the end of one text into the next one


def merged(blocks: Sequence[Block]) -> Block:
    """The events of several blocks of one stream as one, in order, with base 0."""
    at_ms, order, ingested_ms, ends = array(_TIME), array(_TIME), array(_TIME), array(_END)
    text_bytes = 0
    for block in blocks:
        at_ms.extend(block.at_ms)
        order.extend(array(_TIME, [block.base + each for each in block.order]))
        ingested_ms.extend(block.ingested_ms)
        ends.extend(array(_END, [text_bytes + end for end in block.ends]))
        text_bytes += len(block.text)
    whole = Block(at_ms, order, ingested_ms, ends, b"".join([block.text for block in blocks]))
    if all((a.at_ms[-1], a.base + a.order[-1]) < (b.at_ms[0], b.base + b.order[0]) for a, b in pairwise(blocks)):
        return whole
    events = sorted(whole.events(range(len(at_ms)), 0))
    texts = [event.message.encode() for event in events]
    return Block(
        array(_TIME, [event.at_ms for event in events]),
        array(_TIME, [event.sequence for event in events]),
        array(_TIME, [event.ingested_ms for event in events]),
        array(_END, accumulate(map(len, texts))),
        b"".join(texts),
    )


def _little_endian(column: Column) -> Column:
    """The same, or its bytes the other way round on a machine that has them so. A file is good on every machine."""
    if sys.byteorder == "little":
        return column
    turned = column[:]
    turned.byteswap()
    return turned
