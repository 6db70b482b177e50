"""What an instance says of itself: JSON lines in its status pipe, and the last of them in its state file.

    {"state": "ready"}    {"state": "failed", "reason": "..."}    {"wants": {FOLDER: MODEL, ...}, "loaded": N}
    {"state": "ready", "serves": "compiling"}: what stands in TaskStatus.serves
    {"state": "ready", "batch": {"MaxConcurrentTransforms": 4}}: of a transform job, batch_hints.Hints
    {"state": "ended", "exit": 0}: of a job

The pipe ends with the supervisor that made it; a later one reads the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

Report = dict[str, Any]
MAX_WANTS = 1024
MAX_SERVES_CHARACTERS = 512
COMPILING = "compiling"
"""What an instance serves that would like its model compiled."""
_MAX_LINE_BYTES = 2 * 1024 * 1024
_MAX_MODEL_CHARACTERS = 1024
_FOLDER = re.compile(r"[0-9]{1,2}-[0-9a-f]{1,32}")
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
    """Looks into the file until it says how the start went, and for as long as it `goes_on` after that."""

    def __init__(
        self, path: Path, heard: Callable[[Report], None], goes_on: Callable[[], bool] = lambda: False
    ) -> None:
        self._path = path
        self._heard = heard
        self._goes_on = goes_on
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
            said = _read(self._path)
            if said != self._said:
                self._said = said
                _tell(said, self._heard)
        if not self._said or self._goes_on():
            self._timer = self._loop.call_later(_POLL_S, self._look)


def wants_of(report: Report) -> dict[str, str] | None:
    """The models that an instance says that it wants, by folder; None when it says nothing of that, or nonsense."""
    said = report.get("wants")
    if not isinstance(said, dict) or len(said) > MAX_WANTS:
        return None
    return {
        name: model
        for name, model in said.items()
        if _FOLDER.fullmatch(name) and isinstance(model, str) and 0 < len(model) <= _MAX_MODEL_CHARACTERS
    }


def loaded_of(report: Report) -> int | None:
    """How many of them it says that it has loaded; None when it says nothing of that, or nonsense."""
    said = report.get("loaded")
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said <= MAX_WANTS else None


def serves_of(report: Report) -> str | None:
    """What an instance says that it serves; None when it says nothing of that."""
    said = report.get("serves")
    return said[:MAX_SERVES_CHARACTERS] if isinstance(said, str) else None


def exit_of(report: Report) -> int | None:
    """The exit status of a job that says that it has ended; None when it says nothing of that, or nonsense."""
    said = report.get("exit") if report.get("state") == "ended" else None
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said <= 255 else None


def _read(path: Path) -> bytes:
    """A bounded part of it. The folder is the instance's: what lies there may be a pipe, a link or without an end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MAX_LINE_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


def _tell(line: bytes, heard: Callable[[Report], None]) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(line)
        if isinstance(found, dict):
            heard(found)
