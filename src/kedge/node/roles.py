"""Keeping a role alive: control, each router, the fork server."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any

from kedge.compute import restart
from kedge.compute.children import Children
from kedge.compute.process_id import ProcessId
from kedge.compute.records import RoleRecord
from kedge.config import CANNOT_START

GRACE_S = 10.0
"""From SIGTERM to SIGKILL."""

log = logging.getLogger(__name__)


class Role:
    """One process that is started again whenever it ends."""

    def __init__(
        self,
        role: str,
        task: str,
        settings_hash: str,
        spawn: Callable[[], ProcessId],
        children: Children,
        changed: Callable[[], None],
    ) -> None:
        """spawn raises OSError when the machine cannot start it; changed hears of every new process."""
        self.role = role
        self.task = task
        self.settings_hash = settings_hash
        self.process: ProcessId | None = None
        self.restarts = 0
        self.refused = False
        """It said that it cannot start, before `settle`; it is not started again."""
        self._settled = False
        self._spawn = spawn
        self._children = children
        self._changed = changed
        self._keeping: asyncio.Task[None] | None = None

    def begin(self, adopted: ProcessId | None = None) -> None:
        """Start it, or take up the one that runs, and keep it from now on."""
        if adopted is None:
            self._start()
        else:
            self.process = adopted
        self._keeping = asyncio.create_task(self._keep())

    @property
    def begun(self) -> bool:
        return self._keeping is not None

    def settle(self) -> None:
        """The server is ready: from now on it is started again however it ends."""
        self._settled = True

    def record(self) -> RoleRecord | None:
        if self.process is None:
            return None
        return RoleRecord(self.role, self.task, self.process, self.settings_hash)

    def as_dict(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "task": self.task,
            "pid": self.process.pid if self.process else None,
            "state": "running" if self.process else "restarting",
            "restarts": self.restarts,
        }

    async def end(self, *, at_once: bool = False) -> None:
        """SIGTERM, then SIGKILL. May be called again to hurry."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        if self.process is not None:
            await end(self.process, self._children, 0.0 if at_once else GRACE_S)
            self.process = None

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        failures, began = 0, loop.time()
        while True:
            if self.process is not None:
                status = await self._children.ended(self.process)
                log.warning("%s (process %d) ended with %s", self.task, self.process.pid, status)
                self.process = None
                if status == CANNOT_START and not self._settled:
                    self.refused = True
                    return
            failures = restart.failures_after(failures, loop.time() - began)
            await asyncio.sleep(restart.back_off_s(failures, restart.LONGEST_ROLE_BACK_OFF_S))
            self.restarts += 1
            began = loop.time()
            self._start()

    def _start(self) -> None:
        try:
            self.process = self._spawn()
        except OSError as error:
            log.error("%s cannot be started: %s", self.task, error)
        self._changed()


async def end(process: ProcessId, children: Children, grace_s: float) -> None:
    """SIGTERM, then SIGKILL after the grace; returns once it has ended."""
    ended = asyncio.ensure_future(children.ended(process))
    try:
        if grace_s > 0 and process.signal(signal.SIGTERM):
            await asyncio.wait({ended}, timeout=grace_s)
        if not ended.done():
            process.signal(signal.SIGKILL)
        await ended
    finally:
        ended.cancel()
