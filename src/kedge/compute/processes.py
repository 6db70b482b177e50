"""The engine for processes on this machine, as control sees it: the supervisor does the work, this asks it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from kedge import errors
from kedge.compute import capacity
from kedge.compute.base import Capacity, TaskSpec, TaskState, TaskStatus
from kedge.compute.lines import Lines
from kedge.compute.messages import LineError
from kedge.compute.tasks import from_wire
from kedge.compute.used import Sample
from kedge.config import DEFAULTS, Settings
from kedge.home import Home

RETRY_S = 0.05
_ERRORS: dict[str, type[errors.ServiceError]] = {
    each.code: each
    for each in (
        errors.ValidationFailed,
        errors.ConcurrentChange,
        errors.ResourceLimitExceeded,
        errors.ServiceUnavailable,
    )
}

log = logging.getLogger(__name__)


class _Lost(Exception):
    """The supervisor went away before it answered."""


class LocalEngine:
    """Implements compute.base.Engine. A call waits for a supervisor that is being restarted, at most patience_s.

    Raises ServiceUnavailable after that, and else what the supervisor answered.
    """

    def __init__(self, home: Home, settings: Settings = DEFAULTS, *, patience_s: float = 10.0) -> None:
        self._home = home
        self._capacity = capacity.of_machine(settings)
        self._patience_s = patience_s
        self._lines: Lines | None = None
        self._reader: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._count = 0

    async def start(self, spec: TaskSpec) -> None:
        await self._call("start", spec=asdict(spec))

    async def stop(self, task_id: str, *, at_once: bool = False) -> None:
        await self._call("stop", task=task_id, at_once=at_once)

    async def observe(self) -> Sequence[TaskStatus]:
        return [from_wire(each) for each in await self._call("observe")]

    async def log_tail(self, task_id: str, lines: int = 20) -> str:
        return str(await self._call("log_tail", task=task_id, lines=lines))

    async def usage(self, boot: str, sequence: int) -> list[Sample]:
        """What instances used, as far as the supervisor has not been told that it was taken (usage.py).

        boot, sequence: of the last sample that was; "" and 0 at first.
        """
        return [Sample.of(each) for each in await self._call("usage", boot=boot, sequence=sequence)]

    def capacity(self) -> Capacity:
        return self._capacity

    async def reset(self) -> None:
        """Kill and forget every task; only the supervisor of `kedge up --ephemeral` does that."""
        await self._call("reset")

    async def changes(self) -> AsyncIterator[TaskStatus]:
        """Each task's status once, then whenever it changes; what changed while no supervisor listened comes late.

        Of several changes in quick succession the last is certain to come.
        """
        known: dict[str, TaskStatus] = {}
        while True:
            with contextlib.suppress(OSError, LineError):
                async with contextlib.aclosing(self._watch(known)) as statuses:
                    async for status in statuses:
                        if status.state is TaskState.STOPPED:
                            known.pop(status.id, None)
                        else:
                            known[status.id] = status
                        yield status
            await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})
        self._lose()

    async def _watch(self, known: dict[str, TaskStatus]) -> AsyncGenerator[TaskStatus, None]:
        """What differs from `known`, then every change, until the supervisor is gone."""
        lines = await self._connect()
        try:
            await lines.write({"id": 0, "op": "watch"})
            answer = await lines.read()
            if answer is None:
                return
            now = {each["id"]: from_wire(each) for each in answer["result"]}
            for missing in known.keys() - now.keys():
                yield replace(known[missing], state=TaskState.STOPPED, pid=None)
            for status in now.values():
                if known.get(status.id) != status:
                    yield status
            while (message := await lines.read()) is not None:
                yield from_wire(message["task"])
        finally:
            lines.close()

    async def _call(self, operation: str, **fields: Any) -> Any:
        """Every operation may be repeated, so one that was not answered is asked again."""
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    with contextlib.suppress(OSError, LineError, _Lost):
                        return await self._ask({"op": operation, **fields})
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            raise errors.ServiceUnavailable(
                f"The supervisor of this machine did not answer within {self._patience_s:g} s."
            ) from None

    async def _ask(self, message: dict[str, Any]) -> Any:
        async with self._connecting:
            if self._lines is None:
                self._lines = await self._connect()
                self._reader = asyncio.create_task(self._read(self._lines))
        self._count += 1
        number = self._count
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await self._lines.write({"id": number, **message})
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def _read(self, lines: Lines) -> None:
        try:
            while (message := await lines.read()) is not None:
                waiting = self._waiting.get(message.get("id", 0))
                if waiting is None or waiting.done():
                    continue
                if "error" in message:
                    kind = _ERRORS.get(message.get("code", ""), errors.InternalFailure)
                    waiting.set_exception(kind(message["error"]))
                else:
                    waiting.set_result(message.get("result"))
        except (OSError, LineError) as error:
            log.debug("the supervisor is gone: %s", error)
        self._lose()

    def _lose(self) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(_Lost())

    async def _connect(self) -> Lines:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, str(self._home.supervisor_socket))
        except BaseException:
            sock.close()
            raise
        return Lines(sock)
