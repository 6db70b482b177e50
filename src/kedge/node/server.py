"""RUN/supervisor.sock: what control asks of the engine, and how roles report back to a new supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedge.compute.base import TaskSpec, TaskStatus
from kedge.compute.lines import Lines
from kedge.compute.messages import LineError
from kedge.compute.tasks import Tasks, to_wire
from kedge.compute.usage import Sampler
from kedge.errors import InternalFailure, ServiceError, ValidationFailed

MAX_CONNECTIONS = 64

log = logging.getLogger(__name__)


class Server:
    """hello: asked whether a role may stay, with its pid and the socket that it lends (or -1), which it then owns.

    status: what `kedge status` shows. ephemeral: whether tasks may be dropped all at once.
    """

    def __init__(
        self,
        path: Path,
        tasks: Tasks,
        hello: Callable[[str, int, int], bool],
        status: Callable[[], dict[str, Any]],
        sampler: Sampler,
        *,
        ephemeral: bool,
    ) -> None:
        self._path = path
        self._tasks = tasks
        self._hello = hello
        self._status = status
        self._sampler = sampler
        self._ephemeral = ephemeral
        self._serving: set[asyncio.Task[None]] = set()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(MAX_CONNECTIONS)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        self._accepting.cancel()
        for task in self._serving:
            task.cancel()
        await asyncio.wait({self._accepting, *self._serving})
        self._listener.close()
        self._path.unlink(missing_ok=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # out of descriptors: those who wait are served once some are free
                log.error("no connection can be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            if len(self._serving) >= MAX_CONNECTIONS:
                sock.close()
                continue
            task = asyncio.create_task(self._serve(Lines(sock)))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, lines: Lines) -> None:
        with contextlib.suppress(OSError, LineError):  # the peer is gone or talks nonsense: either way it is over
            try:
                while (message := await lines.read()) is not None:
                    if message.get("op") == "hello":
                        if not self._welcome(message, lines):
                            return
                    elif message.get("op") == "watch":
                        await self._watch(message, lines)
                        return
                    else:
                        await lines.write(await self._answer(message))
            finally:
                lines.close()

    def _welcome(self, message: dict[str, Any], lines: Lines) -> bool:
        pid = lines.peer_pid() or message.get("pid")
        lent, lines.lent[:] = list(lines.lent), []
        for descriptor in lent[1:]:
            os.close(descriptor)
        return isinstance(pid, int) and self._hello(str(message.get("task")), pid, lent[0] if lent else -1)

    async def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        number = message.get("id")
        try:
            return {"id": number, "result": await self._do(message)}
        except ServiceError as error:
            return {"id": number, "error": error.message, "code": error.code}
        except (KeyError, TypeError, ValueError) as error:
            return {"id": number, "error": f"The request cannot be read: {error!r}.", "code": ValidationFailed.code}
        except OSError as error:
            return {"id": number, "error": f"It cannot be recorded: {error}.", "code": InternalFailure.code}

    async def _do(self, message: dict[str, Any]) -> Any:
        match message.get("op"):
            case "start":
                self._tasks.start(TaskSpec.of(message["spec"]))
            case "stop":
                self._tasks.stop(message["task"], at_once=bool(message.get("at_once")))
            case "observe":
                return [to_wire(status) for status in self._tasks.observe()]
            case "log_tail":
                return self._tasks.log_tail(message["task"], int(message["lines"]))
            case "usage":
                return self._sampler.after(str(message["boot"]), int(message["sequence"]))
            case "status":
                return self._status()
            case "reset":
                if not self._ephemeral:
                    raise ValidationFailed("Only a server that was started with --ephemeral can be reset.")
                await self._tasks.reset()
            case other:
                raise ValidationFailed(f'"{other}" is no request to the supervisor.')
        return None

    async def _watch(self, message: dict[str, Any], lines: Lines) -> None:
        """Every task now, then each change. A watcher that reads slowly gets the last status of each task only."""
        waiting: dict[str, TaskStatus] = {}
        some = asyncio.Event()

        def changed(status: TaskStatus) -> None:
            waiting[status.id] = status
            some.set()

        self._tasks.watchers.add(changed)
        gone = asyncio.ensure_future(lines.read())
        try:
            await lines.write({"id": message.get("id"), "result": [to_wire(each) for each in self._tasks.observe()]})
            while not gone.done():
                woken = asyncio.ensure_future(some.wait())
                await asyncio.wait({gone, woken}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                some.clear()
                while waiting:
                    status = waiting.pop(next(iter(waiting)))
                    await lines.write({"task": to_wire(status)})
        finally:
            self._tasks.watchers.discard(changed)
            gone.cancel()
            with contextlib.suppress(OSError, LineError, asyncio.CancelledError):
                await gone
