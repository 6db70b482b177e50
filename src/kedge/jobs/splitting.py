"""An object as records, and records as the bodies of requests. PURE: bytes in as they come, records out.

A line is a record with its end; a last line without one is given one. RecordIO is MXNet's frame: the magic number, 3
bits that say whether the record is whole and 29 of length, the bytes, up to 3 of padding; a record is all of its
frames, as they lie there. TFRecord is TensorFlow's: 64 bits of length, 32 of a checksum, the bytes, 32 of theirs; the
checksums are the model's to look at, which gets each record with all of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Protocol

_MAGIC = 0xCED7230A
_HEAD = struct.Struct("<II")
_TF_HEAD = struct.Struct("<QI")
_TF_FOOT_BYTES = 4
_LARGEST_TF_RECORD = 2**40
_WHOLE, _BEGINS, _GOES_ON, _ENDS = range(4)


class BadRecord(ValueError):
    """The object is not what SplitType says, or a record of it is larger than a request may be."""


class Splitter(Protocol):
    def feed(self, data: bytes) -> list[bytes]:
        """The records that are whole by now. Raises BadRecord."""

    def end(self) -> list[bytes]:
        """Nothing follows. Raises BadRecord."""


class Whole:
    """The object is one record."""

    def __init__(self, most_bytes: int) -> None:
        """most_bytes: of a record; 0 is without a limit."""
        self._parts: list[bytes] = []
        self._size, self._most_bytes = 0, most_bytes

    def feed(self, data: bytes) -> list[bytes]:
        self._size += len(data)
        check_size(self._size, self._most_bytes)
        self._parts.append(data)
        return []

    def end(self) -> list[bytes]:
        return [b"".join(self._parts)]


class Lines:
    def __init__(self, most_bytes: int) -> None:
        self._rest, self._most_bytes = b"", most_bytes

    def feed(self, data: bytes) -> list[bytes]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for each in (*whole, self._rest):
            check_size(len(each), self._most_bytes)
        return [line + b"\n" for line in whole if line.strip()]

    def end(self) -> list[bytes]:
        return [self._rest + b"\n"] if self._rest.strip() else []


class RecordIO:
    def __init__(self, most_bytes: int) -> None:
        self._rest, self._most_bytes = b"", most_bytes
        self._begun: list[bytes] = []
        """Frames of a record that has further ones."""

    def feed(self, data: bytes) -> list[bytes]:
        data, at, found = self._rest + data, 0, []
        while len(data) - at >= _HEAD.size:
            magic, head = _HEAD.unpack_from(data, at)
            if magic != _MAGIC:
                raise BadRecord("there is no RecordIO frame where one should begin")
            length = _HEAD.size + ((head & 0x1FFFFFFF) + 3) // 4 * 4
            check_size(length + sum(map(len, self._begun)), self._most_bytes)
            if len(data) - at < length:
                break
            self._begun.append(data[at : at + length])
            at += length
            if head >> 29 in (_WHOLE, _ENDS):
                found.append(b"".join(self._begun))
                self._begun = []
        self._rest = data[at:]
        return found

    def end(self) -> list[bytes]:
        if self._rest or self._begun:
            raise BadRecord("its last RecordIO frame is cut off")
        return []


class TfRecord:
    def __init__(self, most_bytes: int) -> None:
        self._rest, self._most_bytes = b"", most_bytes

    def feed(self, data: bytes) -> list[bytes]:
        data, at, found = self._rest + data, 0, []
        while len(data) - at >= _TF_HEAD.size:
            length, _ = _TF_HEAD.unpack_from(data, at)
            if length > _LARGEST_TF_RECORD:
                raise BadRecord("there is no TFRecord where one should begin")
            end = at + _TF_HEAD.size + length + _TF_FOOT_BYTES
            check_size(end - at, self._most_bytes)
            if len(data) < end:
                break
            found.append(data[at:end])
            at = end
        self._rest = data[at:]
        return found

    def end(self) -> list[bytes]:
        if self._rest:
            raise BadRecord("its last TFRecord is cut off")
        return []


def splitter(kind: str, most_bytes: int) -> Splitter:
    """kind: a SplitType."""
    if kind == "Line":
        return Lines(most_bytes)
    if kind == "RecordIO":
        return RecordIO(most_bytes)
    return TfRecord(most_bytes) if kind == "TFRecord" else Whole(most_bytes)


class Batches:
    """Records gathered into the bodies of requests."""

    def __init__(self, most_bytes: int, *, single: bool) -> None:
        """single: a request for each record. most_bytes: of a body; 0 is without a limit."""
        self._most_bytes, self._single = most_bytes, single
        self._gathered: list[bytes] = []
        self._size = 0

    def add(self, records: Sequence[bytes]) -> Iterator[list[bytes]]:
        """The batches that are full by now."""
        for record in records:
            if self._single:
                yield [record]
                continue
            if self._gathered and self._most_bytes and self._size + len(record) > self._most_bytes:
                yield self._take()
            self._gathered.append(record)
            self._size += len(record)

    def end(self) -> Iterator[list[bytes]]:
        if self._gathered:
            yield self._take()

    def _take(self) -> list[bytes]:
        taken, self._gathered, self._size = self._gathered, [], 0
        return taken


def check_size(size: int, most_bytes: int) -> None:
    """Raises BadRecord."""
    if most_bytes and size > most_bytes:
        raise BadRecord(
            f"a record of it has more than {most_bytes} bytes, which is MaxPayloadInMB; raise that, or split it in "
            "another way"
        )
