"""Which variant, and which of its instances, answers a request. PURE: every draw comes from a source passed in.

Traffic is split in blocks. A block holds each variant's share of it in random order, so the split is even (a client
that counts sees the weights, not a coin's luck) and random (no client that calls in a rhythm always meets the same
variant). Block lengths divide 1,000: of the 1,000 requests from the start of a block, each variant gets its share to
within one request, whatever the weights are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from random import Random

BLOCK_LENGTHS = tuple(n for n in range(1, 1001) if 1000 % n == 0)
_SHORTEST_UNEVEN = 10
_EXACT = 1e-9
CROWDING = 1.5
"""An instance with so many times the mean of unanswered requests, and CROWDED more, is passed over."""
CROWDED = 4


class NoTraffic(ValueError):
    """Every weight is 0: nothing says which variant is to answer."""


class Split:
    """The order in which an endpoint's variants take requests, for one set of weights.

    Make a new one when the weights change: its first block starts at once. A variant of weight 0 is never drawn.
    """

    def __init__(self, weights: Sequence[float], random: Random) -> None:
        """weights: one per variant, at least 0 and finite. `random` shuffles the blocks."""
        self.weights = tuple(weights)
        self._shares = shares(weights)
        self._length = block_length(self._shares) if self._shares else 0
        self._owed: list[Fraction] = []
        self._only = next((index for index, part in enumerate(self._shares) if part == 1), None)
        self._template: list[int] = []
        if self._length and _is_whole(self._shares, self._length):
            self._template = _spread([round(part * self._length) for part in self._shares])
        self._block: list[int] = []
        self._random = random

    def draw(self) -> int:
        """The index of the next request's variant. Raises NoTraffic."""
        if self._only is not None:
            return self._only
        if not self._block:
            self._next_block()
        return self._block.pop()

    def _next_block(self) -> None:
        if not self._shares:
            raise NoTraffic("all weights are 0")
        if self._template:
            self._block = self._template.copy()
        elif not self._owed:
            counts, self._owed = at_first(self._shares, self._length, random=self._random.random())
            self._block = _spread(counts)
        else:
            counts, self._owed = apportion(self._shares, self._owed, self._length)
            self._block = _spread(counts)
        self._random.shuffle(self._block)


def shares(weights: Sequence[float]) -> tuple[Fraction, ...]:
    """Each variant's exact part of the traffic; they add up to 1. Empty when all weights are 0."""
    exact = [Fraction(weight) for weight in weights]
    total = sum(exact)
    return tuple(weight / total for weight in exact) if total else ()


def block_length(parts: Sequence[Fraction]) -> int:
    """The shortest block that holds whole numbers of each share: evenest for whoever starts to count anywhere.

    Where no block up to 1,000 does, the shortest of 10 or more in which the smallest share gets one request.
    """
    for length in BLOCK_LENGTHS:
        if _is_whole(parts, length):
            return length
    smallest = min(part for part in parts if part)
    return next((n for n in BLOCK_LENGTHS if n >= _SHORTEST_UNEVEN and smallest * n >= 1), BLOCK_LENGTHS[-1])


def at_first(parts: Sequence[Fraction], length: int, random: float) -> tuple[tuple[int, ...], list[Fraction]]:
    """As apportion, for a first block: what no whole number can be is rounded at random.

    Else a split that is begun anew again and again would give the same variants more than their share each time. On
    average each gets its share (systematic sampling, Madow, 1949). random: at least 0 and below 1.
    """
    counts, end, before = [], Fraction(random), 0
    for part in parts:
        end += part * length
        counts.append(math.floor(end) - before)
        before = math.floor(end)
    return tuple(counts), [part * length - count for part, count in zip(parts, counts, strict=True)]


def apportion(
    parts: Sequence[Fraction], owed: Sequence[Fraction], length: int
) -> tuple[tuple[int, ...], list[Fraction]]:
    """How many requests of the next block each variant gets, and what it is owed afterwards: (counts, owed).

    The largest remainders get the requests that are left. `owed` is what was due minus what was given so far; it adds
    up to 0 and stays between -1 and 1 for ever, so errors do not pile up from block to block.
    """
    due = [part * length + debt for part, debt in zip(parts, owed, strict=True)]
    counts = [max(0, math.floor(each)) for each in due]
    left = length - sum(counts)
    # With `left` below 0 someone was floored up to 0; then those with the smallest remainders give one back.
    order = sorted(range(len(due)), key=lambda index: (counts[index] - due[index], index))
    step = 1 if left > 0 else -1
    candidates = [i for i in (order if step > 0 else reversed(order)) if parts[i] and counts[i] + step >= 0]
    for index in candidates[: abs(left)]:
        counts[index] += step
    return tuple(counts), [each - count for each, count in zip(due, counts, strict=True)]


def instance(routing: str, outstanding: Sequence[int], draw: float) -> int:
    """The index of the instance that gets the request. Raises ValueError when there is none.

    routing: LEAST_OUTSTANDING_REQUESTS takes the one that is least busy, by a draw among equals; any other is RANDOM.
    outstanding: unanswered requests of each healthy instance. draw: at least 0 and below 1.
    """
    if not outstanding:
        raise ValueError("no healthy instance")
    if routing != "LEAST_OUTSTANDING_REQUESTS":
        return int(draw * len(outstanding))
    least = min(outstanding)
    idle = [index for index, count in enumerate(outstanding) if count == least]
    return idle[int(draw * len(idle))]


def sticky(key: str, names: Sequence[str], weights: Sequence[float]) -> int:
    """The index of the variant that always answers requests of this key. Raises NoTraffic.

    Over many keys each variant gets its share. Every router finds the same one without asking, and when weights change
    only keys move that have to (weighted rendezvous hashing; Schindelhauer and Schomaker, 2005).
    """
    best, found = math.inf, -1
    for index, (name, weight) in enumerate(zip(names, weights, strict=True)):
        if weight > 0:
            # -ln u / w is exponential of rate w, and the smallest of such draws is a variant's by its share.
            place = -math.log(uniform(f"{name}/{key}")) / weight
            if place < best:
                best, found = place, index
    if found < 0:
        raise NoTraffic("all weights are 0")
    return found


def uniform(key: str) -> float:
    """A number above 0 and at most 1 that belongs to the key; over many keys they are spread evenly."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / 2.0**64


def at_home(key: str, ids: Sequence[str], outstanding: Sequence[int]) -> int:
    """The index of the instance where requests of this key belong, so that few instances load its model.

    Every router finds the same one without asking, and when instances come or go few keys move (highest random weight,
    Thaler and Ravishankar, 1998). One that has more than its part of the load is passed over for the next in line
    (consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam, 2018).
    """
    most = CROWDED + CROWDING * sum(outstanding) / len(outstanding)
    order = sorted(range(len(ids)), key=lambda index: _weight(key, ids[index]))
    return next((index for index in order if outstanding[index] < most), order[0])


def by_prefix(key: str, ids: Sequence[str], outstanding: Sequence[int], threshold: int, draw: float) -> int:
    """The index of the instance that answers requests whose bodies begin alike, so that it knows the beginning already.

    key: of the beginning. Every router finds the same one, as in `at_home`. When it has `threshold` unanswered requests
    the least busy one of all takes this one, by a draw among equals. draw: at least 0 and below 1.
    """
    home = min(range(len(ids)), key=lambda index: _weight(key, ids[index]))
    if outstanding[home] < threshold:
        return home
    return instance("LEAST_OUTSTANDING_REQUESTS", outstanding, draw)


def prefix_key(body: bytes, length: int, id_: str) -> str:
    """Of the first `length` bytes of a body. id_: tells applications apart whose bodies begin alike; "" for none."""
    digest = hashlib.blake2b(body[:length], digest_size=16, key=id_.encode()[:64])
    return digest.hexdigest()


@lru_cache(4096)
def _weight(key: str, id_: str) -> bytes:
    return hashlib.blake2b(f"{id_}/{key}".encode(), digest_size=8).digest()


def _is_whole(parts: Sequence[Fraction], length: int) -> bool:
    return all(abs(part * length - round(part * length)) < _EXACT for part in parts)


def _spread(counts: Sequence[int]) -> list[int]:
    return [index for index, count in enumerate(counts) for _ in range(count)]
