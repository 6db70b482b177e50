"""Roles that an earlier supervisor started: who of them reports, and the listening sockets that they lend."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from kedge.compute.records import RoleRecord, RunRecord

WITHIN_S = 2.0
"""A role that lives reports to a new supervisor each 0.1 s; one that does not is stuck."""
FORK_SERVER = "forkserver"
KEEPER = "keeper"
HELPERS = (FORK_SERVER, KEEPER)
CAPTURE = "capture"
LATER = (*HELPERS, CAPTURE)
"""Roles without which both ports answer: they are started after those that it takes."""


class Adoption:
    """previous: what the earlier supervisor wrote down; None at a first start and after an orderly end."""

    def __init__(self, previous: RunRecord | None) -> None:
        living = [each for each in (previous.roles if previous else ()) if each.process.alive()]
        # A helper lives on its socket to the supervisor that started it, and ends without.
        self.expected = {each.task: each for each in living if each.role not in HELPERS}
        self.reported: dict[str, RoleRecord] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._complete = asyncio.Event()
        if not self.expected:
            self._complete.set()

    def hello(self, task: str, pid: int, descriptor: int) -> bool:
        """Whether this is one of them. Takes the descriptor over."""
        record = self.expected.get(task)
        known = record is not None and record.process.pid == pid
        if record is not None and known and descriptor >= 0 and record.role not in self._sockets:
            self._sockets[record.role] = socket.socket(fileno=descriptor)
        elif descriptor >= 0:
            os.close(descriptor)
        if record is not None and known:
            self.reported[task] = record
            if self.reported.keys() == self.expected.keys():
                self._complete.set()
        return known

    async def wait(self) -> None:
        """Until all have reported, at most WITHIN_S."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._complete.wait(), WITHIN_S)

    def stuck(self) -> list[RoleRecord]:
        return [record for task, record in self.expected.items() if task not in self.reported]

    def socket(self, role: str) -> socket.socket | None:
        """The listening socket of "control" or "router"; the caller's from then on."""
        return self._sockets.pop(role, None)

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()
