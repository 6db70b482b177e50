"""The format of an encrypted body: chunked AES-256-GCM, written as a stream and read at any place.

    "KEDGE\\x00\\x01\\x00" (8 bytes) | salt (32) | segment 0 | segment 1 | ...

A segment is 64 KiB of the body, the last one shorter or empty, each followed by its tag of 16 bytes. The file's own key
comes from a data key and the salt by HKDF-SHA256, so any number of files may share a data key. A segment's nonce is its
number; whether it is the last one is bound to it as well. So a segment that is changed, moved, left out, taken from
another file or cut off behind is found when it is read, and what was read before is right. The data key itself is kept,
sealed, by whoever names the file. Source of the construction: "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance" (Hoang, Reyhanitabar, Rogaway, Vizar, 2015), section on STREAM.
"""

from __future__ import annotations

import hashlib
import os

from kedge.kms.aead import SALT_BYTES, TAG_BYTES, derived
from kedge.wire.http import Buffer

MAGIC = b"KEDGE\x00\x01\x00"
HEADER_BYTES = len(MAGIC) + SALT_BYTES
SEGMENT_BYTES = 64 * 1024
_STORED_BYTES = SEGMENT_BYTES + TAG_BYTES
_PURPOSE = b"kedge body 1"
_MORE, _LAST = b"\x00", b"\x01"


class Damaged(Exception):
    """The file is not what was written under this key; the message says where."""


class Writer:
    """Seals a body as it comes: `header`, then what each `update` and at the end `final` return."""

    def __init__(self, data_key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.header = MAGIC + os.urandom(SALT_BYTES)
        self._cipher = AESGCM(derived(data_key, self.header, _PURPOSE))
        self._held = b""
        """At most one segment: which one is the last is not known before the end."""
        self._number = 0
        self._tags = hashlib.md5(usedforsecurity=False)

    def update(self, data: Buffer) -> list[bytes]:
        view, out = memoryview(data), []
        # A whole segment stays behind even when the data ends with it, for it may be the last one.
        if self._held and (missing := SEGMENT_BYTES - len(self._held)) < len(view):
            first = b"".join((self._held, view[:missing])) if missing else self._held
            out.append(self._segment(memoryview(first), _MORE))
            self._held, view = b"", view[missing:]
        if self._held:
            self._held += view
            return out
        whole = max(0, (len(view) - 1) // SEGMENT_BYTES)
        out += [self._segment(view[n * SEGMENT_BYTES : (n + 1) * SEGMENT_BYTES], _MORE) for n in range(whole)]
        self._held = bytes(view[whole * SEGMENT_BYTES :])
        return out

    def final(self) -> bytes:
        return self._segment(memoryview(self._held), _LAST)

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for what was written, and say nothing about it without the key."""
        return self._tags.digest()

    def _segment(self, data: memoryview, last: bytes) -> bytes:
        stored = self._cipher.encrypt(_nonce(self._number), data, last)
        self._number += 1
        self._tags.update(stored[-TAG_BYTES:])
        return stored


class Reader:
    """Opens segments of one file. size: of the body, which the reader has to know to tell which segment is the last."""

    def __init__(self, data_key: bytes, header: bytes, size: int) -> None:
        """Raises Damaged when it is no header."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
            raise Damaged("it does not begin as a sealed body does")
        self._cipher = AESGCM(derived(data_key, header, _PURPOSE))
        self._size = size
        self._last = count_of(size) - 1

    def place(self, offset: int, count: int) -> tuple[int, int]:
        """(offset, number of bytes) in the file of the segments that hold these bytes of the body; count > 0."""
        first, last = offset // SEGMENT_BYTES, (offset + count - 1) // SEGMENT_BYTES
        end = HEADER_BYTES + (last + 1) * _STORED_BYTES
        if last == self._last:
            end = stored_size(self._size)
        start = HEADER_BYTES + first * _STORED_BYTES
        return start, end - start

    def open(self, stored: bytes, offset: int, count: int) -> bytes:
        """The bytes of the body, from what stands at `place(offset, count)`. Raises Damaged."""
        from cryptography.exceptions import InvalidTag

        first, view = offset // SEGMENT_BYTES, memoryview(stored)
        if len(view) != self.place(offset, max(1, count))[1]:
            raise Damaged("it is shorter than the body that it holds")
        out: list[bytes] = []
        for number, start in enumerate(range(0, len(view), _STORED_BYTES), first):
            last = _LAST if number == self._last else _MORE
            try:
                out.append(self._cipher.decrypt(_nonce(number), view[start : start + _STORED_BYTES], last))
            except (InvalidTag, ValueError):
                raise Damaged(f"segment {number} does not open") from None
        plain = out[0] if len(out) == 1 else b"".join(out)
        skip = offset - first * SEGMENT_BYTES
        return plain if len(plain) == count else plain[skip : skip + count]


def until_boundary(offset: int, count: int) -> int:
    """How many of `count` bytes to ask for, so that the next piece begins with a segment, if a segment ends before."""
    end = (offset + count) // SEGMENT_BYTES * SEGMENT_BYTES
    return end - offset if end > offset else count


def count_of(size: int) -> int:
    """Segments of a body of `size` bytes; an empty one has one, which says that it is empty."""
    return max(1, -(-size // SEGMENT_BYTES))


def stored_size(size: int) -> int:
    """Bytes of the file of a body of `size` bytes."""
    return HEADER_BYTES + size + count_of(size) * TAG_BYTES


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
