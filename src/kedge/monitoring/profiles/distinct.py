"""How many different values there are, in 4 KB, within 1.6 %; two counts merge into that of both. PURE.

Sources: Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog", 2007; the estimate is that of Ertl, "New cardinality
estimation algorithms for HyperLogLog sketches", 2017, which needs no corrections by table.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kedge.monitoring.profiles.kll import Floats

Hashes = NDArray[np.uint64]

_BITS = 12
_REGISTERS = 1 << _BITS
_LONGEST = 64 - _BITS
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


class Distinct:
    __slots__ = ("_registers",)

    def __init__(self) -> None:
        self._registers = np.zeros(_REGISTERS, dtype=np.uint8)

    def add(self, hashes: Hashes) -> None:
        rest = hashes << np.uint64(_BITS)
        least = int(self._registers.min())
        if least:  # most values no longer change a register
            news = rest < np.uint64(1 << (64 - least))
            hashes, rest = hashes[news], rest[news]
        # 52 bits, which a float64 holds exactly: its exponent says where the first 1 is.
        _, exponents = np.frexp((rest >> np.uint64(_BITS)).astype(np.float64))
        ranks = (_LONGEST + 1 - exponents).astype(np.uint8)
        np.maximum.at(self._registers, (hashes >> np.uint64(64 - _BITS)).astype(np.intp), ranks)

    def merge(self, other: Distinct) -> None:
        np.maximum(self._registers, other._registers, out=self._registers)

    def estimate(self) -> float:
        counts = np.bincount(self._registers, minlength=_LONGEST + 2).tolist()
        z = _REGISTERS * _tau(1.0 - counts[_LONGEST + 1] / _REGISTERS)
        for rank in range(_LONGEST, 0, -1):
            z = 0.5 * (z + counts[rank])
        z += _REGISTERS * _sigma(counts[0] / _REGISTERS)
        return 0.0 if math.isinf(z) else _REGISTERS * _REGISTERS / (2 * math.log(2)) / z


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    power, total = 1.0, x
    while True:
        x *= x
        before = total
        total += x * power
        power += power
        if total == before:
            return total


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    power, total = 1.0, 1.0 - x
    while True:
        x = math.sqrt(x)
        before = total
        power *= 0.5
        total -= (1.0 - x) ** 2 * power
        if total == before:
            return total / 3.0


def hashes_of_numbers(values: Floats) -> Hashes:
    return _mixed((values + 0.0).view(np.uint64))  # -0.0 is 0.0


def _mixed(words: Hashes) -> Hashes:
    """The finalizer of MurmurHash3 (Appleby): each bit of the input changes half of the output's."""
    with np.errstate(over="ignore"):
        words = (words ^ (words >> _SHIFT)) * _FIRST
        words = (words ^ (words >> _SHIFT)) * _SECOND
    return words ^ (words >> _SHIFT)
