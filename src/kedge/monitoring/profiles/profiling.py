"""Profiles of data sets, on several cores: columns are dealt out, so what comes out does not depend on their number."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

from kedge.monitoring.profiles.column import Column
from kedge.monitoring.profiles.profile import Profile
from kedge.monitoring.reading.pieces import Piece, Values

_AHEAD = 2
"""Pieces that are read while others are counted."""


def profiled(pieces: Iterable[Piece], cores: int = 0, beside: Callable[[Piece], None] | None = None) -> Profile:
    """cores: 0 is all that this process may use. Reading happens in the caller's thread, and so does `beside`."""
    lanes = cores or _cores()
    profile = Profile()
    lane_of: dict[str, int] = {}
    waiting: deque[list[Future[None]]] = deque()
    with ExitStack() as stack:
        workers = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(lanes)]
        for piece in pieces:
            profile.rows += piece.rows
            if beside:
                beside(piece)
            dealt: list[list[tuple[Column, Values]]] = [[] for _ in range(lanes)]
            for name, values in piece.columns.items():
                dealt[lane_of.setdefault(name, len(lane_of) % lanes)].append((profile.column(name), values))
            waiting.append([worker.submit(_add, part) for worker, part in zip(workers, dealt, strict=True)])
            del dealt, piece
            if len(waiting) > _AHEAD:
                _wait(waiting.popleft())
        while waiting:
            _wait(waiting.popleft())
    return profile


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _add(part: list[tuple[Column, Values]]) -> None:
    for column, values in part:
        column.add(values.series, values.integral)
    part.clear()


def _wait(futures: list[Future[None]]) -> None:
    for future in futures:
        future.result()
