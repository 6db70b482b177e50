"""The supervisor's end of the keeper, and what it knows of a sandbox."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from kedge.compute.helper import Answer, Helper, HelperGone
from kedge.compute.keeper import Order
from kedge.compute.messages import send_now
from kedge.compute.process_id import ProcessId


class NoSandbox(Exception):
    """It could not be made; the message says why."""


@dataclass
class Sandbox:
    """One that was made and waits for its instance. Whoever has it closes it: then it ends, if no instance was told."""

    gate: ProcessId | None
    """Its first process; None when that has already ended."""
    environment: Mapping[str, str]
    """What the instance is to know of it."""
    namespaces: list[tuple[str, int]] = field(default_factory=list)
    """(name, descriptor)"""
    line: socket.socket | None = None

    def tell(self, process: ProcessId) -> None:
        """Which process the instance is: from now on the sandbox lives as long as that one."""
        assert self.line is not None
        tell(self.line, process)

    def close_namespaces(self) -> None:
        for _, descriptor in self.namespaces:
            os.close(descriptor)
        self.namespaces.clear()

    def close(self) -> None:
        self.close_namespaces()
        if self.line is not None:
            self.line.close()
            self.line = None


def tell(line: socket.socket, process: ProcessId) -> None:
    """Say on a line that gate.Watch reads which process the instance is."""
    with contextlib.suppress(OSError):  # nobody is at the other end any more, and the instance ends too
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(process.pid)
            try:
                send_now(line, {}, [descriptor])
            finally:
                os.close(descriptor)
        else:
            send_now(line, {"pid": process.pid})


class Keeper:
    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    def spawn(self) -> ProcessId:
        """Raises OSError."""
        return self._helper.spawn()

    def close(self) -> None:
        self._helper.close()

    async def make(self, order: Order) -> Sandbox:
        """Raises NoSandbox. When cancelled it leaves none."""
        try:
            return _sandbox(await self._helper.ask({"sandbox": order.as_dict()}, (), Answer.close))
        except HelperGone as error:
            raise NoSandbox(str(error)) from error


def _sandbox(answer: Answer) -> Sandbox:
    if "gate" not in answer.message:
        answer.close()
        raise NoSandbox(str(answer.message.get("error")))
    line = socket.socket(fileno=answer.lent[0])
    line.setblocking(True)
    namespaces = list(zip(answer.message["namespaces"], answer.lent[1:], strict=True))
    try:
        gate = ProcessId.of(answer.message["gate"])
    except ProcessLookupError:
        gate = None
    return Sandbox(gate, answer.message["environment"], namespaces, line)
