"""The supervisor's end of a helper: a process that answers one question at a time over its socket.

Every question has a number, which its answer repeats. A helper whose own child was killed at the wrong moment may
answer one question twice; the second answer must not be taken for that of the next question.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedge.compute import output
from kedge.compute.children import Children
from kedge.compute.lines import Lines
from kedge.compute.messages import LineError
from kedge.compute.process_id import ProcessId

log = logging.getLogger(__name__)


class HelperGone(Exception):
    """It ended before it answered."""


@dataclass(frozen=True)
class Answer:
    message: Mapping[str, Any]
    lent: list[int] = field(default_factory=list)
    """Descriptors, the receiver's from now on."""

    def close(self) -> None:
        for descriptor in self.lent:
            os.close(descriptor)
        self.lent.clear()


class Helper:
    """`spawn` starts the process and is called again whenever it has ended."""

    def __init__(
        self, name: str, children: Children, command: Sequence[str], environment: Mapping[str, str], log_file: Path
    ) -> None:
        """command: gets --socket-fd FD. The process says one line, its greeting, and then answers each question."""
        self._name = name
        self._children = children
        self._command = command
        self._environment = environment
        self._log_file = log_file
        self._asking = asyncio.Lock()
        self._lines: Lines | None = None
        self._greeted = asyncio.Event()
        self._greeting: asyncio.Task[None] | None = None
        self._hello: Mapping[str, Any] = {}
        self._number = 0

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

    async def greeting(self) -> Mapping[str, Any]:
        """What it said first; waits until it has."""
        await self._greeted.wait()
        return self._hello

    async def ask(
        self, message: Mapping[str, Any], descriptors: Sequence[int], undo: Callable[[Answer], None]
    ) -> Answer:
        """Waits until it can be asked. Raises HelperGone.

        When cancelled it leaves no half of a conversation: `undo` is given an answer that nobody waits for any more.
        """
        async with self._asking:
            await self._greeted.wait()
            asked = asyncio.ensure_future(self._exchange(message, descriptors))
            try:
                return await asyncio.shield(asked)
            except asyncio.CancelledError:
                with contextlib.suppress(HelperGone):
                    undo(await asked)
                raise

    async def _exchange(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> Answer:
        lines = self._lines
        if lines is None:
            raise HelperGone(f"the {self._name} ended")
        self._number += 1
        try:
            await lines.write({**message, "number": self._number}, descriptors)
            # What answers an earlier question again is an error and lends nothing.
            while (answer := await lines.read()) is not None and answer.get("number") != self._number:
                log.warning("the %s said after its answer: %s", self._name, answer.get("error"))
        except (OSError, LineError) as error:
            log.warning("the %s is gone: %s", self._name, error)
            answer = None
        if answer is None:
            self._greeted.clear()  # until the next one says that it is ready
            raise HelperGone(f"the {self._name} ended")
        lent, lines.lent[:] = list(lines.lent), []
        return Answer(answer, lent)

    def close(self) -> None:
        """A helper that loses its socket ends by itself."""
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
        if hello is not None:
            self._hello = hello
            self._greeted.set()
