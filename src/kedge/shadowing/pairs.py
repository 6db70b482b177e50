"""Two answers to one request, production's and the shadow's, and how a router hands them on to be compared. PURE.

    u32 length of what follows | u32 length of the head | head, JSON | production's body | the shadow's body

Equal bodies travel once. Bodies that are too large to be compared do not travel: only whether they are equal does.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import orjson

from kedge.serving.meter import VariantPlace

MAX_BODY_BYTES = 256 * 1024
"""Of an answer that is compared number by number."""
MAX_PAIR_BYTES = 4 * MAX_BODY_BYTES
_LENGTHS = struct.Struct("<II")
_HEAD_LENGTH_BYTES = 4


class BadPair(ValueError):
    """The peer is no router of this release."""


class Answer(NamedTuple):
    status: int
    """The model's, as HTTP has it; 0 when it gave none."""
    latency_us: float
    content_type: str
    body: bytes


class Pair(NamedTuple):
    shadow: VariantPlace
    generation: str
    """Changes with the fleet of the shadow: what was learnt of another one counts no more."""
    production: Answer
    copied: Answer
    """What the shadow said."""
    same: bool
    """Both bodies are the same, byte for byte."""
    whole: bool = True
    """Both bodies are here; False when they were too large."""


def encode(pair: Pair) -> bytes:
    production, copied = pair.production, pair.copied
    whole = max(len(production.body), len(copied.body)) <= MAX_BODY_BYTES
    bodies = (production.body, b"" if pair.same else copied.body) if whole else (b"", b"")
    head = orjson.dumps(
        [
            *pair.shadow,
            pair.generation,
            [production.status, production.latency_us, production.content_type, len(bodies[0])],
            [copied.status, copied.latency_us, copied.content_type, len(bodies[1])],
            pair.same,
            whole,
        ]
    )
    length = _HEAD_LENGTH_BYTES + len(head) + len(bodies[0]) + len(bodies[1])
    return b"".join((_LENGTHS.pack(length, len(head)), head, *bodies))


class Decoder:
    """Pairs out of the pieces in which they arrive."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Pair]:
        """Raises BadPair, and then nothing more can be read."""
        self._held += data
        found: list[Pair] = []
        at = 0
        while len(self._held) - at >= _LENGTHS.size:
            length, head_length = _LENGTHS.unpack_from(self._held, at)
            if not _HEAD_LENGTH_BYTES + head_length <= length <= MAX_PAIR_BYTES:
                raise BadPair(f"a pair of {length} bytes with a head of {head_length}")
            end = at + _HEAD_LENGTH_BYTES + length
            if len(self._held) < end:
                break
            body = at + _LENGTHS.size + head_length
            found.append(_pair(bytes(self._held[at + _LENGTHS.size : body]), bytes(self._held[body:end])))
            at = end
        del self._held[:at]
        return found


def _pair(head: bytes, bodies: bytes) -> Pair:
    try:
        *place, generation, production, copied, same, whole = orjson.loads(head)
        status, latency_us, kind, length = production
        copied_status, copied_latency_us, copied_kind, copied_length = copied
        if length + copied_length != len(bodies):
            raise BadPair("a pair whose lengths do not add up")
        body = bodies[:length]
        return Pair(
            VariantPlace(*place),
            generation,
            Answer(status, latency_us, kind, body),
            Answer(copied_status, copied_latency_us, copied_kind, body if same else bodies[length:]),
            same,
            whole,
        )
    except (ValueError, TypeError) as error:
        raise BadPair(f"a pair that cannot be read: {error}") from error
