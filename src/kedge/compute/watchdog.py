"""Bounding the memory of instances where no control group can: looking how much they use, and ending who uses more.

What a process shares with the fork server it was forked from counts for it in part only, as far as the kernel says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from kedge.compute.process_id import Stat, read_stat

PERIOD_S = 0.5
_PROC = Path("/proc")


def members(roots: Iterable[int], processes: Mapping[int, Stat]) -> set[int]:
    """The roots, all that descends from them, and the sessions that they lead. PURE."""
    children: dict[int, list[int]] = {}
    for pid, stat in processes.items():
        children.setdefault(stat.parent, []).append(pid)
    first = set(roots)
    waiting = [*first, *(pid for pid, stat in processes.items() if stat.session in first)]
    found: set[int] = set()
    while waiting:
        pid = waiting.pop()
        if pid not in found and pid in processes:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def processes() -> dict[int, Stat]:
    """All of this machine that can be seen."""
    found = {}
    with contextlib.suppress(FileNotFoundError):  # no /proc
        for entry in _PROC.iterdir():
            if entry.name.isdigit() and (stat := read_stat(int(entry.name))) is not None:
                found[int(entry.name)] = stat
    return found


def used(pids: Iterable[int]) -> int:
    """Bytes of memory of their own; what n processes share counts 1/n for each."""
    return sum(map(_close_bytes, pids))


def over(pids: Iterable[int], limit_bytes: int) -> bool:
    """Whether they use more memory of their own together. Counted closely only when the rough count is above."""
    pids = list(pids)
    return sum(map(_rough_bytes, pids)) > limit_bytes and sum(map(_close_bytes, pids)) > limit_bytes


def _rough_bytes(pid: int) -> int:
    """What is shared counts in full."""
    return _sum(pid, "status", ("RssAnon:", "RssShmem:"))


def _close_bytes(pid: int) -> int:
    """What n processes share counts 1/n for each."""
    return _sum(pid, "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) or _rough_bytes(pid)


def _sum(pid: int, file: str, names: tuple[str, ...]) -> int:
    try:
        lines = (_PROC / str(pid) / file).read_text().splitlines()
    except OSError:  # it has ended, or is not ours to read
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
