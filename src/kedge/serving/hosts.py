"""What an own server runs in: a program of this process, or a container beside it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kedge.serving.http_client import Stream
from kedge.serving.own_server import bounded
from kedge.serving.runtimes.base import LoadError

log = logging.getLogger(__name__)

COMMAND = "KEDGE_COMMAND"
"""Variable of a model with the image kedge/server: the command that serves it."""
DEFAULT_COMMAND = "serve"
PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
HTTP, LINE = ".http", ".line"
"""Endings of a sidecar's two sockets: the server's port, and what is told of the container."""
GRACE_S = 25.0
"""Between SIGTERM and SIGKILL: what the instance's own 30 s leave."""
CONNECT_WITHIN_S = 5.0


class Program:
    """The server as a process of its own, in a session of its own: it may be many."""

    def __init__(self, words: Sequence[str], folder: str, environment: Mapping[str, str], port: int) -> None:
        """Raises OSError."""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.was_killed = False
        self.grace_s = GRACE_S
        self._name = Path(words[0]).name
        self._port = port
        sys.stdout.flush()
        self._process = subprocess.Popen(
            words, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    async def connect(self) -> Stream:
        return await bounded(asyncio.open_connection("127.0.0.1", self._port), CONNECT_WITHIN_S)

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        if not self.ended.done():
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def reap(self) -> None:
        if self.ended.done() or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        # Not reaped yet, so its number still means its group: what it leaves there goes with it.
        self.kill()
        code = self._process.wait()
        self.was_killed = code == -signal.SIGKILL
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        self.ended.set_result(f"The server ({self._name}) {how}.")


class Beside:
    """The server in a container, which a sidecar runs: reached by its sockets, and gone when its line says so."""

    def __init__(self, door: str) -> None:
        """door: the path of the sidecar's sockets without their endings."""
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.was_killed = False
        self.grace_s = GRACE_S
        self.pid = 0
        self._door = door
        self._writer: asyncio.StreamWriter | None = None
        self._said: list[bytes] = []
        self._listening = self._loop.create_task(self._listen())

    async def connect(self) -> Stream:
        return await bounded(asyncio.open_unix_connection(self._door + HTTP), CONNECT_WITHIN_S)

    def stop(self) -> None:
        self._say(b"stop\n")

    def kill(self) -> None:
        self._say(b"kill\n")

    def reap(self) -> None:
        """It is no child of this process."""

    def _say(self, what: bytes) -> None:
        if self._writer is None:
            self._said.append(what)
        else:
            self._writer.write(what)

    async def _listen(self) -> None:
        reason = "The container's sidecar ended."
        try:
            reader, self._writer = await bounded(asyncio.open_unix_connection(self._door + LINE), CONNECT_WITHIN_S)
            for what in self._said:
                self._writer.write(what)
            if line := await reader.readline():
                said = json.loads(line)
                reason, self.was_killed = str(said["reason"]), bool(said["was_killed"])
            self._writer.close()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the sidecar's line broke: %s", error)
        self.ended.set_result(reason)


def command_of(words: Sequence[str], given: str, artifact: Path, path: str) -> list[str]:
    """What to start: the operator's words, or else what the model says, or else the program `serve` of its archive.

    given: the value of KEDGE_COMMAND. path: as PATH, where programs without a slash are looked for, after the archive's
    code/ and its root. Raises LoadError.
    """
    try:
        found = list(words) or shlex.split(given) or [DEFAULT_COMMAND]
    except ValueError as error:
        raise LoadError(f"{COMMAND} has {error}: {given[:256]}") from error
    name = found[0]
    if os.path.isabs(name):
        program = name
    else:
        places = [artifact / "code" / name, artifact / name]
        program = next((str(each) for each in places if each.is_file()), "")
        if not program and "/" not in name:
            program = shutil.which(name, path=path) or ""
    if not program:
        where = "in the archive's code/ or root" + ("" if "/" in name else ", or on PATH")
        hint = "" if words or given else f" Put one there, or name another command in {COMMAND}."
        raise LoadError(f"There is no program {name} {where}.{hint}")
    if not os.access(program, os.X_OK):
        raise LoadError(f"{name} cannot be started: it has no execute permission (chmod +x before it is packed).")
    return [program, *found[1:]]
