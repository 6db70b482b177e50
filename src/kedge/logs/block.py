"""A block: some events of one stream, in order, as they lie in the log store. PURE.

Columns first (time, place in the order of arrival, time of arrival, end of the text; numpy, little endian), then all
texts behind one another as UTF-8. So a term is looked for in the texts of thousands of events by one search, and only
the events that have it are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import zstandard

LEVEL = 1
_WORTH_BYTES = 512
"""Below this compression gains nothing that a page of the file would not lose again."""

_TIME, _END = np.dtype("<i8"), np.dtype("<u4")
_COLUMNS_BYTES = 3 * _TIME.itemsize + _END.itemsize
"""Of one event."""

Times: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"
Ends: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint32]]"


class Event(NamedTuple):
    """Events are in order of (at_ms, sequence); the sequence is unique in the store."""

    at_ms: int
    sequence: int
    stream: int
    ingested_ms: int
    message: str


@dataclass(frozen=True)
class Block:
    at_ms: Times
    sequence: Times
    ingested_ms: Times
    ends: Ends
    """Of each event's text in `text`."""
    text: bytes

    @classmethod
    def of(cls, at_ms: Sequence[int], messages: Sequence[str], ingested_ms: int) -> Block:
        """Of one request, its events already in order. `sequence` counts from 0."""
        texts = [message.encode(errors="replace") for message in messages]
        count = len(texts)
        return cls(
            np.array(at_ms, _TIME),
            np.arange(count, dtype=_TIME),
            np.full(count, ingested_ms, _TIME),
            np.cumsum(np.fromiter(map(len, texts), _END, count), dtype=_END),
            b"".join(texts),
        )

    @property
    def raw_bytes(self) -> int:
        return _COLUMNS_BYTES * len(self.at_ms) + len(self.text)

    def encode(self) -> bytes:
        """Compressed where that is shorter: then, and only then, it has less than raw_bytes."""
        columns = (self.at_ms, self.sequence, self.ingested_ms, self.ends)
        raw = b"".join([*(column.tobytes() for column in columns), self.text])
        if len(raw) < _WORTH_BYTES:
            return raw
        compressed = zstandard.ZstdCompressor(LEVEL).compress(raw)
        return compressed if len(compressed) < len(raw) else raw

    @classmethod
    def decode(cls, data: bytes, count: int, raw_bytes: int, sequence: int = 0) -> Block:
        """sequence: what those within count from."""
        raw = data if len(data) == raw_bytes else zstandard.ZstdDecompressor().decompress(data, raw_bytes)
        times = np.frombuffer(raw, _TIME, 3 * count).reshape(3, count)
        ends = np.frombuffer(raw, _END, count, 3 * _TIME.itemsize * count)
        return cls(times[0], times[1] + sequence, times[2], ends, raw[_COLUMNS_BYTES * count :])

    def events(self, indices: Sequence[int], stream: int) -> list[Event]:
        chosen = np.asarray(indices, np.int64)
        ends = self.ends[chosen].tolist()
        begins = np.where(chosen > 0, self.ends[chosen - 1], 0).tolist()
        columns = (column[chosen].tolist() for column in (self.at_ms, self.sequence, self.ingested_ms))
        text = self.text
        return [
            Event(at_ms, sequence, stream, ingested_ms, text[begin:end].decode())
            for at_ms, sequence, ingested_ms, begin, end in zip(*columns, begins, ends, strict=True)
        ]

    def within(self, start_ms: int, end_ms: int) -> range:
        """Indices of the events with start_ms <= time < end_ms."""
        first, last = np.searchsorted(self.at_ms, (start_ms, end_ms))
        return range(int(first), int(last))

    def having(self, term: bytes, among: range) -> Iterator[int]:
        """Indices, ascending, of the events among these in whose text the term is."""
        ends, text = self.ends, self.text
        if not among:
            return
        at = int(ends[among.start - 1]) if among.start else 0
        stop = int(ends[among.stop - 1])
        while (at := text.find(term, at, stop)) >= 0:
            index = int(np.searchsorted(ends, at, side="right"))
            end = int(ends[index])
            if at + len(term) <= end:
                yield index
                at = end
            else:
                at += 1  # from the end of one text into the next one


def merged(blocks: Iterable[Block]) -> Block:
    """The events of several blocks of one stream as one, in order."""
    every = list(blocks)
    at_ms, sequence, ingested = (
        np.concatenate([getattr(block, name) for block in every]) for name in ("at_ms", "sequence", "ingested_ms")
    )
    lengths = np.concatenate([np.diff(block.ends, prepend=_END.type(0)) for block in every])
    text = b"".join([block.text for block in every])
    order = np.lexsort((sequence, at_ms))
    if not bool((order[1:] > order[:-1]).all()):
        ends = np.cumsum(lengths, dtype=np.int64)
        text = b"".join([text[int(ends[i]) - int(lengths[i]) : int(ends[i])] for i in order])
        at_ms, sequence, ingested, lengths = (column[order] for column in (at_ms, sequence, ingested, lengths))
    return Block(at_ms, sequence, ingested, np.cumsum(lengths, dtype=_END), text)
