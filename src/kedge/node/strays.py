"""Processes of a data directory that no record claims: left by a supervisor that was killed at the wrong moment."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable

from kedge.compute.launcher import HOME_MARK
from kedge.compute.process_id import ProcessId, marked, read_stat

_DEEPEST = 64

log = logging.getLogger(__name__)


def kill_unclaimed(home_id: str, claimed: Iterable[ProcessId]) -> list[ProcessId]:
    """SIGKILL to what carries the mark and neither is claimed nor descends from a claimed process or from this one.

    Returns whom it was sent to. Where there is no /proc nobody is found.
    """
    safe = {process.pid for process in claimed if process.alive()} | {os.getpid()}
    mine = set(_ancestors(os.getpid()))
    killed = []
    for pid in marked(HOME_MARK, home_id):
        stat = read_stat(pid)
        if stat is None or pid in mine or stat.session in safe or not safe.isdisjoint(_line(pid)):
            continue
        try:
            process = ProcessId.of(pid)
            process.signal(signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
        log.warning("process %d carries this server's mark and stands in no record: killed", pid)
        killed.append(process)
    return killed


def _line(pid: int) -> list[int]:
    """The process and those above it; the supervisor itself adopts orphans, so being below it claims nobody."""
    return [each for each in (pid, *_ancestors(pid)) if each != os.getpid()]


def _ancestors(pid: int) -> list[int]:
    found: list[int] = []
    stat = read_stat(pid)
    while stat is not None and stat.parent > 1 and len(found) < _DEEPEST:
        found.append(stat.parent)
        stat = read_stat(stat.parent)
    return found
