"""The checksums that S3 clients send along, taken as the body passes.

CRC32 and the SHAs come from the standard library. CRC32C and CRC64NVME are worked out here: a CRC is linear, so that of
a block is the XOR of what each byte adds at its place, which NumPy looks up for 64 KiB at once (measured: about
60 MB/s on a laptop's core; byte by byte in Python it is about 8).
Sources: "Checking object integrity" in the S3 user guide; R. Williams, A Painless Guide to CRC Error Detection
Algorithms.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from kedge.wire.http import Buffer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

SIZES = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
"""Algorithm -> bytes of a checksum."""

_POLYNOMIALS = {"CRC32C": 0x82F63B78, "CRC64NVME": 0x9A6C9329AC4BC9B5}
"""Bits reflected; both CRCs begin and end with inversion."""
_LANES = 256
_LANE_BYTES = 256
_BLOCK_BYTES = _LANES * _LANE_BYTES
_SHORT_BYTES = 512
"""Below this the tables of single bytes are faster than setting a block up."""


class Checksum(Protocol):
    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


def new(algorithm: str) -> Checksum:
    """algorithm: one of SIZES."""
    if algorithm == "CRC32":
        return _Crc32()
    if algorithm in _POLYNOMIALS:
        return _TableCrc(algorithm)
    return hashlib.new(algorithm.lower(), usedforsecurity=False)


def parse(algorithm: str, text: str) -> bytes | None:
    """The checksum that a header holds in base64; None when it cannot be one."""
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return None
    return raw if len(raw) == SIZES[algorithm] else None


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _TableCrc:
    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._ones = (1 << 8 * SIZES[algorithm]) - 1
        self._value = self._ones

    def update(self, data: Buffer, /) -> None:
        for start in range(0, len(data), _BLOCK_BYTES):
            part = data[start : start + _BLOCK_BYTES]
            short = len(part) < _SHORT_BYTES
            self._value = _short(self._algorithm, self._value, part) if short else self._block(part)

    def digest(self) -> bytes:
        return (self._value ^ self._ones).to_bytes(SIZES[self._algorithm], "big")

    def _block(self, part: Buffer) -> int:
        """What went before counts as if it were XORed into the first bytes; zeros in front of these change nothing."""
        import numpy as np

        places, shifts = _tables(self._algorithm)
        block = np.zeros(_BLOCK_BYTES, np.uint8)
        block[_BLOCK_BYTES - len(part) :] = np.frombuffer(part, np.uint8)
        first = block[_BLOCK_BYTES - len(part) :][: SIZES[self._algorithm]]
        first ^= np.frombuffer(self._value.to_bytes(len(first), "little"), np.uint8)
        each = places[np.arange(_LANE_BYTES), block.reshape(_LANES, _LANE_BYTES)]
        xor: Any = np.bitwise_xor  # its stubs know no axis in every release of NumPy
        lanes: Words = xor.reduce(each, axis=1)
        for shift in shifts:  # neighbours join: the left one is moved on by the right one's length
            lanes = _apply(shift, lanes[0::2]) ^ lanes[1::2]
        return int(lanes[0])


def _short(algorithm: str, value: int, data: Buffer) -> int:
    table = _byte_table(algorithm)
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value


@lru_cache(maxsize=len(_POLYNOMIALS))
def _byte_table(algorithm: str) -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIALS[algorithm] if value & 1 else 0)
        table.append(value)
    return tuple(table)


@lru_cache(maxsize=len(_POLYNOMIALS))
def _tables(algorithm: str) -> tuple[Words, list[Words]]:
    """What a byte adds at each place of a lane, shape (_LANE_BYTES, 256); and, for each time that neighbours join, the
    CRC that a CRC becomes when the right one's length in zeros follows it, by its bytes, shape (8, 256)."""
    import numpy as np

    of_byte = np.array(_byte_table(algorithm), np.uint64)
    eight, low = np.uint64(8), np.uint64(0xFF)
    places = np.empty((_LANE_BYTES, 256), np.uint64)
    places[-1] = of_byte
    for place in range(_LANE_BYTES - 2, -1, -1):
        after = places[place + 1]
        places[place] = (after >> eight) ^ of_byte[after & low]
    values = np.arange(256, dtype=np.uint64)[None, :] << np.arange(0, 64, 8, dtype=np.uint64)[:, None]
    shift: Words = (values >> eight) ^ of_byte[values & low]
    for _ in range(_LANE_BYTES.bit_length() - 1):
        shift = _apply(shift, shift)
    shifts = []
    for _ in range(_LANES.bit_length() - 1):
        shifts.append(shift)
        shift = _apply(shift, shift)
    return places, shifts


def _apply(shift: Words, values: Words) -> Words:
    import numpy as np

    low = np.uint64(0xFF)
    moved: Words = shift[0, values & low]
    for place in range(1, 8):
        moved = moved ^ shift[place, (values >> np.uint64(8 * place)) & low]
    return moved
