"""The supervisor's end of the fork server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kedge.compute import output
from kedge.compute.children import Children
from kedge.compute.instance import Request
from kedge.compute.lines import LineError, Lines
from kedge.compute.process_id import ProcessId

log = logging.getLogger(__name__)


class CannotFork(Exception):
    """This fork server will never fork: a thread runs in it as soon as it has imported."""


class ForkFailed(Exception):
    """This fork was not possible; the message says why."""


class ForkServer:
    """Asks one fork at a time. `spawn` starts the process and is called again whenever it has ended."""

    def __init__(
        self,
        children: Children,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_file: Path,
        kill_unclaimed: Callable[[], None],
    ) -> None:
        self._children = children
        self._command = command
        self._environment = environment
        self._log_file = log_file
        self._kill_unclaimed = kill_unclaimed
        self._asking = asyncio.Lock()
        self._lines: Lines | None = None
        self._greeted = asyncio.Event()
        self._greeting: asyncio.Task[None] | None = None
        self._usable = True

    def spawn(self) -> ProcessId:
        """Raises OSError."""
        self.close()
        ours, theirs = socket.socketpair()
        file = output.open_for_append(self._log_file)
        try:
            process = self._children.spawn(
                [*self._command, "--socket-fd", str(theirs.fileno())],
                self._environment,
                output=file,
                descriptors=[theirs.fileno()],
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(file)
        self._lines = Lines(ours)
        self._greeting = asyncio.create_task(self._greet(self._lines))
        return process

    async def fork(self, request: Request, status_fd: int, output_fd: int) -> int:
        """The pid of the new instance, which falls to the supervisor. Waits until the fork server has imported.

        Raises ForkFailed, or CannotFork when instances are to be started in another way. When cancelled it leaves
        neither an instance nor half a conversation.
        """
        async with self._asking:
            await self._greeted.wait()
            if not self._usable:
                raise CannotFork
            asked = asyncio.ensure_future(self._ask(request, status_fd, output_fd))
            try:
                return await asyncio.shield(asked)
            except asyncio.CancelledError:
                with contextlib.suppress(ForkFailed, ProcessLookupError):
                    ProcessId.of(await asked).signal(signal.SIGKILL)
                raise

    async def _ask(self, request: Request, status_fd: int, output_fd: int) -> int:
        assert self._lines is not None
        try:
            await self._lines.write({"fork": request.as_dict()}, [status_fd, output_fd])
            answer = await self._lines.read()
        except (OSError, LineError) as error:
            log.warning("the fork server is gone: %s", error)
            answer = None
        if answer is None:
            self._greeted.clear()  # until the next one says that it is ready
            self._kill_unclaimed()  # it may have forked and not said so
            raise ForkFailed("the fork server ended")
        if "pid" not in answer:
            raise ForkFailed(str(answer.get("error")))
        return int(answer["pid"])

    def close(self) -> None:
        """A fork server that loses its socket ends by itself."""
        self._greeted.clear()
        if self._greeting is not None:
            self._greeting.cancel()
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    async def _greet(self, lines: Lines) -> None:
        try:
            hello = await lines.read()
        except (OSError, LineError):
            return
        if hello is None:
            return
        if hello["threads"] != 1:
            log.warning("no forks: %d threads run after the imports; each instance imports by itself", hello["threads"])
            self._usable = False
        self._greeted.set()
