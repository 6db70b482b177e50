"""How the bytes of one piece of a body lie in its file: sealed under a data key, or as they are where there is none.

The one place that knows it. A body is written once from its beginning to its end, and read at any offset.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from kedge.objects import sealed
from kedge.objects.records import Piece
from kedge.wire.http import Buffer

_MOST_AT_ONCE = 256
"""Segments that one call writes; the kernel takes 1,024."""
_BEGIN_BYTES = 8 * 1024 * 1024
_AHEAD_BYTES = 4 * 1024 * 1024
_AHEAD_FROM_BYTES = 256 * 1024


class PieceWriter:
    def __init__(self, path: Path, data_key: bytes = b"") -> None:
        """data_key: empty leaves the bytes as they are. Raises FileExistsError."""
        self._file = io.FileIO(path, "xb", opener=_private)
        self._sealer = sealed.Writer(data_key) if data_key else None
        self._written = self._begun = 0
        if self._sealer is not None:
            self._put([self._sealer.header])

    def write(self, data: Buffer) -> None:
        self._put([data] if self._sealer is None else self._sealer.update(data))

    def finish(self, *, durable: bool) -> None:
        """Nothing more follows. durable: what was written survives a power loss once this returns."""
        if self._sealer is not None:
            self._put([self._sealer.final()])
        if durable:
            os.fsync(self._file.fileno())
        self._file.close()

    @property
    def digest(self) -> bytes:
        """Of what was sealed: 16 bytes that say nothing about it."""
        assert self._sealer is not None, "a plain body has an MD5"
        return self._sealer.digest

    def close(self) -> None:
        self._file.close()

    def _put(self, data: Sequence[Buffer]) -> None:
        left = deque(memoryview(each) for each in data if len(each))
        while left:
            written = os.writev(self._file.fileno(), list(islice(left, _MOST_AT_ONCE)))
            self._written += written
            while left and written >= len(left[0]):
                written -= len(left.popleft())
            if written:
                left[0] = left[0][written:]
        if self._written - self._begun >= _BEGIN_BYTES and hasattr(os, "posix_fadvise"):
            # Linux begins to write dirty pages when it is told so. Without it all waits for the flush at the end.
            count = self._written - self._begun
            os.posix_fadvise(self._file.fileno(), self._begun, count, os.POSIX_FADV_DONTNEED)
            self._begun = self._written


class PieceReader:
    def __init__(self, path: Path, piece: Piece, data_key: bytes = b"") -> None:
        """data_key: the one it was written with. Raises OSError for a file that is damaged."""
        self._file = io.FileIO(path, "rb")
        self._size = piece.size
        self._opener: sealed.Reader | None = None
        if data_key:
            try:
                self._opener = sealed.Reader(data_key, self._get(0, sealed.HEADER_BYTES), piece.size)
            except sealed.Damaged as damaged:
                self._file.close()
                raise OSError(f"{path} is damaged: {damaged}") from None

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` of the piece's bytes; none where the file ends too early. Raises OSError when it is damaged."""
        count = min(count, self._size - offset)
        if self._opener is None:
            return self._get(offset, count)
        count = sealed.until_boundary(offset, count)
        try:
            return self._opener.open(self._get(*self._opener.place(offset, count)), offset, count)
        except sealed.Damaged as damaged:
            raise OSError(f"{self._file.name!s} is damaged: {damaged}") from None

    def close(self) -> None:
        self._file.close()

    def _get(self, start: int, count: int) -> bytes:
        """All of them, unless the file ends."""
        if count >= _AHEAD_FROM_BYTES and hasattr(os, "posix_fadvise"):
            # What comes next is read from the disk while this is decrypted and sent.
            os.posix_fadvise(self._file.fileno(), start + count, _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
        data = os.pread(self._file.fileno(), count, start)
        while len(data) < count and (more := os.pread(self._file.fileno(), count - len(data), start + len(data))):
            data += more
        return data


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
