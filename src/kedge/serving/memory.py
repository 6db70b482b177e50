"""How much memory the models of an instance take, and which of them go when there is no room."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PRIVATE = re.compile(rb"^Private_(?:Clean|Dirty|Hugetlb):\s+(\d+) kB$", re.MULTILINE)


def own_bytes() -> int:
    """What of this process no other one shares; 0 where the kernel does not say."""
    return _private(Path("/proc/self/smaps_rollup"))


def bytes_of(pid: int) -> int:
    """The same of another process; 0 where the kernel does not say, or /proc is not that of our own process ids."""
    with suppress(OSError):
        if os.readlink("/proc/self") == str(os.getpid()):
            return _private(Path(f"/proc/{pid}/smaps_rollup"))
    return 0


@dataclass(frozen=True)
class Loaded:
    name: str
    bytes: int
    idle: bool
    """No request is at it."""


def to_unload(loaded: Sequence[Loaded], coming_bytes: int, budget_bytes: int, most: int) -> list[str] | None:
    """Whom to unload so that one more model of `coming_bytes` fits; None: it has to wait until others are idle. PURE.

    loaded: the least recently used first. budget_bytes: 0 is no bound. most: how many models there may be at all. A
    model that fits nowhere may be tried alone: what it really takes is only known afterwards.
    """
    gone: list[str] = []
    count, used = len(loaded), sum(each.bytes for each in loaded)
    for each in loaded:
        if count < most and (not budget_bytes or used + coming_bytes <= budget_bytes):
            return gone
        if each.idle:
            gone.append(each.name)
            count, used = count - 1, used - each.bytes
    fits = count < most and (not budget_bytes or used + coming_bytes <= budget_bytes)
    return gone if fits or not count else None


def _private(path: Path) -> int:
    try:
        return sum(int(each) for each in _PRIVATE.findall(path.read_bytes())) * 1024
    except OSError:
        return 0
