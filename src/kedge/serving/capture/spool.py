"""What was captured and is not delivered yet: files on the disk, each of which becomes one object.

    FOLDER/UUID    u32 length | sealed label | u32 length | sealed records | ...

A file is appended to until it is delivered, and then removed. Each append is sealed as a whole (AES-256-GCM, under a
key that comes from the master key and the file's name), so a kill in the middle of one loses that one at most: the file
is read up to it. One that an earlier process left is never appended to, only delivered. Appends are not flushed to the
disk one by one: they survive the end of every process, and a loss of power takes the last seconds.

Nothing here waits for anything but the disk. What there is no room for is refused, and the caller counts it.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kedge.kms import aead

_LENGTH = struct.Struct("<I")

log = logging.getLogger(__name__)


class SpoolFull(Exception):
    """There is no room for it; the message says whose."""


@dataclass(frozen=True)
class Target:
    """Where records go: those of one target may share a file."""

    account: str
    region: str
    endpoint: str
    variant: str
    bucket: str
    prefix: str
    kms_key: str
    hour: int
    """Hours since 1970."""

    @property
    def variant_key(self) -> tuple[str, str, str, str]:
        return self.account, self.region, self.endpoint, self.variant


@dataclass
class Segment:
    """One file of the spool."""

    id: str
    """A UUID."""
    target: Target
    first_at_s: float
    """Time of the first record."""
    bytes: int = 0
    """On the disk."""
    records: int = 0
    """0 in a file that an earlier process left: they are counted when it is read."""
    blocks: int = 0


class Spool:
    """Used from one thread, but for `read`."""

    def __init__(self, folder: Path, secret: bytes, limit_bytes: int) -> None:
        """secret: 32 bytes from which the files' keys come. A variant gets at most a quarter of limit_bytes."""
        self._folder = folder
        self._secret = secret
        self.limit_bytes = limit_bytes
        self._open: dict[Target, Segment] = {}
        self._files: dict[str, int] = {}
        self._ciphers: dict[str, _Cipher] = {}
        self._segments: set[str] = set()
        self._by_variant: dict[tuple[str, str, str, str], int] = {}
        self.bytes = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def left(self) -> Iterator[Segment]:
        """What an earlier process left, the oldest first. What cannot be read is removed, and logged."""
        for path in sorted(self._folder.iterdir(), key=lambda each: each.stat().st_mtime):
            try:
                label = json.loads(next(self._blocks(path)))
                segment = Segment(path.name, Target(**label["target"]), float(label["first_at_s"]))
            except (StopIteration, ValueError, TypeError, KeyError, OSError) as error:
                log.error("%s of the spool cannot be read and is removed: %r", path.name, error)
                path.unlink(missing_ok=True)
                continue
            self._segments.add(segment.id)
            self._grown(segment, path.stat().st_size)
            yield segment

    def append(self, target: Target, lines: Sequence[bytes], first_at_s: float) -> Segment:
        """Add records, all or none. Raises SpoolFull, OSError."""
        data = b"".join(lines)
        taken, most = self._by_variant.get(target.variant_key, 0), self.limit_bytes // 4
        if taken + len(data) > most:
            raise SpoolFull(f"{taken} bytes of the variant wait for delivery already; it may have {most}")
        if self.bytes + len(data) > self.limit_bytes:
            raise SpoolFull(f"{self.bytes} bytes wait for delivery already; at most {self.limit_bytes} may")
        segment = self._open.get(target)
        if segment is None:
            segment = self._begin(target, first_at_s)
        self._write(segment, data)
        segment.records += len(lines)
        return segment

    def close(self, segment: Segment) -> None:
        """Nothing is appended to it any more."""
        if self._open.get(segment.target) is segment:
            del self._open[segment.target]
        self._ciphers.pop(segment.id, None)
        descriptor = self._files.pop(segment.id, None)
        if descriptor is not None:
            os.close(descriptor)

    def read(self, segment: Segment) -> bytes:
        """Its records, whole lines. Raises OSError."""
        blocks = self._blocks(self._folder / segment.id)
        next(blocks, None)
        return b"".join(blocks)

    def remove(self, segment: Segment) -> None:
        """It was delivered, or never will be."""
        self.close(segment)
        (self._folder / segment.id).unlink(missing_ok=True)
        if segment.id in self._segments:
            self._segments.discard(segment.id)
            self._grown(segment, -segment.bytes)

    def _begin(self, target: Target, first_at_s: float) -> Segment:
        segment = Segment(str(uuid.uuid4()), target, first_at_s)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._files[segment.id] = os.open(self._folder / segment.id, flags, 0o600)
        self._segments.add(segment.id)
        self._ciphers[segment.id] = _Cipher(self._secret, segment.id)
        try:
            self._write(segment, json.dumps({"target": asdict(target), "first_at_s": first_at_s}).encode())
        except OSError:
            self.remove(segment)
            raise
        self._open[target] = segment
        return segment

    def _write(self, segment: Segment, data: bytes) -> None:
        """Raises OSError, and then the file is as it was before, or nothing is appended to it any more."""
        sealed = self._ciphers[segment.id].seal(segment.blocks, data)
        descriptor = self._files[segment.id]
        whole = _LENGTH.pack(len(sealed)) + sealed
        try:
            view = memoryview(whole)
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            # A nonce must not be used twice, so a half-written block ends its file.
            self.close(segment)
            raise
        segment.blocks += 1
        self._grown(segment, len(whole))

    def _grown(self, segment: Segment, count: int) -> None:
        segment.bytes += count
        self.bytes += count
        key = segment.target.variant_key
        self._by_variant[key] = self._by_variant.get(key, 0) + count
        if not self._by_variant[key]:
            del self._by_variant[key]

    def _blocks(self, path: Path) -> Iterator[bytes]:
        """Up to the first that is not whole."""
        cipher = _Cipher(self._secret, path.name)
        with path.open("rb") as file:
            number = 0
            while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
                (length,) = _LENGTH.unpack(head)
                data = cipher.open(number, file.read(length)) if length <= path.stat().st_size else None
                if data is None:
                    return
                yield data
                number += 1


class _Cipher:
    """A file's own key, and a nonce for each block: its number, which is never used twice."""

    def __init__(self, secret: bytes, name: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aes = AESGCM(aead.derived(secret, name.encode(), b"kedge capture spool"))

    def seal(self, number: int, data: bytes) -> bytes:
        return self._aes.encrypt(number.to_bytes(12, "big"), data, b"")

    def open(self, number: int, sealed: bytes) -> bytes | None:
        """None for what is not whole."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._aes.decrypt(number.to_bytes(12, "big"), sealed, b"")
        except (InvalidTag, ValueError):
            return None
