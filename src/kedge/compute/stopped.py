"""Processes that were stopped by a signal and not continued: nothing tells that they do not answer.

A connection to one stays open and its health check only times out, so whoever is stopped for a while is taken for dead.
A debugger's stop (state t) is another state and is left alone. Source: proc_pid_stat(5).
"""

from __future__ import annotations

from collections.abc import Iterable

from kedge.compute.process_id import ProcessId, read_stat

STOPPED_S = 2.0
"""A shell's SIGTSTP with SIGCONT after it, or a snapshot of a virtual machine, takes less."""


class Stopped:
    """Remembers since when; no clock of its own."""

    def __init__(self) -> None:
        self._since_s: dict[ProcessId, float] = {}

    def look(self, processes: Iterable[ProcessId], now_s: float) -> list[ProcessId]:
        """Those that were stopped at every look for STOPPED_S. now_s: on a clock that never jumps."""
        since_s = {each: self._since_s.get(each, now_s) for each in processes if _is_stopped(each)}
        self._since_s = since_s
        return [each for each, began_s in since_s.items() if now_s - began_s >= STOPPED_S]


def _is_stopped(process: ProcessId) -> bool:
    stat = read_stat(process.pid)
    return stat is not None and stat.state == "T" and stat.start == process.start
