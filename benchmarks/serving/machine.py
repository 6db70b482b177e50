"""What processes of this machine cost, as /proc says: CPU time and memory of a server with all its children."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Process(NamedTuple):
    parent: int
    session: int
    cpu_s: float
    """Its own and that of its children which ended and were waited for."""
    started: int
    """Ticks after boot; with the pid it names one process for ever."""


def processes() -> dict[int, Process]:
    found = {}
    for entry in os.listdir(_PROC):
        if entry.isdecimal():
            try:
                text = (_PROC / entry / "stat").read_text()
            except OSError:  # it ended since the folder was listed
                continue
            fields = text[text.rindex(")") + 2 :].split()
            ticks = sum(map(int, fields[11:15]))
            found[int(entry)] = Process(int(fields[1]), int(fields[3]), ticks / _TICKS_PER_S, int(fields[19]))
    return found


class Tree:
    """A server's processes, their descendants and sessions; whoever was seen once stays while it lives."""

    def __init__(self, *roots: int) -> None:
        self._roots = roots
        self._known: dict[int, int] = {}

    def members(self) -> dict[int, Process]:
        now = processes()
        members = {pid for pid, started in self._known.items() if pid in now and now[pid].started == started}
        members |= {pid for pid, process in now.items() if pid in self._roots or process.session in self._roots}
        grew = True
        while grew:
            more = {pid for pid, process in now.items() if process.parent in members} - members
            members |= more
            grew = bool(more)
        self._known = {pid: now[pid].started for pid in members}
        return {pid: now[pid] for pid in members}

    def cpu_s(self) -> float:
        return sum(process.cpu_s for process in self.members().values())


def memory_mib(pids: Iterable[int]) -> float:
    """Proportional set size: a page that n processes share counts as an nth of a page in each."""
    total_kib = 0
    for pid in pids:
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:  # it ended
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kib / 1024


def busy_s() -> float:
    """CPU time that all of the machine has used since boot, what the hypervisor took from it included."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S
