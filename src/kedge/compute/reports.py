"""What an instance says of itself: JSON lines in its status pipe, and the last of them in its state file.

    {"state": "ready"}    {"state": "failed", "reason": "..."}

The pipe ends with the supervisor that made it; a later one reads the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

Report = dict[str, Any]
_MAX_LINE_BYTES = 256 * 1024
_POLL_S = 0.05


class Reports(Protocol):
    def close(self) -> None:
        """Hands on what was said until now, and then no more."""


class StatusPipe:
    """Reads a pipe for as long as it is open. The instance is foreign code: what is no report is passed over."""

    def __init__(self, descriptor: int, heard: Callable[[Report], None]) -> None:
        self._descriptor = descriptor
        self._heard = heard
        self._line = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def close(self) -> None:
        self._read()
        self._end()

    def _read(self) -> None:
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return
            if not data or len(self._line) > _MAX_LINE_BYTES:
                self._end()
                return
            *lines, rest = (bytes(self._line) + data).split(b"\n")
            self._line = bytearray(rest)
            for line in lines:
                _tell(line, self._heard)

    def _end(self) -> None:
        if self._descriptor < 0:
            return
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1


class StateFile:
    """Looks into the file until it says how the start went."""

    def __init__(self, path: Path, heard: Callable[[Report], None]) -> None:
        self._path = path
        self._heard = heard
        self._said = b""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def close(self) -> None:
        self._look()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with contextlib.suppress(OSError):
            said = self._path.read_bytes()
            if said != self._said:
                self._said = said
                _tell(said, self._heard)
        if not self._said:
            self._timer = self._loop.call_later(_POLL_S, self._look)


def _tell(line: bytes, heard: Callable[[Report], None]) -> None:
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict):
            heard(found)
