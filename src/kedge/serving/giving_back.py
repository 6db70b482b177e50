"""A router gives memory back: after large bodies the C library keeps what they took, hundreds of MiB, for ever.

The library's own threshold (M_MMAP_THRESHOLD) would give each body back at once, and costs new pages for every
one: some 45 % more CPU with bodies of 5 MB. So it is asked once the router rests.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from kedge.clock import Clock

LOOK_S = 5.0
GROWN_BYTES = 64 * 1024 * 1024
"""Less than that above what it was is not worth the while."""
_STILL_BYTES = 1024 * 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Rest:
    """When to ask, by how much memory the process has. PURE."""

    def __init__(self) -> None:
        self._least: int | None = None
        self._before = 0

    def is_due(self, resident_bytes: int) -> bool:
        """resident_bytes: now. True where it has grown and stands still since the last look."""
        self._least = resident_bytes if self._least is None else min(self._least, resident_bytes)
        stands = abs(resident_bytes - self._before) <= _STILL_BYTES
        self._before = resident_bytes
        return stands and resident_bytes - self._least >= GROWN_BYTES

    def asked(self, resident_bytes: int) -> None:
        """resident_bytes: what was left. What is still in use then is no reason to ask again."""
        self._least = self._before = resident_bytes


def resident_bytes() -> int:
    """Of this process; 0 where the kernel does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def trimmer() -> Callable[[int], int] | None:
    """malloc_trim; None where the C library has none (it is glibc's)."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


async def give_back(clock: Clock) -> None:
    """For ever. The trim runs in a thread, without Python's lock."""
    trim, rest = trimmer(), Rest()
    while trim is not None:
        await clock.sleep(LOOK_S)
        if rest.is_due(resident_bytes()):
            await asyncio.to_thread(trim, 0)
            rest.asked(resident_bytes())
