"""What instances use of the machine, looked at by the supervisor and kept until control has taken it.

A look reads two files of each instance's control group, or all of /proc where there are no groups. Each sample has the
name of the supervisor's life and a number in it, so that one that is handed out twice counts once.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kedge.clock import Clock
from kedge.compute import watchdog
from kedge.compute.cgroup import Groups
from kedge.compute.nvml import gpu_usage
from kedge.compute.process_id import Stat, read_stat
from kedge.compute.records import TaskRecord
from kedge.compute.used import PERIOD_S, Sample, Usage, between

MOST = 90
"""Samples that are kept while control is away: of 15 minutes."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Sampler:
    def __init__(self, look: Callable[[], list[Usage]], data: Path, clock: Clock) -> None:
        """data: the data directory."""
        self._look, self._data, self._clock = look, data, clock
        self._boot = os.urandom(8).hex()
        self._sequence = 0
        self._before: dict[str, Usage] | None = None
        self._looked_s = -PERIOD_S
        self._kept: deque[Sample] = deque(maxlen=MOST)

    def look(self) -> None:
        """Take a sample when one is due."""
        now_s = self._clock.monotonic_s()
        span_s = now_s - self._looked_s
        if span_s < PERIOD_S:
            return
        seen = {each.task: each for each in self._look()}
        before, self._before, self._looked_s = self._before, seen, now_s
        # Of what a supervisor has just adopted it is not known how much is new.
        used = [between(before.get(task), now, span_s) for task, now in seen.items()] if before is not None else []
        if used:
            disk = shutil.disk_usage(self._data)
            self._sequence += 1
            at_s = self._clock.now().timestamp()
            share = disk.used / max(1, disk.used + disk.free)
            self._kept.append(Sample(self._boot, self._sequence, at_s, share, tuple(used)))

    def after(self, boot: str, sequence: int) -> list[dict[str, Any]]:
        """All that came after this one, which was taken and is forgotten; all there are, when it is of another life."""
        while boot == self._boot and self._kept and self._kept[0].sequence <= sequence:
            self._kept.popleft()
        return [each.as_json() for each in self._kept]


def of_instance(record: TaskRecord, loaded: int | None, everybody: Mapping[int, Stat], groups: Groups | None) -> Usage:
    """everybody: every process of this machine, where there are no groups. What a container engine runs is not seen."""
    if groups is not None:
        found = {pid: stat for pid in groups.processes(record.spec.id) if (stat := read_stat(pid)) is not None}
    else:
        roots = [each.pid for each in (record.process, record.gate) if each is not None]
        found = {pid: everybody[pid] for pid in watchdog.members(roots, everybody)}
    cpu_s = {f"{pid}/{stat.start}": stat.cpu_ticks / _TICKS_PER_S for pid, stat in found.items()}
    memory_bytes = groups.memory_bytes(record.spec.id) if groups is not None else None
    return Usage(
        record.spec.id,
        record.spec.labels,
        cpu_s,
        watchdog.used(found) if memory_bytes is None else memory_bytes,
        record.spec.memory_bytes,
        loaded if record.spec.many_models else None,
        gpu_usage(record.gpus),
    )
