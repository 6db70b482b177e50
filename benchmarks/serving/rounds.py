"""Every server in turn, round after round, so that what slows this machine down for a while slows all of them."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving import own
from benchmarks.serving.environments import CannotInstall
from benchmarks.serving.load import measure
from benchmarks.serving.machine import Tree
from benchmarks.serving.rows import Row, Running

Plan = Mapping[str, Sequence[int]]
"""Connections of each work."""
FULL: Plan = {"echo": (1, 16, 64), "gbdt1": (1, 16, 64), "gbdt100": (1, 16, 64)}
QUICK: Plan = {"echo": (1, 64), "gbdt1": (1, 64), "gbdt100": (16,)}


@dataclass(frozen=True)
class Pace:
    rounds: int
    warm_s: float
    seconds: float

    def __str__(self) -> str:
        rounds = "1 round" if self.rounds == 1 else f"{self.rounds} rounds"
        return f"{rounds}, {self.seconds:g} s a measurement"


def run(rows: Sequence[Row], plan: Plan, pace: Pace, results: Path) -> list[dict[str, Any]]:
    """Measure, print each figure as it comes, and append it to `results` as a line of JSON."""
    found = []
    with results.open("a") as out:
        for number in range(1, pace.rounds + 1):
            for row in rows:
                for each in _turn(row, plan, pace):
                    found.append({"round": number, "row": row.name, **each})
                    out.write(json.dumps(found[-1]) + "\n")
                    out.flush()
                    print(_said(found[-1]), flush=True)
    return found


def _turn(row: Row, plan: Plan, pace: Pace) -> Iterator[dict[str, Any]]:
    wanted = tuple(work for work in row.works if work in plan)
    models = dict.fromkeys(own.model_of(work) for work in wanted)
    starts = [tuple(w for w in wanted if own.model_of(w) == model) for model in models] if row.one_model else [wanted]
    for works in filter(None, starts):
        folder = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
        try:
            began = time.monotonic()
            running = row.start(works, folder)
            start_s = time.monotonic() - began
            try:
                for each in _measured(running, works, plan, pace):
                    yield {**each, "start_s": start_s}
            finally:
                running.stop()
        except (RuntimeError, OSError, CannotInstall) as error:
            print(f"{row.name}: {error}", file=sys.stderr, flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _measured(running: Running, works: Sequence[str], plan: Plan, pace: Pace) -> Iterator[dict[str, Any]]:
    tree = Tree(*running.roots)
    for work in works:
        for connections in plan[work]:
            warm = running.load(work, connections, 1000.0)(pace.warm_s)
            load = running.load(work, connections, warm.requests / warm.seconds)
            yield {"work": work, "connections": connections, **measure(tree, load, pace.seconds).fields()}


def _said(found: Mapping[str, Any]) -> str:
    return (
        f"{found['round']:2} {found['row']:22} {found['work']:8} c={found['connections']:<3}"
        f" {found['rps']:8.0f}/s  p50 {found['p50_ms']:8.2f} ms  p99 {found['p99_ms']:8.2f} ms"
        f"  {found['errors']} errors"
        f"  {found['checked']} checked  {found['cpu_us']:7.0f} us CPU  {found['pss_mib']:5.0f} MiB"
        f"  others {found['other_cores']:.2f} cores"
    )
