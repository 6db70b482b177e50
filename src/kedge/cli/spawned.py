"""A server of one's own, for the demo and for tests: started as a child, and ended with it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from typing import IO, Any

_INHERITED = frozenset({"KEDGE_RUN_DIR", "KEDGE_STRICT_RESULTS", "KEDGE_IMAGES", "KEDGE_CONTAINER_ENGINE"})
"""Settings that reach it. The others are meant for the user's own server: its ports, its data, its keys."""


class StartFailed(Exception):
    """The server did not say that it is ready; the message holds what it wrote to stderr."""


class Spawned:
    """`kedge up --ephemeral` on free ports. It ends when `stop` is called or this process ends, however it ends."""

    def __init__(self, *flags: str) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        command = [sys.executable, "-m", "kedge", "up", "--ephemeral", "--api-port", "0", "--inference-port", "0"]
        self._process = subprocess.Popen(
            [*command, "--until-stdin-closes", "--json", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={k: v for k, v in os.environ.items() if not k.startswith("KEDGE_") or k in _INHERITED},
            # Ctrl-C is for the one who asked; the server is told by `stop`.
            start_new_session=True,
        )

    def ready(self, timeout_s: float = 30.0) -> dict[str, Any]:
        """The line that says addresses and keys. Raises StartFailed."""
        assert self._process.stdout is not None
        deadline, line = time.monotonic() + timeout_s, b""
        while not line.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._process.stdout], [], [], left_s)[0]:
                raise StartFailed(f"The server was not ready after {timeout_s:.0f} s. {self._said()}")
            part = os.read(self._process.stdout.fileno(), 65536)
            if not part:
                code = self._process.wait(timeout=5)
                raise StartFailed(f"The server ended with exit code {code}. {self._said()}")
            line += part
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask it to end, then make it; the child is reaped and its pipes are closed. May be called twice."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-4000:]
