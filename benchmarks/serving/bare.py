"""The model without any server: what no server can be faster than with the same model."""

from __future__ import annotations

import os
import time
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.serving import works
from benchmarks.serving.load import Load, Sent
from benchmarks.serving.rows import Row

NAME = "the model itself"


class Bare:
    """Calls the model in this process, one request after the other, whatever the number of connections."""

    def __init__(self) -> None:
        self.roots = (os.getpid(),)

    def load(self, work: str, connections: int, rate: float) -> Load:
        model, rows, count = works.model(), works.rows(), works.ROWS[work]

        def load(seconds: float) -> Sent:
            took_s: list[float] = []
            # One thread, as all servers have.
            with threadpool_limits(1):
                start = end = time.perf_counter()
                while end - start < seconds:
                    first = len(took_s) * count % works.COUNT
                    model.predict_proba(rows[first : first + count])
                    began, end = end, time.perf_counter()
                    took_s.append(end - began)
            ordered = sorted(took_s)
            return Sent(
                requests=len(took_s),
                seconds=end - start,
                p50_ms=ordered[len(ordered) // 2] * 1000,
                p99_ms=ordered[len(ordered) * 99 // 100] * 1000,
                max_ms=ordered[-1] * 1000,
                errors=0,
                checked=0,
            )

        return load

    def stop(self) -> None:
        """Nothing was started."""


def _start(works: tuple[str, ...], folder: Path) -> Bare:
    return Bare()


ROW = Row(NAME, ("gbdt1", "gbdt100"), _start)
